"""Every command of README.md and docs/: run, or looked at where its first line says why it is not run.

``# needs ...`` (a GPU, a hub, models of yours) and ``# takes ...`` (minutes, hours) mark a block. The commands of such
a block are read by the real command line, and the files they name are there; the others are run, page by page, in the
order of the page. A YAML block whose first line names a file is that file.
"""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import darwin_mri
from darwin_mri.config import make_config
from site_tools.commands import commands
from site_tools.markdown import Block, blocks
from tests.commands import call
from tests.docs.pages import CAPITALS, FILE, PAGES, ROOT, command_blocks, mark, words

ELSEWHERE = {"docs/tasks.md"}  # tests/test_tasks_page.py runs its first block, with what must come of it
RUNNING = [page for page in PAGES if page not in ELSEWHERE and any(not mark(block) for block in command_blocks(page))]
MARKED = [(page, block) for page in PAGES for block in command_blocks(page) if mark(block)]
EXAMPLES = {"opus": "opus", "david": "david", "genesis": "genesis", "seed-1": "opus", "seed-2": "david"}
SMALL: dict[str, Any] = {
    "name": "child",
    "parents": ["nursery:gemma4-korean", "nursery:gemma4-reasoning"],
    "base": "nursery:gemma4-base",
    "prior": {"items": 8, "steps": 1, "upper": 0.5},
    "scan": {"languages": ["ko"], "documents": 4, "max_tokens": 32, "mixers": False, "bootstrap": 50, "positions": 64},
    "search": {"budget": 4, "population": 4, "items": 8, "finalists": 1},
    "bench": {"items": 16, "harness": False},
}
PROGRAMS = (
    "pip",
    "chromium",
    "ray",
    "hf",
    "export",
    "cd",
    "make",
    "python",
    "python3",
    "source",
    "tmux",
    "uvx",
    "pipx",
)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the nursery with the least of everything: it stands where a page's own run would be."""
    config = {**SMALL, "tasks": {"mine": {"jsonl": str(ROOT / "examples" / "questions.csv")}}}
    folder = tmp_path_factory.mktemp("docs") / "child"
    darwin_mri.breed(make_config(config, "small"), folder)
    return folder


@pytest.fixture
def desk(tmp_path: Path, small_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a reader of the pages has it."""
    shutil.copyfile(ROOT / "examples" / "questions.csv", tmp_path / "questions.csv")
    (tmp_path / "korean.txt").write_text("모든 인간은 태어날 때부터 자유롭다.\n" * 40, encoding="utf-8")
    for name in ("configs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(small_run, tmp_path / "reports" / "child")
    for name, example in EXAMPLES.items():
        shutil.copytree(ROOT / "reports" / "nursery" / example, tmp_path / "reports" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", RUNNING)
def test_commands_run(
    page: str, desk: Path, small_run: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in blocks(PAGES[page]):
        if block.language == "yaml" and (named := FILE.match(block.text)):
            (desk / named[1]).write_text(block.text, encoding="utf-8")
        if block.language not in ("sh", "python"):
            continue
        if block.language == "python" and not mark(block):
            exec(compile(block.text, f"{page}:{block.line}", "exec"), {})
            continue
        for command in words(block) if block.language == "sh" else ():
            if mark(block):
                stand_in(command, desk, small_run)
                continue
            assert command[0] == "darwin-mri", f"{page}:{block.line}: mark the block, or give a darwin-mri command"
            code, _, stderr = call(capfd, monkeypatch, *command[1:])
            assert code == 0, f"{page}:{block.line}: {' '.join(command)}\n{stderr[-2000:]}"


def stand_in(command: list[str], desk: Path, small_run: Path) -> None:
    """The small run where a breed that is not run would have written."""
    if command[:2] != ["darwin-mri", "breed"] or "--config" not in command:
        return
    config = desk / command[command.index("--config") + 1]
    if not config.is_file():  # such as RUN.yaml, any config of the reader's
        return
    folder = desk / "reports" / yaml.safe_load(config.read_text(encoding="utf-8")).get("name", "run")
    if not folder.exists():
        shutil.copytree(small_run, folder)


@pytest.mark.parametrize(
    ("page", "block"), MARKED, ids=[f"{page}:{block.line} {mark(block)}" for page, block in MARKED]
)
def test_block_is_only_parsed_as_its_first_line_says(page: str, block: Block) -> None:
    if block.language == "python":
        compile(block.text, f"{page}:{block.line}", "exec")
        names = re.findall(r"\bdarwin_mri\.(\w+)", block.text)
        assert names and not [name for name in names if not hasattr(darwin_mri, name)]
        return
    for command in words(block):
        fault = look_at(page, command)
        assert not fault, f"{page}:{block.line}: {' '.join(command)}: {fault}"


def look_at(page: str, command: list[str]) -> str:
    """What is wrong with a command that is not run; empty where nothing is."""
    program, *rest = command
    if program.startswith("CUDA_") or re.fullmatch(r"[A-Z_]+=.*", program):
        return look_at(page, rest)
    if program == "make":
        targets = [word for word in rest if "=" not in word]
        known = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return "" if set(targets) <= set(known) else f"make has no {targets}"
    if program == "python" and rest[:1] == ["-m"]:
        return "" if find_spec(rest[1]) else f"there is no module {rest[1]}"
    if program != "darwin-mri":
        return "" if program in PROGRAMS else f"{program} is no program that the pages may name"
    return parsed(rest) or files_fault(page, rest)


def parsed(given: list[str]) -> str:
    """Why the command line refuses the words; empty where it takes them."""
    known = dict(commands())
    name = " ".join(given[:2]) if " ".join(given[:2]) in known else given[0] if given else ""
    if name not in known:
        return f"there is no command {name}"
    try:
        known[name].make_context(name, given[len(name.split()) :])
    except typer.Exit:
        return ""
    except Exception as error:  # whatever the parser raises is what a reader would see
        return f"{type(error).__name__}: {error}"
    return ""


def files_fault(page: str, given: list[str]) -> str:
    """The config that is named but neither committed nor on the page, and is no placeholder in capitals."""
    named = [given[at + 1] for at, word in enumerate(given[:-1]) if word == "--config"]
    on_page = {found[1] for block in blocks(PAGES[page]) if (found := FILE.match(block.text))}
    written = {"child", *re.findall(r"--name (\S+)", PAGES[page])} if "darwin-mri init" in PAGES[page] else set()
    lost = [
        name
        for name in named
        if not (CAPITALS.search(name) or name in on_page or Path(name).stem in written or (ROOT / name).is_file())
    ]
    return f"no {lost[0]}" if lost else ""


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page, text in PAGES.items() for block in blocks(text) if block.language == "yaml"],
    ids=lambda value: value if isinstance(value, str) else f"{value.line}",
)
def test_config_of_a_page_is_valid(page: str, block: Block) -> None:
    given = yaml.safe_load(block.text)
    parents = {} if "parents" in given else {"father": "a", "mother": "b"}
    make_config({**parents, **given}, f"{page}:{block.line}")


def test_a_wrong_option_a_wrong_target_and_a_wrong_file_are_noticed() -> None:
    """The look at marked blocks must be able to fail."""
    assert "No such option" in look_at("README.md", ["darwin-mri", "breed", "--bugdet", "4"])
    assert look_at("README.md", ["make", "bred"]) and look_at("README.md", ["python", "-m", "no_such_module"])
    assert "no lost.yaml" in look_at("README.md", ["darwin-mri", "breed", "--config", "lost.yaml"])
    assert not look_at("README.md", ["darwin-mri", "breed", "--config", "configs/david.yaml", "--budget", "4"])
