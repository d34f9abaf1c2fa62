"""Names in memory are not names on disk: Qwen 3.5 drops a prefix on loading and puts it back on saving."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from darwin_mri.errors import CheckpointError

# Towers and drafters repeat the decoder's names (``layers.0.mlp.gate_proj.weight``) under segments with these words.
FOREIGN = ("vision", "visual", "audio", "mtp")
TIED_HEADS = ("lm_head.weight", "embed_out.weight")
# What heads are tied to.
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
Prefixes = tuple[str, str]  # (in memory, on disk), each empty or ending in a dot


def disk_names(
    parameter_names: Iterable[str], checkpoint_names: Iterable[str], tied: Iterable[str] = TIED_HEADS
) -> dict[str, str]:
    """Map each parameter's name in memory to its tensor's name on disk.

    A pair of prefixes is discovered from the longest common dotted suffixes; the pair that explains most parameters
    names them all. Parameters outside its memory prefix (a head beside the decoder) are explained in the next round.

    Args:
        parameter_names: names in memory, best all of the model's.
        checkpoint_names: tensor names on disk, of all shards.
        tied: suffixes of names that may be absent from the disk because they share another's tensor.

    Returns:
        Memory name -> disk name, in the order given, without absent tied heads.

    Raises:
        CheckpointError: a parameter is missing on disk, or two explanations fit equally well.
    """
    parameters = list(dict.fromkeys(parameter_names))
    on_disk = set(checkpoint_names)
    by_suffix = _by_suffix(on_disk)
    names: dict[str, str] = {}
    rest = parameters
    while rest:
        pair = _best_prefixes(rest, on_disk, by_suffix)
        if pair is None:
            break
        memory, disk = pair
        for name in rest:
            if name.startswith(memory) and disk + name.removeprefix(memory) in on_disk:
                names[name] = disk + name.removeprefix(memory)
        # What has the memory prefix but no tensor is missing: a weaker pair must not give it another tensor.
        rest = [name for name in rest if not name.startswith(memory)]
    missing = [name for name in parameters if name not in names and not name.endswith(tuple(tied))]
    if missing:
        raise CheckpointError(
            f"{len(missing)} parameters are not in the weight files (first: {missing[0]}): fetch the model again"
        )
    taken = Counter(names.values())
    twice = [name for name, times in taken.items() if times > 1]
    if twice:
        raise CheckpointError(f"tensor {twice[0]} would stand for several parameters: ambiguous names, refused")
    return {name: names[name] for name in parameters if name in names}


def _by_suffix(names: Iterable[str]) -> dict[str, list[str]]:
    """Dotted suffix of at least two segments -> disk prefixes before it. One segment (``weight``) would say nothing."""
    table: dict[str, list[str]] = {}
    for name in sorted(names):
        for prefix, suffix in _splits(name):
            table.setdefault(suffix, []).append(prefix)
    return table


def _splits(name: str) -> list[tuple[str, str]]:
    """(prefix, suffix) at every dot, longest suffix first, the prefix without layer numbers."""
    segments = name.split(".")
    splits: list[tuple[str, str]] = []
    for cut in range(max(len(segments) - 1, 1)):
        if any(segment.isdigit() for segment in segments[:cut]):
            break
        splits.append(("".join(f"{segment}." for segment in segments[:cut]), ".".join(segments[cut:])))
    return splits


def _best_prefixes(names: list[str], on_disk: set[str], by_suffix: dict[str, list[str]]) -> Prefixes | None:
    """The pair of prefixes that explains most names; the identity wins a tie, any other tie is an error."""
    pairs: set[Prefixes] = set()
    for name in names:
        for memory, suffix in _splits(name):
            fitting = [disk for disk in by_suffix.get(suffix, ()) if not _is_foreign(disk, memory)]
            if fitting:
                pairs.update((memory, disk) for disk in fitting)
                break
    covered = {
        (memory, disk): sum(name.startswith(memory) and disk + name.removeprefix(memory) in on_disk for name in names)
        for memory, disk in pairs
    }
    if not covered:
        return None
    most = max(covered.values())
    best = sorted(pair for pair, count in covered.items() if count == most)
    if ("", "") in best:
        return "", ""
    if len(best) > 1:
        first, second = (disk or "(no prefix)" for _, disk in best[:2])
        raise CheckpointError(f"the weight files hold the decoder under {first} and under {second}: cannot tell which")
    return best[0]


def _is_foreign(disk: str, memory: str) -> bool:
    """Whether a disk prefix leads into a tower that the memory prefix does not lead into."""
    return any(word in disk and word not in memory for word in FOREIGN)
