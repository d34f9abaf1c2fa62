"""The hub page of a published file of moments."""

from __future__ import annotations

from pathlib import Path

from darwin_mri.records import MomentsHeader
from darwin_mri.records.roles import FATHER, moments_file
from darwin_mri.report import formats
from darwin_mri.report.hub import Upload


def moments_uploads(path: Path, header: MomentsHeader) -> list[Upload]:
    """The card and the file.

    Args:
        path: of the file.
        header: what it says of itself.

    Returns:
        What a push uploads, in order.
    """
    card = render_moments_card(header)
    file = Upload(moments_file(FATHER), path.stat().st_size, source=path)
    return [Upload("README.md", len(card.encode()), text=card), file]


def render_moments_card(header: MomentsHeader) -> str:
    """The card in Markdown."""
    model = formats.clean(header.ref)
    front = ["---", "library_name: darwin_mri", "tags: [darwin_mri, moments, model-merging]"]
    if model.count("/") == 1 and " " not in model:
        front.append(f"base_model: {model}")
    full = sum(own.full for own in header.inputs)
    rows = [f"| {formats.clean(group.name)} | {group.tokens:,} | {group.nll_per_byte:.4f} |" for group in header.groups]
    return "\n".join(
        [
            *front,
            "---",
            f"# Moments of {model}",
            "",
            "Second moments of the inputs of every linear map of the decoder layers, measured by darwin_mri: sums over"
            " tokens of x x^T (or of x^2, for the widest inputs) and of |x|, for each group of texts. A merge by"
            " regression (RegMean and its kin) needs them, and no text and no gradient beside them.",
            "",
            f"* weights: sha256 `{header.digest}`",
            f"* texts: sha256 `{header.probes}`, {header.max_tokens} tokens of each at most",
            f"* inputs: {len(header.inputs)}, of which {full} with products of all pairs of dimensions",
            "",
            "| group | tokens | NLL per byte, nats |",
            "|---|---|---|",
            *rows,
            "",
            "```sh",
            "darwin-mri scan MODEL --against OTHER --method regression --moments-from REPO",
            "```",
            "",
            "Tensors: `INPUT|GROUP` and `INPUT|GROUP|magnitude`, fp32; the header of the file (`darwin_mri` in"
            " safetensors' metadata) lists inputs, the maps that read each, and groups.",
            "",
        ]
    )
