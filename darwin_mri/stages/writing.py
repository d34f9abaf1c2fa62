"""The child stage: from a genome to a model folder, and its health."""

from __future__ import annotations

from pathlib import Path

from darwin_mri.checkpoints import ModelSource, load_model, load_tokenizer
from darwin_mri.config import ScanConfig
from darwin_mri.merging import check_child, write_child
from darwin_mri.records import ChildFiles, Genome, Health, Scan
from darwin_mri.stages.merging import Breed
from darwin_mri.stages.parents import chosen_probes, working_dtype
from darwin_mri.stages.run import Progress


def write_genome(
    genome: Genome, breed: Breed, father: ModelSource, out: Path, ancestry: tuple[str, ...], progress: Progress
) -> ChildFiles:
    """Write the child of a genome into ``out``; only tensors whose gene is not 0 are computed."""
    ratio = {tensor: genome.genes.get(gene, 0.0) for tensor, gene in breed.space.gene_of().items()}
    moved = [name for name, value in ratio.items() if value != 0.0]
    on_disk = {breed.father.disk_names[name]: name for name in moved}
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
            lambda name: breed.merge.tensor(on_disk[name], ratio[on_disk[name]]),
            note=note,
            on_tensor=lambda _: advance(1),
        )


def child_health(
    child: Path,
    father: ModelSource,
    config: ScanConfig,
    seed: int,
    device: str,
    dtype: str,
    *,
    expect_change: bool,
    mother_scan: Scan | None = None,
) -> Health:
    """Load child and father from disk and run the gates; the mother's losses come from her scan."""
    dtype = working_dtype(device, dtype)
    source = ModelSource(child.name, child, None)
    models = [load_model(model, device=device, dtype=dtype) for model in (source, father)]
    bits = mother_scan.bits_per_byte if mother_scan else {}
    return check_child(
        child,
        father.folder,
        models[0],
        models[1],
        load_tokenizer(father),
        chosen_probes(config, seed),
        expect_change=expect_change,
        mother_bits={name.removeprefix("language:"): value for name, value in bits.items()},
    )
