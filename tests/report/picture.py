"""Pictures of a report for the README: ``python -m tests.report.picture REPORT.html FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.report.browser import chromium, find_chromium, visit


def main(report: Path, folder: Path) -> None:
    """Write report.png (what a reader sees first) and mri.png (both parents along the layer map)."""
    if find_chromium() is None:
        sys.exit("no Chromium on this machine: install Debian's package chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser, visit(browser, report.resolve(), width=1160) as seen:
        top = seen.page.locator("#alerts").bounding_box() or {"y": 900}
        clip = {"x": 0, "y": 0, "width": 1160, "height": top["y"]}
        seen.page.screenshot(path=folder / "report.png", full_page=True, clip=clip)  # pyright: ignore[reportArgumentType]
        seen.page.locator("#mri figure .wide").first.screenshot(path=folder / "mri.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
