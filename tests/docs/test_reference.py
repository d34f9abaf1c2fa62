"""The reference that is made from the code: nothing is left out, and what it says of files is so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from darwin_mri.arena.settings import ArenaConfig
from darwin_mri.config import Config
from site_tools import commands, fields, records
from site_tools.markdown import anchors, blocks, links, plain, slug, table
from site_tools.staging import ROOT, link_fields, rewrite
from site_tools.types import default, limits, words

RUN = ROOT / "reports" / "nursery" / "david"
SECTIONS = [(path, model) for root in (Config, ArenaConfig) for path, model in fields.sections(root)]


class Sample(BaseModel):
    """Fields of every kind."""

    share: float = Field(default=0.5, gt=0, le=1)
    kinds: tuple[Literal["a", "b"], ...] = ("a",)
    table: dict[str, float | None] = Field(default_factory=dict)
    name: Annotated[str, Field(pattern="^x$")]


def test_types_defaults_and_ranges_in_words() -> None:
    known = Sample.model_fields
    assert [limits(known[name]) for name in known] == ["above 0, at most 1", "", "", "matches `^x$`"]
    assert [default(known[name]) for name in known] == ["`0.5`", '`["a"]`', "`{}`", "required"]
    said = [words(known[name].annotation) for name in known]
    assert said == ["number", "list of `a`, `b`", "text → number or null", "text"]


@pytest.mark.parametrize(("path", "model"), SECTIONS, ids=[path or model.__name__ for path, model in SECTIONS])
def test_every_field_of_a_section_is_explained(path: str, model: type[BaseModel]) -> None:
    assert not [name for name in model.model_fields if not fields.explanation(model, name)]


def test_every_field_of_a_config_is_on_its_page_with_its_default() -> None:
    page = fields.page()
    for path, model in fields.sections(Config):
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}`" in page, f"{path}.{name}"
    (row,) = [line for line in page.splitlines() if 'id="prior.stability"' in line]
    assert "share of bootstrap resamples" in row and "number, above 0, at most 1 | `0.8` |" in row
    assert not [link for link in links(page) if link.startswith("#") and link[1:] not in anchors(page)]


def test_every_command_and_option_is_on_its_page() -> None:
    page = commands.page()
    for name, command in commands.commands():
        section = page.split(f"\n## darwin-mri {name} {{")[1].split("\n## ")[0]
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        assert options and not [option for option in options if f"`{option}" not in section], name
    assert "`--every NUMBER` | Seconds between two looks; at least 0.1 | `2.0` |" in page


def test_every_record_explains_its_fields() -> None:
    page = records.page()
    for name, kind in records.parts():
        assert f"\n## {name} {{" in page
        assert not set(kind.model_fields) - set(records.attributes(kind)), name
    assert not [link for link in links(page) if link.startswith("#") and link[1:] not in anchors(page)]


def test_every_record_of_a_run_is_what_the_page_says() -> None:
    found = set()
    for path in RUN.rglob("*.json*"):
        name = path.relative_to(RUN)
        if name.parts[0] in ("child", "state"):  # not committed; here after make genealogy
            continue
        kind = records.file_of(name)
        assert kind is not None, name
        found.add(kind.__name__)
        text = path.read_text(encoding="utf-8")
        for document in text.splitlines() if name.suffix == ".jsonl" else [text]:
            kind.model_validate(json.loads(document))
    assert {"Manifest", "Scan", "PairScan", "Prior", "LedgerLine", "Genome", "Answer", "Comparison"} <= found


def test_schemas_name_the_fields_of_their_records() -> None:
    schema = records.schemas()["Genome.json"]
    assert isinstance(schema["properties"], dict) and {"schema", "genes", "father"} <= set(schema["properties"])


def test_links_are_moved_to_where_their_files_are_on_the_site(tmp_path: Path) -> None:
    text = "[b](mri.md#is-it-right)\n[c\nd](../examples/questions.csv) [e](https://x.y/z) `[f](mri.md)`\n"
    moved = rewrite(text, "docs/tasks.md", "tasks.md", ROOT, tmp_path)
    assert "[b](mri.md#is-it-right)" in moved and "[c\nd](files/questions.csv)" in moved and "https://x.y/z" in moved
    assert (tmp_path / "files" / "questions.csv").is_file()


def test_names_of_fields_lead_to_the_reference() -> None:
    text = (
        "# `search.budget`\n\n`search.budget` and [`search.items`](x.md), `no.field`\n\n```yaml\n`prior.items`\n```\n"
    )
    linked = link_fields(text, "how-to/x.md")
    assert linked.count("](../reference/config.md#search.budget)") == 1
    assert (
        "# `search.budget`\n" in linked
        and "[`search.items`](x.md), `no.field`" in linked
        and "\n`prior.items`" in linked
    )


def test_markdown_is_read_as_it_is_rendered() -> None:
    text = "# A `b` *c*, d!\n\n# A `b` *c*, d!\n\n## Kept { #own.id }\n\n```sh\n# no heading\n```\n"
    assert anchors(text) == {"a-b-c-d", "a-b-c-d-1", "own.id"} and slug("The child's folder") == "the-childs-folder"
    assert [(block.language, block.line) for block in blocks(text)] == [("sh", 7)]
    assert table(("a", "b"), [("x|y", "z\nz")]) == "| a | b |\n| --- | --- |\n| x\\|y | z z |\n"
    assert plain("dare_* of ``x_y``, see docs/mri.md") == "dare\\_\\* of `x_y`, see [mri](../mri.md)"
