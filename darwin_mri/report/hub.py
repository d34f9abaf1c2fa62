"""Publishing a child: the hub's evaluation files, what would be uploaded, and the upload itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from darwin_mri.errors import DarwinError, GateError, InputError
from darwin_mri.records import Health
from darwin_mri.records.roles import PARENTS, pair_file, scan_file
from darwin_mri.report import formats
from darwin_mri.report.model.metadata import Metadata, Result
from darwin_mri.report.model.view import View
from darwin_mri.report.renderers.card import PICTURE, render_card
from darwin_mri.report.renderers.social_card import render_social_card

# Benchmarks that the hub knows: dataset and task. The nursery's own are on no hub and get no file.
HUB_TASKS = {
    "click": ("EunsuKim/CLIcK", "click"),
    "musr": ("TAUR-Lab/MuSR", "musr"),
    "gpqa": ("Idavidrein/gpqa", "gpqa_diamond"),
    "gpqa_diamond": ("Idavidrein/gpqa", "gpqa_diamond"),
}
RECORDS = (
    "manifest.json",
    "inputs.json",
    *map(scan_file, PARENTS),
    *map(pair_file, PARENTS[1:]),
    "prior.json",
    "ledger.jsonl",
    "genome.json",
    "comparison.json",
    "health.json",
    "child.json",
)


@dataclass(frozen=True)
class Upload:
    """One file of the repository: from disk, or made for it.

    Attributes:
        path: in the repository.
        size: in bytes.
        source: the file on disk, or None.
        text: the content of a file that is not on disk.
    """

    path: str
    size: int
    source: Path | None = None
    text: str = ""


def eval_files(metadata: Metadata, source_url: str = "") -> dict[str, str]:
    """``.eval_results`` files of the measured held-out scores on benchmarks the hub knows.

    The hub has no field for the number of items or the interval, so both stand in the notes, with the protocol and the
    fact that the items are the held-out part. Values are fractions.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml  # slow to import, and rarely needed

    files = {}
    for result in metadata.results:
        if result.benchmark not in HUB_TASKS or result.unit:  # the hub knows accuracies of these
            continue
        dataset, task = HUB_TASKS[result.benchmark]
        entry = EvalResultEntry(
            dataset_id=dataset,
            task_id=task,
            value=round(result.value, 4),
            date=metadata.created or None,
            source_url=source_url or None,
            source_name="darwin_mri report" if source_url else None,
            notes=_notes(result),
        )
        name = f".eval_results/{result.benchmark}.yaml"
        files[name] = yaml.safe_dump(
            eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True, width=100
        )
    return files


def _notes(result: Result) -> str:
    return formats.clean(f"{result.text}; held-out part of the items, 95 % interval; protocol {result.protocol}")


def plan(run: Path, view: View, repo: str, html: str, *, force: bool = False) -> list[Upload]:
    """Everything that a push would upload, in order.

    Args:
        run: the run's folder, with the child in it.
        view: the run in words.
        repo: hub id of the repository.
        html: the report as rendered.
        force: publish although the child fails its health check.

    Returns:
        the card and its picture, the report, the evaluation files, the child and the records.

    Raises:
        InputError: there is no child to publish, or the repository's name is no hub id.
        GateError: the child failed its health check, or was never checked.
    """
    require_repository(repo)
    child = run / "child"
    if not (child / "config.json").is_file():
        raise InputError(f"{run} has no child to publish: run darwin-mri breed, or merge --genome {run}/genome.json")
    if not force:
        _require_health(run)
    metadata = view.metadata
    report_url = f"https://huggingface.co/{repo}/blob/main/report.html"
    texts = {"README.md": render_card(view, repo), PICTURE: render_social_card(view), "report.html": html}
    texts |= eval_files(metadata, report_url) if metadata else {}
    uploads = [Upload(name, len(text.encode()), text=text) for name, text in texts.items()]
    for path in sorted(p for p in child.rglob("*") if p.is_file()):
        name = path.relative_to(child).as_posix()
        if name not in texts and not any(part.startswith(".") for part in Path(name).parts):
            uploads.append(Upload(name, path.stat().st_size, source=path))
    for name in RECORDS:
        if (run / name).is_file():
            uploads.append(Upload(f"darwin_mri/{name}", (run / name).stat().st_size, source=run / name))
    return uploads


def require_repository(repo: str) -> None:
    """Raise InputError unless a name is a hub id with an owner."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise InputError(f"'{repo}' is no hub id ({str(error).splitlines()[0]}): give OWNER/NAME") from None
    if repo.count("/") != 1:
        raise InputError(f"'{repo}' names no owner: give OWNER/NAME")


def _require_health(run: Path) -> None:
    path = run / "health.json"
    if not path.is_file():
        raise GateError(
            f"the child was never checked: run darwin-mri breed --resume {path.parent}, or pass --force to publish it"
            " all the same"
        )
    health = Health.load(path)
    if not health.passed:
        failed = ", ".join(gate.name for gate in health.gates if not gate.passed)
        raise GateError(f"the child fails its health check ({failed}): pass --force to publish it all the same")


def push(uploads: list[Upload], repo: str, *, private: bool, message: str) -> str:
    """Create the repository where it is missing and upload everything in one commit.

    Args:
        uploads: from ``plan``.
        repo: hub id of the repository.
        private: whether a new repository is.
        message: of the commit.

    Returns:
        the commit's address.

    Raises:
        DarwinError: the hub refused or could not be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    operations = [
        CommitOperationAdd(path_in_repo=one.path, path_or_fileobj=one.source or one.text.encode()) for one in uploads
    ]
    api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.create_commit(repo, operations=operations, commit_message=message).commit_url)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DarwinError(
            f"the upload to {repo} did not happen ({reason}): log in with 'hf auth login' and try again"
        ) from None
