"""Stage ``moments``: second moments of the inputs of every parent's linear maps, measured or taken from a file."""

from __future__ import annotations

from pathlib import Path

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.mri.moments import MomentOptions, measure_moments, moment_work
from darwin_mri.probes import TokenizedProbes, require_tokens
from darwin_mri.problem.moments import (
    NULLS,
    expected_header,
    moment_options,
    rank_warning,
    shuffled_words,
    take_moments,
    takes_moments,
)
from darwin_mri.problem.parents import Parents, tokenize_for_scan
from darwin_mri.records import MomentsHeader
from darwin_mri.records.roles import FATHER, moments_file
from darwin_mri.run import Run


def measure_parents(run: Run, parents: Parents) -> None:
    """Write the moments that the config asks for or the method needs, a file for each parent; a resumed run keeps them.

    Where the method merges with them, those of texts with shuffled words are measured too: a null child is merged with
    them.

    Args:
        run: gets moments.safetensors of the father and moments-ROLE.safetensors of the others.
        parents: loaded one by one beside the father.
    """
    config = run.config
    if config.moments is None:
        return
    given = dict(zip(parents.sources, config.scan.moments_from, strict=False))
    for role in parents.sources:
        path, null = run.path(moments_file(role)), run.path(f"{NULLS}/{moments_file(role)}")
        wanted = [path, *([null] if takes_moments(config) else [])]
        if run.keep and all(file.is_file() for file in wanted):
            continue
        source = parents.sources[role]
        if given.get(role):
            expected = expected_header(source.ref, parents.digest(role), config, parents.tokenized(role))
            take_moments(given[role], path, expected, offline=parents.offline)
        missing = [file for file in wanted if not (file == path and given.get(role))]
        if not missing:
            continue
        if role == FATHER:
            _measure(run, parents, parents.father, missing, null)
            continue
        with parents.on_device(role) as other:
            _measure(run, parents, other, missing, null)
        parents.release(role)


def _measure(run: Run, parents: Parents, parent: LoadedModel, files: list[Path], null: Path) -> None:
    """One parent's files, on the texts and on their shuffled words."""
    for path in files:
        shuffled = path == null
        probes = shuffled_words(parents.probes, run.config.seed) if shuffled else parents.probes
        tokenized = tokenize_for_scan(parent.source.ref, parent.tokenizer, probes, run.config.scan, str(parent.device))
        require_tokens(parent.model, (*tokenized.ids, tokenized.prefix))
        header = _measure_one(run, parent, tokenized, path, moment_options(run.config, parent, shuffled=shuffled))
        if not shuffled and (warning := rank_warning(header)):
            run.progress.say(f"note: {warning}")


def _measure_one(
    run: Run, parent: LoadedModel, tokenized: TokenizedProbes, path: Path, options: MomentOptions
) -> MomentsHeader:
    title = f"moments {parent.source.ref}" + (", shuffled words" if options.shuffled else "")
    with run.progress.stage(title, moment_work(parent, tokenized, options)) as advance:
        return measure_moments(parent, tokenized, path, options, advance)
