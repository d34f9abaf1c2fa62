"""Packages whose names are imported on first use, so that reading a record or a header loads no torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the names that a package imports under ``if TYPE_CHECKING:`` importable from it at run time too.

    Type checkers read that block, and so does this function: every name is written in one place.

    Args:
        package: the ``__name__`` of the package that calls.

    Returns:
        The package's ``__getattr__`` and ``__dir__`` (PEP 562).
    """
    homes = _type_checking_imports(package)

    def getattr_(name: str) -> Any:
        if name == "__all__":  # for ``from package import *``
            return sorted(homes)
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(homes[name]), name)

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return getattr_, dir_


def _type_checking_imports(package: str) -> dict[str, str]:
    """Name -> the module it comes from, for the imports in a package's ``if TYPE_CHECKING:``."""
    spec: Any = sys.modules[package].__spec__
    homes: dict[str, str] = {}
    for block in ast.parse(spec.loader.get_source(package)).body:
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            for line in block.body:
                if isinstance(line, ast.ImportFrom) and line.module:
                    homes |= {alias.name: line.module for alias in line.names}
    return homes
