"""Probe texts: what a scan reads, with language, domain, document and parallel passage."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from darwin_mri import seeds
from darwin_mri.errors import InputError
from darwin_mri.files import read_text
from darwin_mri.probes.languages import language_fault
from darwin_mri.records import ProbesInfo

DOMAINS = ("prose", "math", "code", "knowledge", "reasoning")
BUILT_IN = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Probe:
    """One text.

    Attributes:
        text: what the model reads.
        language: an ISO 639 code, or ``code`` for a text in no language.
        domain: one of ``DOMAINS``.
        doc: the document, which is the unit of resampling.
        pair: texts of equal ``pair`` have equal content in different languages.
        topic: a group of its own within language and domain, such as what one specialist is for; empty for none.
    """

    text: str
    language: str
    domain: str
    doc: str
    pair: str | None = None
    topic: str = ""

    def is_of(self, names: Iterable[str]) -> bool:
        """Whether its language or its domain is among these."""
        return bool({self.language, self.domain} & set(names))


def load_probes(folder: Path | None = None) -> tuple[Probe, ...]:
    """All probes of a folder of JSONL files, the built-in set when ``folder`` is None.

    Raises:
        InputError: names the file and line that cannot be used, or the folder without any probe.
    """
    source = folder or BUILT_IN
    files = sorted(source.glob("*.jsonl")) if source.is_dir() else []
    if not files:
        raise InputError(
            f"probe folder {source.name} has no .jsonl file: give --probes a folder with text, language, domain, doc"
        )
    probes = []
    for path in files:
        try:
            lines = read_text(path).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"probe file {path.name} cannot be read as UTF-8 text: {error}") from None
        if not any(line.strip() for line in lines):
            raise InputError(f"probe file {path.name} is empty: fill it, one JSON object a line, or remove it")
        for number, line in enumerate(lines, 1):
            if line.strip():
                probes.append(_parse(line, f"{path.name} line {number}"))
    return tuple(probes)


def _parse(line: str, where: str) -> Probe:
    try:
        data = json.loads(line)
        probe = Probe(
            data["text"],
            data["language"],
            data["domain"],
            str(data["doc"]),
            data.get("pair"),
            str(data.get("topic") or ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"probe {where}: not an object with text, language, domain and doc ({error!r})") from None
    if not isinstance(probe.text, str) or not probe.text.strip():
        raise InputError(f"probe {where}: text is empty")
    if not isinstance(probe.pair, str | None):
        raise InputError(f"probe {where}: pair is no text")
    if probe.domain not in DOMAINS:
        raise InputError(f"probe {where}: domain {probe.domain!r} is none of {', '.join(DOMAINS)}")
    fault = language_fault(probe.language)
    if fault:
        raise InputError(f"probe {where}: {fault}")
    return probe


def select_probes(
    probes: Sequence[Probe], languages: Sequence[str] | None, documents: int, seed: int
) -> tuple[Probe, ...]:
    """At most ``documents`` documents per domain, the same parallel passages in every language; seeded, order kept.

    Args:
        probes: all texts.
        languages: keep these languages and, whatever they are, texts of the domains math and code; None keeps all.
        documents: of each domain and topic, and of each language where texts are not parallel.
        seed: of the choice.

    Returns:
        The chosen texts, in their order.

    Raises:
        InputError: no text is in these languages.
    """
    chosen: set[tuple[str, str]] = set()
    by_domain: dict[tuple[str, ...], dict[str, None]] = defaultdict(dict)
    for probe in probes:
        # Parallel passages are drawn once for all languages, so that content stays fixed across them.
        by_domain[(probe.domain, "" if probe.pair else probe.language, probe.topic)].setdefault(probe.doc)
    for (domain, language, topic), docs in sorted(by_domain.items()):
        names = list(docs)
        seeds.named(seed, "probes", domain, language, *([topic] if topic else [])).shuffle(names)
        chosen.update((domain, name) for name in names[:documents])
    kept = tuple(
        p
        for p in probes
        if (p.domain, p.doc) in chosen and (not languages or p.language in languages or p.domain in ("math", "code"))
    )
    if not kept:
        raise InputError(f"no probe text in the languages {', '.join(languages or ())}: check scan.languages")
    return kept


def describe_probes(probes: Sequence[Probe], tokens: int) -> ProbesInfo:
    """Digest and counts of probe texts, and how many ``tokens`` a model reads of them, for the scan record."""
    digest = hashlib.sha256()
    for probe in probes:
        topic = f"{probe.topic}\0" if probe.topic else ""
        digest.update(f"{probe.language}\0{probe.domain}\0{topic}{probe.doc}\0{probe.text}\0".encode())
    return ProbesInfo(
        digest=digest.hexdigest(),
        languages=tuple(sorted({p.language for p in probes})),
        domains=tuple(sorted({p.domain for p in probes}, key=DOMAINS.index)),
        documents=len({p.doc for p in probes}),
        tokens=tokens,
    )
