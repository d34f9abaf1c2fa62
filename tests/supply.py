"""What the package stands on: licences, an SBOM, and known vulnerabilities of what constraints.txt pins.

``python -m tests.supply --tools .audit/bin --sbom reports/sbom.json`` (``make audit``) does all three, and writes
docs/licences.md again. It ends with 1 where a pinned package has a known vulnerability, or the SBOM cannot be written.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PINS = ROOT / "constraints.txt"
PAGE = ROOT / "docs/licences.md"
# Of licences that ask more of who passes the code on than to keep notice and name.
ASKING = re.compile(r"GPL|MPL|EPL|CDDL|EUPL|OSL|SSPL|GNU |Mozilla|Eclipse|Proprietary|Commercial", re.IGNORECASE)
UNKNOWN = "not stated"
# Texts that stand in the place of a name.
TEXTS = {"Permission is hereby granted": "MIT", "Redistribution and use in source and binary forms": "BSD"}
HEAD = """# Licences of the dependencies

Of every package that `constraints.txt` pins, as its own metadata states it. Written by `make audit`; a test compares.
Only the packages that `pyproject.toml` names without an extra come with `pip install darwin-mri`, and theirs. The wheel
of darwin_mri holds none of them. torch from a CUDA index brings NVIDIA's libraries with it, which have a licence of
their own and are not pinned here.

"""


def pins(text: str) -> dict[str, str]:
    """Name -> version."""
    return dict(line.strip().split("==") for line in text.splitlines() if "==" in line)


def licence(package: Any) -> str:
    """A licence in one line: the SPDX expression, else what the trove classifiers say, else the first line stated."""
    if stated := package.get("License-Expression"):
        return str(stated).strip()
    named = [
        line.rpartition(" :: ")[2] for line in package.get_all("Classifier") or () if line.startswith("License ::")
    ]
    if exact := [name for name in named if name != "OSI Approved"]:
        return "; ".join(exact)
    text = str(package.get("License") or "").strip()
    return next((name for words, name in TEXTS.items() if words in text), text.partition("\n")[0].strip()) or UNKNOWN


def licences(wanted: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """(name -> licence, the names whose pinned version is not installed here)."""
    found, absent = {}, []
    for name, version in wanted.items():
        try:
            own = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if own.version.partition("+")[0] != version:
            absent.append(name)
        found[name] = licence(own.metadata)
    return found, absent


def page(found: dict[str, str], versions: dict[str, str]) -> str:
    """The document."""
    asking = [name for name, text in found.items() if ASKING.search(text) or text == UNKNOWN]
    rows = [f"| {name} | {versions[name]} | {found[name]} |" for name in sorted(found, key=str.lower)]
    named = ", ".join(sorted(asking, key=str.lower)) or "none"
    first = textwrap.fill(f"Not merely permissive, or not stated: {named}.", 120) + "\n\n"
    return HEAD + first + "\n".join(["| package | version | licence |", "|---|---|---|", *rows]) + "\n"


def write_sbom(tools: Path, path: Path) -> str:
    """A CycloneDX document of this environment; the value is a fault in one line, or empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [
        tools / "cyclonedx-py",
        "environment",
        sys.executable,
        "--of",
        "JSON",
        "--output-reproducible",
        "-o",
        path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"no SBOM: {last_line(done.stderr)}"


def vulnerabilities(tools: Path) -> tuple[int, str]:
    """(packages with known vulnerabilities, one line on what was asked and answered)."""
    command = [tools / "pip-audit", "--requirement", PINS, "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    return judge(done.stdout, done.stderr, len(pins(PINS.read_text(encoding="utf-8"))))


def judge(stdout: str, stderr: str, count: int) -> tuple[int, str]:
    """As ``vulnerabilities``, from what pip-audit printed on so many packages."""
    try:
        rows = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError):
        return 0, f"vulnerabilities: the index could not be asked ({last_line(stderr)})"
    asked = [row for row in rows if "skip_reason" not in row]
    if not asked:
        return (
            0,
            f"vulnerabilities: the index that can be reached knows none of the {count} packages: nothing was audited",
        )
    bad = [
        f"{row['name']} {row['version']} ({', '.join(v['id'] for v in row['vulns'])})" for row in asked if row["vulns"]
    ]
    return len(bad), f"vulnerabilities: {len(asked)} of {count} packages audited: {'; '.join(bad) or 'none is known'}"


def last_line(text: str) -> str:
    """Of what a tool said, shortened."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no message")[:200]


def main() -> int:
    """Do all three; the value is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, required=True, help="folder of cyclonedx-py and pip-audit")
    parser.add_argument("--sbom", type=Path, required=True, help="file to write")
    given = parser.parse_args()
    versions = pins(PINS.read_text(encoding="utf-8"))
    found, absent = licences(versions)
    if absent:
        print(f"licences: {PAGE.name} stays, as what is pinned is not installed here: {', '.join(absent[:5])}")
    else:
        PAGE.write_text(page(found, versions), encoding="utf-8")
        print(f"licences: {len(found)} packages in {PAGE.relative_to(ROOT)}")
    fault = write_sbom(given.tools, given.sbom)
    print(fault or f"SBOM: {given.sbom}")
    count, line = vulnerabilities(given.tools)
    print(line)
    return int(bool(fault or count))


if __name__ == "__main__":
    sys.exit(main())
