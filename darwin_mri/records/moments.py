"""What a file of moments says of itself: models, texts, groups and inputs."""

from __future__ import annotations

from typing import Literal

from darwin_mri.records.base import Part, Record

MOMENTS_KEY = "darwin_mri"  # of the header in safetensors' metadata


def group_name(language: str, domain: str, topic: str = "") -> str:
    """A group of texts as tensors of a file are named by it.

    Args:
        language: of the texts.
        domain: of the texts.
        topic: of the texts; empty for none.

    Returns:
        The parts that are there, joined by slashes.
    """
    return "/".join(filter(None, (language, domain, topic)))


class MomentGroup(Part):
    """Texts that are counted together.

    Attributes:
        language: of the texts.
        domain: of the texts.
        topic: of the texts, where the probes name one.
        tokens: rows that were added up.
        bytes: UTF-8 bytes behind the tokens that are predicted.
        nll: of the model on these texts, in nats.
    """

    language: str
    domain: str
    topic: str = ""
    tokens: int
    bytes: int
    nll: float

    @property
    def name(self) -> str:
        """Language, domain and topic, as tensors of the file are named by them."""
        return group_name(self.language, self.domain, self.topic)

    @property
    def nll_per_byte(self) -> float:
        """In nats."""
        return self.nll / self.bytes


class MomentInput(Part):
    """One input of linear maps, which several maps may read.

    Attributes:
        name: tensor on disk of the first map that reads it.
        maps: tensors on disk of all that do.
        width: of a row.
        full: whether products of all pairs of dimensions are there, or squares alone.
    """

    name: str
    maps: tuple[str, ...]
    width: int
    full: bool


class MomentsHeader(Record):
    """Header of a file of moments.

    Tensors of the file, all fp32, with INPUT as ``MomentInput.name`` and GROUP as ``MomentGroup.name``:
    ``INPUT|GROUP`` is the sum over tokens of x x^T, (width, width), or of x^2, (width,); ``INPUT|GROUP|magnitude`` is
    the sum of |x|, (width,).

    Attributes:
        ref: name of the model.
        digest: sha256 over the digests of its weight files.
        kind: ``full`` or ``diagonal``.
        probes: sha256 over the texts.
        max_tokens: read of each text.
        shuffled: whether words of the texts were shuffled: a null.
        groups: in order.
        inputs: in the order of the layers.
    """

    ref: str
    digest: str
    kind: Literal["full", "diagonal"]
    probes: str
    max_tokens: int
    shuffled: bool = False
    groups: tuple[MomentGroup, ...]
    inputs: tuple[MomentInput, ...]

    @property
    def tokens(self) -> int:
        """Rows of all groups."""
        return sum(group.tokens for group in self.groups)
