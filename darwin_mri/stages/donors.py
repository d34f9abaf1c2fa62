"""Stage ``donors``: what the search varies; across architectures the donors are built here."""

from __future__ import annotations

from darwin_mri.mri.scanner import gate_rms
from darwin_mri.problem.donors import DONORS, run_donors
from darwin_mri.problem.merged_moments import measure_merged
from darwin_mri.problem.moments import MERGED_KIND, kind_of, takes_moments
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.scans import Scans
from darwin_mri.problem.space import MergeSpace, donor_space, sibling_space
from darwin_mri.run import Run


def make_space(run: Run, parents: Parents, scans: Scans) -> MergeSpace:
    """The genes, their tensors and the merge.

    Args:
        run: across architectures it gets donors.json and state/donors; a resumed run that finds them whole uses them.
        parents: all of them in memory.
        scans: give an arm its layer map and the spread of the mother's gates.

    Returns:
        The space of plain ratios.
    """
    config, father = run.config, parents.father
    if not config.cross:
        if takes_moments(config) and kind_of(config) == MERGED_KIND:
            measure_merged(run, parents, sibling_space(config, father, parents.other_sources, parents.base).merge)
        return sibling_space(config, father, parents.other_sources, parents.base, run.folder)
    spread = gate_rms(scans.others[0])
    record = run_donors(run, parents, scans.pair.layer_map, spread)
    return donor_space(config, father, run.path(DONORS), record, spread)
