"""The parents of a run: found once, surveyed once, in memory where a stage needs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

from darwin_mri.batch_sizes import scan_tokens
from darwin_mri.checkpoints import (
    LoadedModel,
    ModelSource,
    device_memory,
    file_digests,
    find_model,
    free_memory,
    load,
    load_tokenizer,
    resolve_device,
    swapped,
    waiting_on_host,
    weights_digest,
)
from darwin_mri.checkpoints.atomic_folder import refuse_occupied
from darwin_mri.checkpoints.find import local_paths
from darwin_mri.checkpoints.source import unpacking_notes
from darwin_mri.checkpoints.survey import Survey, survey
from darwin_mri.config import Config, ScanConfig
from darwin_mri.errors import InputError
from darwin_mri.files import require_loadable
from darwin_mri.merging.compatibility import require_parts, sibling_fault, sibling_notes
from darwin_mri.merging.vocabulary import align_vocabularies, read_choice
from darwin_mri.planning.memory import fits_beside, stage_bytes
from darwin_mri.probes import Probe, TokenizedProbes, load_probes, select_probes, tokenize_probes
from darwin_mri.problem.items import Items, choose_items
from darwin_mri.records.roles import FATHER
from darwin_mri.roles import BASE


class Parents:
    """The father, one or more other parents, and their common base where there is one.

    Args:
        config: of the run.
        sources: role -> model, the father first, without the base.
        base: common ancestor of all.
        device: where models compute.
        offline: never ask the hub.
        notes: on what was done to give them one vocabulary, in sentences.
    """

    def __init__(
        self,
        config: Config,
        sources: dict[str, ModelSource],
        base: ModelSource | None,
        device: str,
        offline: bool,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.config, self.sources, self.base, self.device, self.offline = config, sources, base, device, offline
        self._vocabulary_notes = notes
        self._models: dict[str, LoadedModel] = {}

    @classmethod
    def find(
        cls, config: Config, *, roles: tuple[str, ...] | None = None, device: str | None = None, offline: bool = False
    ) -> Parents:
        """Find the models of a config; none is loaded yet.

        Args:
            config: names them.
            roles: of the parents that are needed; all when None. For a single one there is no base either.
            device: where they compute; the config's when None.
            offline: never ask the hub.

        Returns:
            The parents.

        Raises:
            CheckpointError: a model is not found, or its folder is no whole model.
            InputError: the device is absent.
        """
        device = resolve_device(device or config.device)
        refs = {role: ref for role, ref in config.roles.items() if roles is None or role in roles}
        sources = {role: find_model(ref, offline=offline) for role, ref in refs.items()}
        base = find_model(config.base, offline=offline) if config.base and len(refs) > 1 else None
        if len(refs) == 1:
            return cls(config, sources, base, device, offline)
        named = {**sources, **({BASE: base} if base else {})}
        aligned = align_vocabularies(named, read_choice(config.tokenizer, named, offline=offline))
        sources = {role: aligned.sources[role] for role in sources}
        return cls(config, sources, aligned.sources.get(BASE), device, offline, aligned.notes)

    def refuse_as_output(self, out: Path) -> None:
        """Raise InputError where ``out`` is, or lies in, what a parent was read from, or has a name no loader opens."""
        require_loadable(out)
        refs = (*self.config.parents, *([self.config.base] if self.config.base else []))
        sources = (*self.sources.values(), *([self.base] if self.base else []))
        read = [source.folder.resolve() for source in sources]
        for path in (*read, *(path for ref in refs for path in local_paths(ref))):
            refuse_occupied(path, out)

    @property
    def father(self) -> LoadedModel:
        """The father, loaded when it is first asked for."""
        return self.model(FATHER)

    @property
    def others(self) -> tuple[str, ...]:
        """Roles of the parents beside the father."""
        return tuple(role for role in self.sources if role != FATHER)

    @property
    def other_sources(self) -> tuple[ModelSource, ...]:
        """The parents beside the father, in the order of ``others``."""
        return tuple(self.sources[role] for role in self.others)

    @property
    def named(self) -> dict[str, ModelSource]:
        """Role -> model, the base among them."""
        return {**self.sources, **({"base": self.base} if self.base else {})}

    def model(self, role: str) -> LoadedModel:
        """A parent in memory, loaded to the device where it is not yet."""
        if role not in self._models:
            self._load(role, self.device)
        return self._models[role]

    @property
    def one_by_one(self) -> bool:
        """Whether the other parents are loaded one at a time: several of one architecture are, crossed ones are two."""
        return len(self.others) > 1

    def load(self) -> None:
        """Load the father, and one other parent with it; several others are loaded when they are asked for.

        The other parent waits in host memory where both do not fit on the device side by side.

        Raises:
            CheckpointError: a folder does not load, or no layer of a model has an FFN.
        """
        if self.one_by_one:
            require_parts(self.father.anatomy, self.sources[FATHER].ref, self.config.method, FATHER)
            return
        together = self.device == "cpu" or self._fit_together()
        # Those that wait come first: their anatomy is found on the device, while there is room.
        for role in (FATHER, *self.others) if together else (*self.others, FATHER):
            if role not in self._models:
                self._load(role, self.device if together or role == FATHER else "cpu")
            require_parts(self._models[role].anatomy, self.sources[role].ref, self.config.method, role)

    def _fit_together(self) -> bool:
        memory = device_memory(self.device)
        return fits_beside(self.config, self.surveys(), free_memory(self.device), memory)

    def _load(self, role: str, device: str) -> None:
        self._models[role] = load(
            self.sources[role], self.digest(role), device=device, dtype=self.config.dtype, computes_on=self.device
        )

    @contextmanager
    def on_device(self, role: str) -> Iterator[LoadedModel]:
        """While open, another parent is on the device; the father waits in host memory where there is no room for both.

        Args:
            role: of the other parent, which is loaded where it is not yet and kept until ``release``.

        Yields:
            The other parent.
        """
        if role in self._models:
            with swapped(self.father, self._models[role], self.device):
                yield self._models[role]
            return
        with self.room_for(self.sources[role]):
            model = self.model(role)
            yield model
            if str(self.father.device) != self.device:
                model.model.to("cpu")

    def release(self, role: str) -> None:
        """Let go of another parent where they are loaded one at a time."""
        if self.one_by_one:
            self._models.pop(role, None)

    def release_others(self) -> None:
        """Let go of every parent but the father: a search needs their tensors, which it reads from the files."""
        for role in self.others:
            self._models.pop(role, None)

    @contextmanager
    def room_for(self, source: ModelSource) -> Iterator[None]:
        """While open, another model has room on an accelerator: the father waits in host memory where that is short."""
        father = self._models.get(FATHER)
        full = father is not None and self.device != "cpu" and free_memory(self.device) < self._size(source)
        with waiting_on_host(father) if father is not None and full else nullcontext():
            yield

    def _size(self, source: ModelSource) -> int:
        """Bytes a model takes when it is read beside the father, activations among them."""
        each = 4 if self.config.dtype == "float32" else 2
        surveys = [survey(self.sources[FATHER].folder), survey(source.folder)]
        beside = stage_bytes(self.config, surveys, each, device_memory(self.device), kept=0)
        return max(beside["health"], beside["bench"]) - surveys[0].parameters * each

    def digest(self, role: str) -> str:
        """sha256 over the digests of a parent's weight files."""
        return weights_digest(file_digests(self.sources[role].folder))

    def surveys(self) -> list[Survey]:
        """Headers, configuration and tokens of all parents, the father's first."""
        return [survey(source.folder) for source in self.sources.values()]

    def notes(self) -> tuple[str, ...]:
        """What was unpacked, and in what siblings differ beside their weights, in sentences."""
        unpacked = unpacking_notes(source.folder for source in self.named.values())
        father, *others = self.surveys()
        siblings = {} if self.config.cross else dict(zip(self.others, others, strict=True))
        return (
            self._vocabulary_notes
            + unpacked
            + tuple(
                note
                for role, other in siblings.items()
                if not sibling_fault(father, other, role)
                for note in sibling_notes(father, other, role)
            )
        )

    @cached_property
    def probes(self) -> tuple[Probe, ...]:
        """The probe texts of the run, read once.

        Raises:
            InputError: a file of probes is damaged, or none is in the languages asked for.
        """
        return chosen_probes(self.config.scan, self.config.seed)

    @cached_property
    def items(self) -> Items:
        """The benchmark items of the run, split once.

        Raises:
            InputError: a benchmark's files are missing or damaged.
        """
        return choose_items(self.config, list(self.sources.values()), offline=self.offline)

    def tokenized(self, role: str) -> TokenizedProbes:
        """The probes as a parent reads them, in batches on the device it is scanned on; raises InputError without."""
        known = self._models.get(role)
        tokenizer = known.tokenizer if known else load_tokenizer(self.sources[role])
        return tokenize_for_scan(self.sources[role].ref, tokenizer, self.probes, self.config.scan, self.device)


def tokenize_for_scan(
    ref: str, tokenizer: Any, probes: tuple[Probe, ...], config: ScanConfig, device: str
) -> TokenizedProbes:
    """Probes in the batches of a scan.

    Args:
        ref: what an error calls the model.
        tokenizer: the model's.
        probes: the texts.
        config: how many tokens of each are read.
        device: where they are read.

    Returns:
        The tokenized probes.

    Raises:
        InputError: no text has two tokens.
    """
    tokenized = tokenize_probes(
        probes, tokenizer, max_tokens=config.max_tokens, device=device, token_budget=scan_tokens(device_memory(device))
    )
    if not tokenized.probes:
        raise InputError(f"{ref}: no probe text has two tokens: give longer probe texts")
    return tokenized


def chosen_probes(config: ScanConfig, seed: int) -> tuple[Probe, ...]:
    """The user's probe texts or the built-in set, cut to the languages and documents asked for."""
    return select_probes(all_probes(config), config.languages, config.documents, seed)


def all_probes(config: ScanConfig) -> tuple[Probe, ...]:
    """Every probe text of the user's folder, or of the built-in set."""
    return load_probes(Path(config.probes) if config.probes else None)
