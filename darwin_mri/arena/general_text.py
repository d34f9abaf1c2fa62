"""What an edit costs in general text: loss on prose that no model read while the edit was made."""

from __future__ import annotations

from collections.abc import Sequence

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.merging.model_figures import bits_per_byte
from darwin_mri.probes import Probe, load_probes

DOCUMENTS = 24  # of each language, at most


class GeneralText:
    """Packaged prose by language, read by the father as it stands and as a child.

    Args:
        languages: of the prose; all when None.
    """

    def __init__(self, languages: Sequence[str] | None) -> None:
        self.texts = [
            text
            for text in load_probes()
            if text.domain == "prose" and (languages is None or text.language in languages)
        ]
        self._father: dict[tuple[Probe, ...], float] = {}

    def unread(self, read: Sequence[Probe]) -> list[tuple[Probe, ...]]:
        """Of each language the texts that are not among those read."""
        known = set(read)
        by_language: dict[str, list[Probe]] = {}
        for text in self.texts:
            if text not in known:
                by_language.setdefault(text.language, []).append(text)
        return [tuple(texts[:DOCUMENTS]) for texts in by_language.values()]

    def measure_father(self, father: LoadedModel, read: Sequence[Probe]) -> None:
        """Keep the father's own losses, before it is edited; once for each choice of texts."""
        for texts in self.unread(read):
            if texts not in self._father:
                bits = bits_per_byte(father.model, father.tokenizer, texts)
                if bits:
                    self._father[texts] = bits

    def rises(self, child: LoadedModel, read: Sequence[Probe]) -> dict[str, float]:
        """How much worse a child reads unread prose than the father did.

        Args:
            child: the father's model with edited weights.
            read: texts that the edit was made from.

        Returns:
            language -> relative rise of NLL per byte; languages without a text left are missing.
        """
        figures = {}
        for texts in self.unread(read):
            before, after = self._father.get(texts), bits_per_byte(child.model, child.tokenizer, texts)
            if before and after:
                figures[texts[0].language] = round(after / before - 1, 5)
        return figures
