"""The nouns of darwin_mri: frozen records, JSON in and out, free of torch."""

from darwin_mri.records.anatomy import Anatomy, FfnAnatomy, LayerAnatomy
from darwin_mri.records.base import Part, Record, write_text
from darwin_mri.records.benchmark import AnswerSet, Protocol, SplitItems, Splits
from darwin_mri.records.genome import Genome, LedgerLine
from darwin_mri.records.manifest import ChildFiles, FileDigest, Health, HealthGate, Inputs, Manifest, ParentInput
from darwin_mri.records.prior import Prior, PriorGene, PriorLayer
from darwin_mri.records.scan import (
    Channel,
    Estimate,
    LanguageScan,
    LayerScan,
    ModelInfo,
    PairScan,
    ProbesInfo,
    Response,
    Scan,
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
    "Alert", "Anatomy", "Answer", "AnswerSet", "BenchmarkInfo", "Channel", "ChildFiles", "Comparison", "Contrast",
    "Coverage", "Estimate", "Evidence", "FfnAnatomy", "FileDigest", "Genome", "Health", "HealthGate", "Inputs",
    "LanguageScan", "LayerAnatomy", "LayerScan", "LedgerLine", "Manifest", "ModelInfo", "PairScan", "ParentInput",
    "Part", "Prior", "PriorGene", "PriorLayer", "ProbesInfo", "Protocol", "Record", "Response", "Scan", "Score", "SplitItems",
    "Splits", "Vigor", "write_text",
]  # fmt: skip
