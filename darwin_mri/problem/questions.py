"""What a run asks before it begins: ``breed`` and ``scan`` refuse what forbids it, ``plan`` lists all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

from darwin_mri.benchmarks import base_url
from darwin_mri.benchmarks.harness import require_backend
from darwin_mri.benchmarks.vllm_start import require_servable
from darwin_mri.checkpoints import find_model
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import ConfigError, DarwinError, InputError
from darwin_mri.merging import Settings
from darwin_mri.merging.compatibility import method_fault, require_parts, require_siblings, tower_tensors
from darwin_mri.merging.settings import settings_for
from darwin_mri.probes import load_probes
from darwin_mri.problem.donors import named_prompts
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.targets import require_one_vocabulary
from darwin_mri.records.roles import FATHER

Question = Callable[[Parents], object]


def ask_models(parents: Parents) -> None:
    """Whether every parent loads whole, with the FFNs that are needed of it."""
    for role, source in parents.sources.items():
        anatomy = survey(source.folder).anatomy
        require_parts(anatomy, source.ref, parents.config.method, role)


def ask_method(parents: Parents) -> None:
    """Whether the method can merge these parents."""
    config, (father, *others) = parents.config, parents.surveys()
    base = survey(parents.base.folder) if parents.base else None
    if not config.cross:
        for source in (*parents.other_sources, *([parents.base] if parents.base else [])):
            require_siblings(father, survey(source.folder), source.ref)
        if config.towers == "merge":
            beside = dict(zip(parents.others, others, strict=True)) | ({"base": base} if base else {})
            tower_tensors(father, beside)
    fault = method_fault(config.method, father, others, base)
    if fault:
        raise InputError(f"method {config.method}: {fault}")


def ask_settings(parents: Parents) -> None:
    """Whether the settings that single tensors are given fit a tensor, and are settings."""
    tensors, source = parents.config.tensors, parents.sources[FATHER]
    names = survey(source.folder).layout.text_tensors.values()
    for pattern in tensors:
        fitting = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
        if not fitting:
            raise ConfigError(f"tensors: '{pattern}' fits no tensor of {source.ref}: check the name")
        settings_for(fitting[0], Settings(), tensors)


def ask_texts(parents: Parents) -> None:
    """Whether the texts can be read that parents read or complete."""
    config = parents.config
    _ = parents.probes
    if config.cross and config.arm.texts:
        load_probes(Path(config.arm.texts))
    if config.cross and config.arm.prompts:
        named_prompts(config.arm.prompts, config.arm.forms, config.seed)


def ask_items(parents: Parents) -> None:
    """Whether the benchmarks' items can be read, and asked of these parents."""
    _ = parents.items
    require_one_vocabulary(parents)


def ask_bench(parents: Parents) -> None:
    """Whether whatever is compared in the end is there: engine, baseline, the address of a served model."""
    bench = parents.config.bench
    if bench.harness or bench.protocol == "generate" or bench.backend != "hf":
        require_backend(bench.backend)
    if bench.baseline:
        find_model(bench.baseline, offline=parents.offline)
    if bench.endpoint:
        base_url(bench.endpoint.url)


def ask_engine(parents: Parents) -> None:
    """Whether vLLM can serve the father where it is asked for; a vLLM that is absent is told elsewhere."""
    search = parents.config.search
    if search.engine == "vllm" and find_spec("vllm"):
        devices = search.devices if search.workers == "devices" else (parents.device,)
        for device in dict.fromkeys(devices):
            require_servable(parents.sources[FATHER].folder, device)


OF_ONE: tuple[Question, ...] = (ask_models, ask_texts)
OF_A_PAIR: tuple[Question, ...] = (*OF_ONE, ask_method, ask_settings, ask_items)
OF_A_RUN: tuple[Question, ...] = (*OF_A_PAIR, ask_bench, ask_engine)


def refusals(parents: Parents, questions: Sequence[Question] = OF_A_RUN) -> Iterator[DarwinError]:
    """Ask a run's questions.

    Args:
        parents: found, not loaded.
        questions: that are asked, in order.

    Yields:
        The error of every question that forbids the run.
    """
    for question in questions:
        try:
            question(parents)
        except DarwinError as error:
            yield error


def require_answers(parents: Parents, questions: Sequence[Question] = OF_A_RUN) -> None:
    """Raise the first error of ``refusals``, as it is."""
    for error in refusals(parents, questions):
        raise error
