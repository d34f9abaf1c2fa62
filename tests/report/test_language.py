"""The report in another language: a complete catalogue, no English left on a Korean page, labels that fit."""

from __future__ import annotations

import ast
import json
import re
import shutil
import string
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import pytest

from darwin_mri.errors import ConfigError
from darwin_mri.korean import choose_particles
from darwin_mri.records import ArenaResult, Comparison
from darwin_mri.report import build_view, load_run, render_html, write_arena, write_report, write_runs_report
from darwin_mri.report.model.retold import retold_alerts, retold_vigor
from darwin_mri.report.sections.runs_scores import FEW
from darwin_mri.translation import Catalogue, languages, load_catalogue, read_po, say, say_count, speaking, spoken
from tests.commands import call
from tests.report.browser import chromium, faults, visit
from tests.report.catalogue import PACKAGE, catalogue_path, render, sources, translations
from tests.report.sample import write_sample
from tests.report.sample_siblings import write_siblings
from tests.report.test_front import make_genome

REPORTS = Path(__file__).parents[2] / "reports"
RUNS = ("opus", "david", "genesis")
TRANSLATED = [language for language in languages() if language != "en"]
ENGLISH_SENTENCE = re.compile(r"(?<![\w./:-])[A-Za-z][a-z']+(?: [a-z'][a-z']+){2,}")
BOUND = ("charts", "labels(")  # where room is bound: charts, and the names of columns


def copy_example(run: Path) -> None:
    """A committed run of that name, without what is never published."""
    source = REPORTS / "nursery" / run.name

    def unpublished(folder: str, names: list[str]) -> set[str]:
        return {"child", "state"} & set(names) if Path(folder) == source else set()

    shutil.copytree(source, run, ignore=unpublished)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of page in Korean, each beside the records it was made from."""
    folder = tmp_path_factory.mktemp("korean")
    runs = [folder / name for name in RUNS]
    for run in runs:
        copy_example(run)
    arena = folder / "arena"
    shutil.copytree(REPORTS / "arena" / "nursery", arena)
    whole = write_sample(folder / "whole")
    deep = write_sample(folder / "deep", 42, 32, languages=("ko", "en", "ja", "zh", "de", "fr", "es"), evaluations=300)
    siblings = write_siblings(folder / "siblings", 8, identity=False)
    front = write_sample(folder / "front")
    make_genome(("ko", "maths", "code")).save(front / "genome.json")
    bare = folder / "bare"
    bare.mkdir()
    shutil.copy(whole / "genome.json", bare)
    with speaking("ko"):
        for run in (*runs, whole, deep, siblings, front, bare):
            write_report(run)
        write_runs_report(runs, folder / "runs.html")
        write_runs_report([whole] * (FEW + 2), folder / "many.html")
        write_arena(ArenaResult.load(arena / "arena.json"), arena)
    written = {run.name: run / "report.html" for run in (*runs, whole, deep, siblings, front, bare)}
    return written | {"runs": folder / "runs.html", "many": folder / "many.html", "arena": arena / "arena.html"}


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_catalogue_is_complete_and_nothing_in_it_is_stale(language: str) -> None:
    known, wanted = translations(language), sources()
    assert len(wanted) > 700
    assert [key for key in wanted if not known.get(key)] == []
    assert [key for key in known if key not in wanted] == []
    written = catalogue_path(language).read_text(encoding="utf-8")
    assert written == render(language, known), f"run python -m tests.report.catalogue {language}"


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", TRANSLATED)
def test_translations_name_the_same_values(language: str) -> None:
    known = translations(language)
    unlike = {k: t for k, t in known.items() if placeholders(k.rpartition("\x04")[2]) != placeholders(t)}
    assert not unlike


def test_every_text_can_be_found_in_the_sources() -> None:
    """What is said is a whole text, or a constant that is marked for later: never put together first."""
    composed = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "darwin_mri.translation import" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                whole = isinstance(node.args[0], ast.Constant | ast.Name | ast.Attribute | ast.Subscript)
                calls = isinstance(node.args[0], ast.Call) and "lower()" in ast.unparse(node.args[0])  # both are marked
                if node.func.id in ("say", "later", "say_count", "say_in") and not (whole or calls):
                    composed.append(f"{path.name}:{node.lineno}")
    assert composed == []


class Reader(HTMLParser):
    """Texts of a page as a reader or a screen reader meets them, with the element's language; code is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []  # (language, text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag != "meta":
            self.open.append((tag, known.get("lang") or (self.open[-1][1] if self.open else "")))
        if known.get("aria-label"):
            self.texts.append((self.open[-1][1], str(known["aria-label"])))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip() and not {"style", "script", "code", "pre"} & {tag for tag, _ in self.open}:
            self.texts.append((self.open[-1][1] if self.open else "", " ".join(data.split())))


def read_page(path: Path) -> list[tuple[str, str]]:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.texts


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from (key, *strings(part))
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


def quotations(folder: Path) -> str:
    """Every text of the records below a folder."""
    lines = [line for path in folder.rglob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    records = [path.read_text(encoding="utf-8") for path in folder.rglob("*.json")]
    return "\n".join(text for part in (*records, *lines) for text in strings(json.loads(part)))


def english_left(page: Path) -> list[str]:
    """Sentences in English that are no quotation from a record."""
    quoted = quotations(page.parent)
    tokens = set(quoted.splitlines())
    return [
        text
        for _, text in read_page(page)
        if not set(text.split()) <= tokens  # what a layer writes, in tokens
        and any(match[0] not in quoted for match in ENGLISH_SENTENCE.finditer(re.sub(r"\([A-Za-z, .-]+\)", "", text)))
    ]


@pytest.mark.parametrize("name", [*RUNS, "runs", "many", "arena", "whole", "deep", "siblings", "front", "bare"])
def test_no_english_sentence_is_left_on_a_korean_page(pages: dict[str, Path], name: str) -> None:
    texts = read_page(pages[name])
    assert sum(bool(re.search("[가-힣]", text)) for _, text in texts) > 30
    assert english_left(pages[name]) == []
    quoted = quotations(pages[name].parent)
    assert [text for language, text in texts if language == "en" and text not in quoted] == []


def test_the_search_for_english_finds_it(tmp_path: Path) -> None:
    """The check above must be able to fail."""
    copy_example(tmp_path / "genesis")
    assert len(english_left(tmp_path / "genesis" / "report.html")) > 60


def test_roles_are_translated_wherever_they_stand_alone(pages: dict[str, Path]) -> None:
    for name in ("genesis", "siblings", "arena", "whole"):
        alone = {text for _, text in read_page(pages[name])}
        assert not alone & {"father", "mother", "base", "baseline", "parent3", "composite", "frozen"}
        assert {"아버지", "어머니", "자식"} <= alone


def cells(text: str) -> int:
    """Width in columns of a terminal: a Korean syllable is as wide as two Latin letters."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def bound_labels() -> set[str]:
    """Texts for which room is bound: names of columns, words in charts, of roles, readings and levels."""
    found: set[str] = set()
    modules = ("roles.py", "record_words.py", "layer_tables.py", "findings.py", "html.py")
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "darwin_mri.translation import" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                given = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
                drawn = node.func.id in ("say", "later") and ("charts" in path.parts or path.name in modules)
                if node.func.id == "labels" or (drawn and given and len(given[0]) < 40):
                    found.update(given)
    return found


@pytest.mark.parametrize("language", TRANSLATED)
def test_labels_stay_about_as_wide_as_in_english(language: str) -> None:
    known, labels = translations(language), bound_labels()
    assert len(labels) > 150
    wide = {label: known[label] for label in labels if cells(known[label]) > max(4.0, 1.6 * cells(label))}
    assert not wide


def test_pages_have_no_visible_fault_in_a_browser(pages: dict[str, Path]) -> None:
    """No sideways scroll, no text on another, nothing cut: on a desk, a tablet and a telephone."""
    with chromium() as browser:
        for name, page in pages.items():
            with visit(browser, page) as seen:
                assert seen.page.evaluate("document.documentElement.lang") == "ko"
                assert seen.requests == [page.as_uri()] and seen.console == []
                for width in (1280, 768, 400):
                    seen.page.set_viewport_size({"width": width, "height": 900})
                    assert faults(seen.page) == [], f"{name} at {width} pixels"


def test_code_keeps_its_own_font_on_a_korean_page(pages: dict[str, Path]) -> None:
    with chromium() as browser, visit(browser, pages["whole"]) as seen:
        family = "getComputedStyle(document.querySelector('{}')).fontFamily"
        assert "monospace" in seen.page.evaluate(family.format("pre code"))
        assert "Noto Sans KR" in seen.page.evaluate(family.format("main p"))


def test_english_is_what_it_was_after_a_korean_report(tmp_path: Path) -> None:
    committed = REPORTS / "nursery" / "genesis"
    run = tmp_path / "genesis"
    copy_example(run)
    with speaking("ko"):
        write_report(run)
    assert (run / "report.html").read_bytes() != (committed / "report.html").read_bytes()
    assert "잡종강세" in (run / "report.txt").read_text(encoding="utf-8")
    assert (run / "card.md").read_bytes() == (committed / "card.md").read_bytes()  # the hub's card is English
    assert spoken() == "en"
    write_report(run)
    assert (run / "report.html").read_bytes() == (committed / "report.html").read_bytes()


def test_sentences_of_records_are_told_again_only_as_they_were_written() -> None:
    comparison = Comparison.load(REPORTS / "nursery" / "genesis" / "comparison.json")
    assert comparison.vigor is not None
    with speaking("ko"):
        assert retold_vigor(comparison).startswith("잡종강세: 자식이 두 부모를 앞섭니다(종합 점수 자식 87.6 %")
        assert [alert.text for alert in retold_alerts(comparison)] == [
            "자식이 가장 나은 대조 자식과 구별되지 않습니다: 자식 87.6 %, 대조 'prior-mean' 87.4 %, p = 1."
        ]
        other = comparison.alerts[0].model_copy(update={"text": "A sentence of an older version."})
        changed = comparison.model_copy(
            update={
                "alerts": (other,),
                "vigor": comparison.vigor.model_copy(update={"sentence": "Vigor, said otherwise."}),
            }
        )
        assert retold_alerts(changed) == (other,)
        assert retold_vigor(changed) == "Vigor, said otherwise."
    assert retold_vigor(comparison) == comparison.vigor.sentence
    assert retold_alerts(comparison) == comparison.alerts


def test_a_quotation_is_marked_as_english(pages: dict[str, Path]) -> None:
    with speaking("ko"):
        page = render_html(build_view(load_run(pages["genesis"].parent)))
    assert '<html lang="ko">' in page
    assert '<span lang="en">repetition in greedy text</span>' in page
    assert '<span lang="ko">' not in page  # it is the page's own language


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("아버지은(는) 부모3이(가) 자식을(를)", "아버지는 부모3이 자식을"),
        ("모델과(와) 어머니과(와) 4과(와)", "모델과 어머니와 4와"),
        ("비율 0.67(으)로, 서울(으)로, 6(으)로, 기록(으)로", "비율 0.67로, 서울로, 6으로, 기록으로"),
        ("'한국'이(가) 86.0 %은(는) 12은(는)", "'한국'이 86.0 %는 12는"),
        ("uniform은(는) genesis을(를)", "uniform은(는) genesis을(를)"),  # how Latin letters are read is not known
        ("괄호(예)은(는)", "괄호(예)는"),
        ("FFN이(가) MRI을(를) NLL(으)로, X은(는)", "FFN이 MRI를 NLL로, X은(는)"),
    ],
)
def test_korean_particles_follow_the_sound_before_them(written: str, read: str) -> None:
    assert choose_particles(written) == read


def test_a_catalogue_is_read_as_gettext_writes_it() -> None:
    text = r"""
# a comment
msgid ""
msgstr ""
"Language: ko\n"

#: a.py
msgid "one {x}"
msgid_plural ""
"many "
"{x}"
msgstr[0] "\"여럿\" {x}"

msgctxt "verb"
msgid "read"
msgstr "읽다"

msgid "untranslated"
msgstr ""
"""
    assert dict(read_po(text)) == {"many {x}": '"여럿" {x}', "verb\x04read": "읽다"}


def test_what_a_catalogue_lacks_stays_english() -> None:
    catalogue = Catalogue("ko", {"known {x}": "아는 {x}"})
    assert catalogue.fill("known {x}", {"x": 1}) == "아는 1"
    assert catalogue.fill("unknown {x}", {"x": 1}) == "unknown 1"


def test_plurals() -> None:
    assert say_count("{count} gene", "{count} genes", 1) == "1 gene"
    assert say_count("{count} gene", "{count} genes", 3) == "3 genes"
    with speaking("ko"):
        assert say("father") == "아버지"
        assert say_count("{count} candidate", "{count} candidates", 1) == "후보 1개"
    assert load_catalogue("ko").language == "ko"


def test_an_unknown_language_is_refused_with_those_that_are_known(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError), speaking("xx"):
        pass
    code, stdout, stderr = call(capfd, monkeypatch, "report", tmp_path, "--lang", "xx")
    assert code == 2 and not stdout and len(stderr.strip().splitlines()) == 1
    assert "'xx'" in stderr and "en or ko" in stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_and_prints_korean(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_sample(tmp_path / "run")
    code, stdout, _ = call(capfd, monkeypatch, "report", run, "--lang", "ko")
    assert code == 0 and "자식이 더 나은가?" in stdout
    assert '<html lang="ko">' in (run / "report.html").read_text(encoding="utf-8")
    shutil.copytree(REPORTS / "arena" / "nursery", tmp_path / "arena")
    code, stdout, _ = call(capfd, monkeypatch, "report", tmp_path / "arena", "--lang", "ko")
    assert code == 0 and "모든 대조를" in stdout
    assert '<html lang="ko">' in (tmp_path / "arena" / "arena.html").read_text(encoding="utf-8")
    code, stdout, _ = call(capfd, monkeypatch, "report", tmp_path / "arena", "--json")
    assert code == 0 and json.loads(stdout)["html"] == "arena.html"
    committed = (REPORTS / "arena" / "nursery" / "arena.html").read_bytes()
    assert (tmp_path / "arena" / "arena.html").read_bytes() == committed
