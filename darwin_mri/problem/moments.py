"""The moments of a run's parents: measured or taken from files, and opened for a merge."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from darwin_mri.checkpoints import LoadedModel, free_memory
from darwin_mri.config import Config
from darwin_mri.errors import InputError
from darwin_mri.merging.methods import MEASURED, REGRESSION
from darwin_mri.merging.moments import Moments, ParentMoments, own_groups, read_header
from darwin_mri.merging.relaxing import Magnitudes
from darwin_mri.merging.sources import FolderSource
from darwin_mri.mri.moments import MomentOptions
from darwin_mri.probes import TokenizedProbes, describe_probes
from darwin_mri.records import Genome, MomentsHeader
from darwin_mri.records.roles import FATHER, moments_file
from darwin_mri.roles import BASE

SHARE = 4  # a quarter of the free memory holds sums
MOST = 8 * 2**30  # bytes of sums held at once
FILE = "moments.safetensors"  # of a repository
NULLS = "state/moments"
MERGED, MERGED_KIND = "state/moments/merged", "merged"


def moment_options(config: Config, parent: LoadedModel, *, shuffled: bool = False) -> MomentOptions:
    """How a config's moments are measured.

    Args:
        config: of the run.
        parent: the model.
        shuffled: whether the words of the texts are shuffled.

    Returns:
        The options; sums take a quarter of the free memory at most.
    """
    memory = min(MOST, free_memory(parent.device) // SHARE)
    widest = config.scan.moments_width or 2 * parent.anatomy.hidden_size
    return MomentOptions(config.moments or "diagonal", widest, memory, config.scan.max_tokens, shuffled)


def require_moments(moments: ParentMoments | None, genome: Genome) -> None:
    """Refuse moments that are not those a genome was found with; one written by hand names none."""
    if moments is None or not genome.moments:
        return
    for role, digest in moments.digests(tuple(genome.roles)).items():
        if digest != genome.moments.get(role):
            raise InputError(
                f"the moments of the {role} are not those this genome was found with: keep the run's own"
                f" {moments_file(role)} beside genome.json"
            )


def takes_moments(config: Config) -> bool:
    """Whether the method merges with measured moments."""
    return config.method == REGRESSION.name and kind_of(config) in MEASURED


def kind_of(config: Config) -> str:
    """Which moments ``regression`` takes."""
    return str(config.settings.get("moments", "probes"))


def open_moments(
    config: Config, folder: Path | None, sources: Sequence[FolderSource], *, shuffled: bool = False
) -> ParentMoments | None:
    """The moments that a merge of these parents takes.

    Args:
        config: of the run.
        folder: with the parents' files; None where there is none.
        sources: of the parents, the father's first.
        shuffled: take those of texts whose words were shuffled.

    Returns:
        The moments; None where the method takes none, there is no folder, or no shuffled words were read.

    Raises:
        InputError: a file is missing, or they are of different texts.
    """
    if folder is None or not takes_moments(config):
        return None
    roles, merged = tuple(config.roles), kind_of(config) == MERGED_KIND
    paths = [folder / moments_path(role, MERGED if merged else "", shuffled=shuffled) for role in roles]
    if shuffled and not all(path.is_file() for path in paths):
        return None
    files = tuple(Moments(path) for path in paths)
    headers = [file.header for file in files]
    if merged:  # of the texts that each parent is best at alone, in the father's place
        return ParentMoments(files, (sources[0].disk_names,) * len(files), ((),) * len(files))
    for role, header in zip(roles[1:], headers[1:], strict=True):
        if header.probes != headers[0].probes or len(header.groups) != len(headers[0].groups):
            raise InputError(f"the moments of the {role} are of other texts than the father's: measure them again")
    return ParentMoments(files, tuple(source.disk_names for source in sources), chosen_groups(config, headers))


def takes_magnitudes(config: Config) -> bool:
    """Whether some tensor's setting ``relax`` asks for the base's magnitudes."""
    own = (config.settings, *config.tensors.values())
    return any(float(values.get("relax", 1.0)) != 1.0 for values in own)


def open_magnitudes(
    config: Config, folder: Path | None, father: FolderSource, base: FolderSource | None
) -> Magnitudes | None:
    """The base's magnitudes that a merge takes, the father's where there is no base.

    Args:
        config: of the run.
        folder: with the file; None where there is none.
        father: its tensors.
        base: those of the base.

    Returns:
        The magnitudes; None where no setting asks for them, or there is no folder.
    """
    if folder is None or not takes_magnitudes(config):
        return None
    role = FATHER if base is None or base is father else BASE
    return Magnitudes(Moments(folder / moments_file(role)), (base or father).disk_names)


def chosen_groups(config: Config, headers: Sequence[MomentsHeader]) -> tuple[tuple[str, ...], ...]:
    """The groups of texts whose moments count for each parent; all where none is named."""
    if config.settings.get("texts", "best") == "best":
        return own_groups(headers)
    return ((),) * len(headers)


def moments_path(role: str, below: str = "", *, shuffled: bool = False) -> str:
    """A parent's file, relative to the run folder.

    Args:
        role: of the parent.
        below: a folder of its own; the run folder when empty.
        shuffled: of texts whose words were shuffled.

    Returns:
        The path.
    """
    folder = f"{below or NULLS}/shuffled/" if shuffled else f"{below}/" if below else ""
    return folder + moments_file(role)


def take_moments(source: str, path: Path, expected: MomentsHeader | None, *, offline: bool) -> MomentsHeader:
    """Copy a published file of moments into a run.

    Args:
        source: a file, or a hub repository that has one.
        path: where it goes.
        expected: digests and kind that it must have; None accepts all.
        offline: never ask the hub.

    Returns:
        Its header.

    Raises:
        InputError: it cannot be had, or was measured of another model or on other texts.
    """
    own = find_moments(source, offline=offline)
    header = read_header(own)
    if expected is not None:
        require_same(header, expected, source)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(own, path)
    except OSError:
        shutil.copyfile(own, path)
    return header


def find_moments(source: str, *, offline: bool) -> Path:
    """A file of moments: on this machine, or of a hub repository; raises InputError where it cannot be had."""
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        return path / FILE
    if source.count("/") != 1 or source.startswith((".", "/")) or source.endswith(".safetensors"):
        raise InputError(f"--moments-from {source}: no such file, and no hub repository (OWNER/NAME)")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(source, FILE, local_files_only=offline))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--moments-from {source}: {FILE} cannot be had from there ({reason})") from None


def require_same(header: MomentsHeader, expected: MomentsHeader, source: str) -> None:
    """Refuse a file of moments that does not stand for a measurement.

    Args:
        header: of the file.
        expected: what it must say.
        source: how the user named the file.

    Raises:
        InputError: it is of another model, of other texts, or of diagonals where products are needed.
    """
    if header.digest != expected.digest:
        raise InputError(
            f"--moments-from {source}: measured of {header.ref}, whose weights are not those of {expected.ref}: measure"
            " again"
        )
    if header.probes != expected.probes or header.max_tokens != expected.max_tokens:
        raise InputError(
            f"--moments-from {source}: measured on other probe texts than this scan's: give the same, or measure"
        )
    if header.kind == "diagonal" and expected.kind == "full":
        raise InputError(f"--moments-from {source}: has squares alone, and products are needed (--moments full)")


def expected_header(ref: str, digest: str, config: Config, tokenized: TokenizedProbes) -> MomentsHeader:
    """What a file of moments must say to stand for a measurement of this run.

    Args:
        ref: the model's name.
        digest: of its weights.
        config: of the run.
        tokenized: the probes in its tokens.

    Returns:
        A header without groups and inputs.
    """
    probes = describe_probes(tokenized.probes, tokenized.tokens).digest
    return MomentsHeader(
        ref=ref,
        digest=digest,
        kind=config.moments or "diagonal",
        probes=probes,
        max_tokens=config.scan.max_tokens,
        groups=(),
        inputs=(),
    )


def rank_warning(header: MomentsHeader) -> str:
    """A sentence where texts are too few for the widest input that has products; empty where they are enough."""
    widths = [own.width for own in header.inputs if own.full]
    if not widths or header.tokens >= max(widths):
        return ""
    return (
        f"moments of {header.ref}: {header.tokens} tokens for inputs up to {max(widths)} wide, so their rank is at most"
        f" {header.tokens}: raise scan.documents, or rely on settings.ridge"
    )
