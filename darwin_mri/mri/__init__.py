"""The Model MRI: what a parent's layers do, how two parents' layers correspond, and the prior that follows."""

from darwin_mri.mri.activations import Activations
from darwin_mri.mri.crossfit import CrossFit, cross_fit
from darwin_mri.mri.descent import Descent, descend
from darwin_mri.mri.presets import GeneTensors, preset_ratios
from darwin_mri.mri.prior import Evidence, GeneSlopes, PriorOptions, freeze, make_prior
from darwin_mri.mri.reading import measure_reading
from darwin_mri.mri.reliability import bootstrap_weights
from darwin_mri.mri.response import Block, PieceLoss, gene_slopes, repeatable, responses, text_blocks
from darwin_mri.mri.scan_ablation import AblationPlan
from darwin_mri.mri.scanner import ScanOptions, gate_rms, model_info, scan_pair, scan_parent, scan_work
from darwin_mri.mri.similarity import common_positions, paired_positions
from darwin_mri.mri.words import sibling_words

__all__ = [
    "AblationPlan",
    "Activations",
    "Block",
    "CrossFit",
    "Descent",
    "Evidence",
    "GeneSlopes",
    "GeneTensors",
    "PieceLoss",
    "PriorOptions",
    "ScanOptions",
    "bootstrap_weights",
    "common_positions",
    "cross_fit",
    "descend",
    "freeze",
    "gate_rms",
    "gene_slopes",
    "make_prior",
    "measure_reading",
    "model_info",
    "paired_positions",
    "preset_ratios",
    "repeatable",
    "responses",
    "scan_pair",
    "scan_parent",
    "scan_work",
    "sibling_words",
    "text_blocks",
]
