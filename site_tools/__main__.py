"""``python -m site_tools FOLDER``: the pages that ``make docs`` builds the site from."""

from __future__ import annotations

import sys
from pathlib import Path

from site_tools.staging import ROOT, stage

if __name__ == "__main__":
    stage(ROOT, Path(sys.argv[1]))
