"""Hostile templates end with one line: endless loops, gigabytes of memory or text, calls of themselves."""

from __future__ import annotations

import resource
import signal
import threading
from pathlib import Path

import pytest

from darwin_mri.benchmarks import load_benchmark, template_limits
from darwin_mri.benchmarks.chat import render_chat
from darwin_mri.benchmarks.template_limits import LimitedSandbox, TemplateLimitError
from darwin_mri.config import LmEvalTask
from darwin_mri.errors import InputError
from tests.benchmarks.lm_eval_files import write_data, write_task
from tests.benchmarks.test_prompts import TEMPLATE, chat_tokenizer

ROWS = "{% for a in range(99999) %}{% for b in range(99999) %}"
ENDLESS = ROWS + "{% endfor %}{% endfor %}{{ messages[0]['content'] }}"
DOUBLED = "{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"
HOSTILE = [
    (ENDLESS, r"takes more than 0\.2 s"),
    (f"{{% if messages[0]['content'] %}}{ENDLESS}{{% endif %}}", r"takes more than 0\.2 s"),
    ("{{ 7 ** (7 ** 9) > 1 }}", r"takes more than 0\.2 s"),  # computed when the template is read
    ("{{ 'ab' * 10 ** 11 }}", "takes more than 1,024 MiB of memory"),
    ("{{ 'ab'.center(10 ** 11) }}", "takes more than 1,024 MiB of memory"),
    (DOUBLED, "takes more than 1,024 MiB of memory"),
    ("{{ 'ab' * 10 ** 7 }}", "writes 20,000,000 characters, of which 16,777,216 are allowed"),
    ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "calls itself without end"),
]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "SECONDS", 0.2)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(("template", "fault"), HOSTILE)
def test_a_hostile_chat_template_ends_with_one_line(template: str, fault: str) -> None:
    if "ab" in template and not template_limits.STATM.is_file() and "characters" not in fault:
        pytest.skip("this system does not tell its memory")
    before = (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGVTALRM))
    with pytest.raises(InputError, match=f"^pico: the model's chat template {fault}: mend the template, or") as caught:
        render_chat(chat_tokenizer(template), "Which?", "pico", thinking=False)
    assert "\n" not in str(caught.value)
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGVTALRM)) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{{ 1 // 0 }}", r"fails \(.*division.* by zero\)"),
        ("{% for a in [1] %}" * 30 + "{% endfor %}" * 30, r"fails \(too many statically nested blocks"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", r"fails \(access to attribute '__class__'"),
        ("{{ messages.append(1) }}", r"fails \(access to attribute 'append' of 'list' object is unsafe"),
        ("{{ namespace(a=10 ** 5000).a }}", r"fails \(Exceeds the limit"),
    ],
)
def test_a_template_that_fails_in_any_way_is_told(template: str, fault: str) -> None:
    with pytest.raises(InputError, match=f"^pico: the model's chat template {fault}"):
        render_chat(chat_tokenizer(template), "Which?", "pico", thinking=False)


def test_an_evaluations_own_alarm_goes_on() -> None:
    signal.setitimer(signal.ITIMER_REAL, 500)
    try:
        assert render_chat(chat_tokenizer(TEMPLATE), "Which?", "pico", thinking=False).text
        assert 400 < signal.getitimer(signal.ITIMER_REAL)[0] <= 500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_other_threads_render_too() -> None:
    texts: list[str] = []
    tokenizer = chat_tokenizer(TEMPLATE)
    thread = threading.Thread(
        target=lambda: texts.append(render_chat(tokenizer, "Which?", "pico", thinking=False).text)
    )
    thread.start()
    thread.join()
    assert "Which?" in texts[0]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("template", [ROWS + "{% endfor %}{% endfor %}", "{{ 7 ** (7 ** 9) > 1 }}"])
def test_the_sandbox_of_task_files_has_the_same_limits(template: str) -> None:
    with pytest.raises(TemplateLimitError, match="takes more than"):
        LimitedSandbox().from_string(template).render()
    assert LimitedSandbox().from_string("{{ a }}{{ 1 + 1 }}").render(a="b") == "b2"


@pytest.mark.usefixtures("hurried")
def test_a_hostile_task_file_ends_with_one_line(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    write_data(tmp_path, 4)
    write_task(tmp_path, "endless", doc_to_text=ROWS + "{% endfor %}{% endfor %}", output_type="generate_until")
    with pytest.raises(InputError, match=r"^tasks\.mine: endless\.yaml: a template takes more than 0\.2 s: mend it$"):
        load_benchmark("mine", own={"mine": LmEvalTask(lm_eval="endless", include_path=str(tmp_path))})
