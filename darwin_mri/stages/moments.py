"""Stage ``moments``: second moments of the inputs of every parent's linear maps, measured or taken from a file."""

from __future__ import annotations

from darwin_mri.checkpoints import LoadedModel, file_digests, load, weights_digest
from darwin_mri.mri.moments import measure_moments, moment_work
from darwin_mri.probes import require_tokens
from darwin_mri.problem.moments import (
    MERGED_KIND,
    expected_header,
    kind_of,
    moment_options,
    moments_path,
    rank_warning,
    take_moments,
    takes_magnitudes,
    takes_moments,
)
from darwin_mri.problem.parents import Parents, tokenize_for_scan
from darwin_mri.problem.repair_texts import shuffle_words
from darwin_mri.records.roles import FATHER, moments_file
from darwin_mri.roles import BASE
from darwin_mri.run import Run


def measure_parents(run: Run, parents: Parents) -> None:
    """Write the moments that the config asks for or the method needs, a file for each parent; a resumed run keeps them.

    Where the method merges with them, those of texts with shuffled words are measured too: a null child is merged with
    them. The setting ``relax`` needs squares and magnitudes of the base.

    Args:
        run: gets moments.safetensors of the father and moments-ROLE.safetensors of the others and the base.
        parents: loaded one by one beside the father.

    Raises:
        InputError: a file that is given is of another model or other texts, or a stream is not finite.
    """
    config = run.config
    if takes_magnitudes(config):
        _measure_base(run, parents)
    if config.moments is None:
        return
    given = dict(zip(parents.sources, config.scan.moments_from, strict=False))
    with_null = takes_moments(config) and kind_of(config) != MERGED_KIND
    for role in parents.sources:
        wanted = [shuffled for shuffled in (False, True)[: 1 + with_null] if not run.has(_path(role, shuffled))]
        if False in wanted and given.get(role):
            source, digest = parents.sources[role], parents.digest(role)
            expected = expected_header(source.ref, digest, config, parents.tokenized(role))
            take_moments(given[role], run.path(moments_file(role)), expected, offline=parents.offline)
            wanted.remove(False)
        if wanted and role == FATHER:
            _measure(run, parents, parents.father, role, wanted)
        elif wanted:
            with parents.on_device(role) as other:
                _measure(run, parents, other, role, wanted)
            parents.release(role)


def _path(role: str, shuffled: bool) -> str:
    return moments_path(role, shuffled=shuffled)


def _measure_base(run: Run, parents: Parents) -> None:
    """Squares and magnitudes of the base's inputs; of the father's where there is no base of its own."""
    base = parents.base
    if base is None or base.folder == parents.sources[FATHER].folder:
        if run.config.moments is None and not run.has(moments_file(FATHER)):
            _measure(run, parents, parents.father, FATHER, [False])
        return
    if not run.has(moments_file(BASE)):
        with parents.room_for(base):
            digest = weights_digest(file_digests(base.folder))
            model = load(base, digest, device=parents.device, dtype=run.config.dtype)
            _measure(run, parents, model, BASE, [False])


def _measure(run: Run, parents: Parents, model: LoadedModel, role: str, wanted: list[bool]) -> None:
    """One model's files: on the texts, and where ``wanted`` has True on their shuffled words."""
    ref, config = model.source.ref, run.config
    for shuffled in wanted:
        probes = shuffle_words(parents.probes, config.seed) if shuffled else parents.probes
        tokenized = tokenize_for_scan(ref, model.tokenizer, probes, config.scan, str(model.device))
        require_tokens(model.model, (*tokenized.ids, tokenized.prefix))
        options = moment_options(config, model, shuffled=shuffled)
        title = f"moments {ref}" + (", shuffled words" if shuffled else "")
        with run.progress.stage(title, moment_work(model, tokenized, options)) as advance:
            header = measure_moments(model, tokenized, run.path(_path(role, shuffled)), options, advance)
        if not shuffled and (warning := rank_warning(header)):
            run.progress.say(f"note: {warning}")
