"""The search: genome spaces, CMA-ES from a prior, racing, anchors, workers, and a ledger that survives a kill."""

from darwin_mri.breeding.anchors import Anchors, choose_anchors
from darwin_mri.breeding.callbacks import GenerationStats, SearchCallbacks
from darwin_mri.breeding.darwin import DarwinSpace, SearchSpace
from darwin_mri.breeding.estimate import Anchored, Estimate, Means, block_slices
from darwin_mri.breeding.ledger import Ledger
from darwin_mri.breeding.nulls import null_genomes
from darwin_mri.breeding.options import SearchOptions
from darwin_mri.breeding.search import SearchResult, search
from darwin_mri.breeding.spaces import Gene, Space, Start, TensorValues, make_space
from darwin_mri.breeding.worker_states import ObservedWorkers, WorkerStates
from darwin_mri.breeding.workers import Devices, Evaluate, InProcess, ItemScores, Workers

__all__ = [
    "Anchored",
    "Anchors",
    "DarwinSpace",
    "Devices",
    "Estimate",
    "Evaluate",
    "Gene",
    "GenerationStats",
    "InProcess",
    "ItemScores",
    "Ledger",
    "Means",
    "ObservedWorkers",
    "SearchCallbacks",
    "SearchOptions",
    "SearchResult",
    "SearchSpace",
    "Space",
    "Start",
    "TensorValues",
    "WorkerStates",
    "Workers",
    "block_slices",
    "choose_anchors",
    "make_space",
    "null_genomes",
    "search",
]
