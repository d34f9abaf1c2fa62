"""The structure that newcomers rely on: short files, one function per stage, arguments that are explained."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import darwin_mri

PACKAGE = Path(darwin_mri.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "models" not in path.parts)
STAGES = sorted(path.stem for path in (PACKAGE / "stages").glob("*.py") if path.stem != "__init__")
OF_A_RUN = (
    *("inputs", "scan", "moments", "donors", "references", "prior", "validation"),
    *("search", "repair", "child", "health", "bench"),
)


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_module_is_longer_than_350_lines() -> None:
    assert not {str(path.relative_to(PACKAGE)): lines(path) for path in MODULES if lines(path) > 350}


def test_the_pipeline_is_read_on_one_page() -> None:
    from darwin_mri import pipeline

    assert lines(PACKAGE / "pipeline.py") < 200
    for story in (pipeline.breed, pipeline.scan):
        assert len(inspect.getsource(story).splitlines()) <= 60


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_one_public_function(name: str) -> None:
    module = import_module(f"darwin_mri.stages.{name}")
    functions = [f for f in vars(module).values() if inspect.isfunction(f) and f.__module__ == module.__name__]
    public = [function for function in functions if not function.__name__.startswith("_")]
    assert len(public) == 1
    parameters = list(inspect.signature(public[0]).parameters)
    assert len(parameters) <= 6
    if name in OF_A_RUN:
        assert parameters[:2] == ["run", "parents"]


def test_the_stages_of_a_run_are_those_of_the_pipeline() -> None:
    story = (PACKAGE / "pipeline.py").read_text(encoding="utf-8")
    assert set(re.findall(r'run\.stage\("(\w+)"', story)) == set(OF_A_RUN)
    assert set(OF_A_RUN) <= set(STAGES)


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions and methods of public classes, with their names."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    yield f"{node.name}.{inner.name}", inner


def parameters(function: ast.FunctionDef) -> list[str]:
    named = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return [arg.arg for arg in named if arg.arg not in ("self", "cls")]


def fault(function: ast.FunctionDef) -> str:
    """What the docstring of a function with three or more parameters leaves out; empty when nothing is."""
    text = ast.get_docstring(function) or ""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
    described = re.findall(r"^ +\*{0,2}(\w+)(?: \(.*?\))?:", section[1], re.MULTILINE) if section else []
    missing = [name for name in parameters(function) if name not in described]
    returns = ast.unparse(function.returns) if function.returns else "None"
    silent = returns not in ("None", "NoReturn") and not re.search(r"^(Returns|Yields):", text, re.MULTILINE)
    return ", ".join([*missing, *(["Returns"] if silent else [])])


def test_a_docstring_that_leaves_something_out_is_noticed() -> None:
    """The check below must be able to fail."""
    head = "def f(a: int, b: int, *, c: int) -> int:\n"
    for docstring, missing in (
        ("Sum.", "a, b, c, Returns"),
        ("Sum.\n\n    Args:\n        a: one.\n        c: three.\n", "b, Returns"),
        ("Sum.\n\n    Args:\n        a: one.\n        b: two.\n        c: three.\n\n    Returns:\n        All.\n", ""),
    ):
        (function,) = ast.parse(f'{head}    """{docstring}"""\n').body
        assert isinstance(function, ast.FunctionDef) and fault(function) == missing


# A command explains its options in its help (tests/cli/test_help.py).
@pytest.mark.parametrize(
    "path", [path for path in MODULES if "cli" not in path.parts], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_functions_of_three_or_more_parameters_explain_them(path: Path) -> None:
    faults = {
        name: missing
        for name, function in functions(path)
        if not name.rpartition(".")[2].startswith("_")
        and len(parameters(function)) >= 3
        and not any(ast.unparse(d).endswith("overload") for d in function.decorator_list)
        and (missing := fault(function))
    }
    assert not faults
