"""The page of licences is what the pinned packages state, and the audit says what it could not ask."""

from __future__ import annotations

import json
from email.message import Message

import pytest

from tests.supply import PAGE, PINS, judge, licence, licences, page, pins


def test_the_page_is_what_the_pinned_packages_state() -> None:
    versions = pins(PINS.read_text(encoding="utf-8"))
    found, absent = licences(versions)
    if absent:
        pytest.skip(f"other packages are installed here than constraints.txt pins: {', '.join(absent[:5])}")
    assert PAGE.read_text(encoding="utf-8") == page(found, versions)


def test_the_page_names_the_packages_that_are_pinned() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert {row[0].removeprefix("| "): row[1] for row in rows} == pins(PINS.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([("License-Expression", "MIT OR Apache-2.0"), ("License", "other")], "MIT OR Apache-2.0"),
        ([("Classifier", "License :: OSI Approved :: MIT License"), ("License", "x")], "MIT License"),
        ([("Classifier", "License :: OSI Approved"), ("License", "BSD-2-Clause\n\nCopyright ...")], "BSD-2-Clause"),
        ([("License", "Copyright (c)\n\nPermission is hereby granted, free of charge")], "MIT"),
        ([], "not stated"),
    ],
)
def test_a_licence_is_one_line(fields: list[tuple[str, str]], told: str) -> None:
    message = Message()
    for name, value in fields:
        message[name] = value
    assert licence(message) == told


def test_what_is_not_merely_permissive_is_named() -> None:
    text = page(
        {"a": "MIT", "b": "LGPL-3.0-only", "C": "Mozilla Public License 2.0 (MPL 2.0)"}, dict.fromkeys("abC", "1")
    )
    assert "not stated: b, C.\n" in text


VULNERABLE = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("stdout", "count", "told"),
    [
        ("", 0, "the index could not be asked (ConnectionError: no route)"),
        (json.dumps({"dependencies": [UNKNOWN]}), 0, "nothing was audited"),
        (
            json.dumps({"dependencies": [{**VULNERABLE, "vulns": []}, UNKNOWN]}),
            0,
            "1 of 2 packages audited: none is known",
        ),
        (json.dumps({"dependencies": [VULNERABLE]}), 1, "1 of 2 packages audited: a 1 (CVE-1, CVE-2)"),
    ],
)
def test_an_index_that_does_not_answer_is_no_all_clear(stdout: str, count: int, told: str) -> None:
    found, line = judge(stdout, "Traceback\nConnectionError: no route\n", 2)
    assert found == count and told in line
