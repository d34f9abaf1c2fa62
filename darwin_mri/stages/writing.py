"""The child stage: from a genome to a model folder, and its health."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from darwin_mri.checkpoints import CheckpointReader, ModelSource
from darwin_mri.checkpoints.naming import EMBEDDINGS, TIED_HEADS
from darwin_mri.config import ScanConfig
from darwin_mri.merging import Merge, doses, write_child
from darwin_mri.records import ChildFiles, Genome, Health
from darwin_mri.stages.run import Progress


def write_genome(
    genome: Genome, merge: Merge, tensors: Mapping[str, tuple[str, ...]], father: ModelSource, out: Path,
    ancestry: tuple[str, ...], progress: Progress,
) -> ChildFiles:  # fmt: skip
    """Write the child of a genome into ``out``; only tensors that are not the father's own are computed.

    Args:
        tensors: gene -> names the merge knows its tensors by.
    """
    given = doses(merge, tensors, genome.genes, genome.exceptions)
    moved = {name: dose for name, dose in given.items() if dose[0] != 0.0 or not dose[1].zero_is_father}
    on_disk = {merge.on_disk(name): name for name in moved}
    on_disk |= {copy: on_disk[name] for copy, name in tied_copies(father.folder, on_disk).items()}
    note = {
        "schema": 1,
        "genealogy": [
            *ancestry,
            f"{out.parent.name or out.name} = {genome.father} x {genome.mother} ({genome.method})",
        ],
        "genome": genome.model_dump(mode="json", by_alias=True),
    }
    with progress.stage("write child", len(on_disk)) as advance:
        return write_child(
            father.folder,
            out,
            sorted(on_disk),
            lambda name: merge.tensor(on_disk[name], *moved[on_disk[name]]),
            note=note,
            on_tensor=lambda _: advance(1),
        )


def tied_copies(folder: Path, changed: Iterable[str]) -> dict[str, str]:
    """Heads that the files hold a second time beside the embedding they are tied to -> that embedding, where it changes.

    A loader ties both again and may take either for the truth, so both must change together.
    """
    found = {}
    with CheckpointReader(folder) as reader:
        heads = [name for name in reader.names() if name.endswith(TIED_HEADS)]
        for name in changed:
            if name.endswith(EMBEDDINGS):
                for head in heads:
                    if reader.shape(head) == reader.shape(name) and reader.dtype(head) == reader.dtype(name):
                        same = bool((reader.tensor(head) == reader.tensor(name)).all())
                        found |= {head: name} if same else {}
    return found


def child_health(
    child: Path,
    father: ModelSource,
    config: ScanConfig,
    seed: int,
    device: str,
    dtype: str,
    *,
    expect_change: bool,
    mother: ModelSource | None = None,
) -> Health:
    """Load child and father from disk and run the gates; with a mother, also on text that both parents write."""
    # Imported here: writing a child needs no transformers, and they take seconds to load.
    from darwin_mri.checkpoints import load_model, load_tokenizer
    from darwin_mri.merging.health import check_child, listen, losses_by_language
    from darwin_mri.stages.parents import chosen_probes, working_dtype

    dtype, probes = working_dtype(device, dtype), chosen_probes(config, seed)
    father_model, father_tokenizer = load_model(father, device=device, dtype=dtype), load_tokenizer(father)
    voices, mother_bits = [], {}
    if mother is not None:
        # She is let go before the child comes: two models at a time are enough.
        mother_model, mother_tokenizer = load_model(mother, device=device, dtype=dtype), load_tokenizer(mother)
        voices = listen(father_model, father_tokenizer, mother_model, mother_tokenizer, probes, seed)
        mother_bits = losses_by_language(mother_model, mother_tokenizer, probes)
        del mother_model
    child_model = load_model(ModelSource(child.name, child, None), device=device, dtype=dtype)
    return check_child(
        child, father.folder, child_model, father_model, father_tokenizer, probes,
        expect_change=expect_change, mother_bits=mother_bits, voices=voices,
    )  # fmt: skip
