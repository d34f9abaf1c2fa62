"""The nouns of darwin_mri: frozen records, JSON in and out, free of torch."""

from darwin_mri.records.anatomy import Anatomy, FfnAnatomy, LayerAnatomy
from darwin_mri.records.arena import CHILD, ArenaCell, ArenaResult, ArenaRow
from darwin_mri.records.base import Part, Record, write_text
from darwin_mri.records.benchmark import AnswerSet, Protocol, SplitItems, Splits
from darwin_mri.records.donors import DonorLayer, DonorRecord
from darwin_mri.records.genome import AnchorItems, AnchorRecord, Genome, LedgerLine
from darwin_mri.records.manifest import ChildFiles, FileDigest, Health, HealthGate, Inputs, Manifest, ParentInput
from darwin_mri.records.plan import Plan, PlanMethod, PlanNeed, PlanParent, PlanStage
from darwin_mri.records.prior import Prior, PriorGene, PriorLayer
from darwin_mri.records.scan import (
    Channel,
    Estimate,
    LanguageScan,
    LayerScan,
    MappedLayer,
    ModelInfo,
    PairScan,
    PairWeights,
    PresetFit,
    ProbesInfo,
    Response,
    Scan,
    Validation,
)
from darwin_mri.records.score import (
    Alert,
    Answer,
    BenchmarkInfo,
    Comparison,
    Contrast,
    Coverage,
    Evidence,
    Score,
    Vigor,
)

__all__ = [
    "CHILD", "Alert", "Anatomy", "AnchorItems", "AnchorRecord", "Answer", "AnswerSet", "ArenaCell", "ArenaResult", "ArenaRow", "BenchmarkInfo", "Channel", "ChildFiles", "Comparison", "Contrast",
    "Coverage", "DonorLayer", "DonorRecord", "Estimate", "Evidence", "FfnAnatomy", "FileDigest", "Genome", "Health",
    "HealthGate", "Inputs", "LanguageScan", "LayerAnatomy", "LayerScan", "LedgerLine", "Manifest", "MappedLayer",
    "ModelInfo", "PairScan", "PairWeights", "ParentInput", "Part", "Plan", "PlanMethod", "PlanNeed", "PlanParent",
    "PlanStage", "PresetFit", "Prior", "PriorGene", "PriorLayer", "ProbesInfo", "Protocol", "Record", "Response",
    "Scan", "Score", "SplitItems", "Splits", "Validation", "Vigor", "write_text",
]  # fmt: skip
