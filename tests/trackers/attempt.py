"""One attempt at a run that is logged to a tracker, or what the tracker kept of it; each in a process of its own.

python -m tests.trackers.attempt NAME FOLDER first|again|read
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from darwin_mri.trackers import Trackers

CONFIG = {"name": "toy", "seed": 7, "parents": ["father", "mother"], "search": {"budget": 40, "address": None}}
FINAL = {"held-out/nursery_click/child": 0.75, "vigor/claimed": 1.0}
HOST = "host-of-nobody"


def log(name: str, folder: Path, *, again: bool) -> None:
    """Three generations of five, or all five of a resumed run, and its end."""
    trackers = Trackers([name], folder, CONFIG, keep=again, say=lambda line: print(line, file=sys.stderr))
    print("started")  # stdout is ours: no tracker greets on it
    for step in range(5 if again else 3):
        trackers.log({"fitness/best": step / 10, "fitness/step-size": None, "fitness/mean": float("nan")}, step)
    if again:
        trackers.finish(FINAL, folder / "report.html")
    else:
        trackers.stop("interrupted")


def read_trackio(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("trackio/*.db")
    with sqlite3.connect(path) as base:
        rows = base.execute("select run_name, step, metrics from metrics order by id").fetchall()
        (config,) = base.execute("select config from configs").fetchone()
        files = base.execute("select name from artifacts").fetchall()
    return {
        "runs": len({row[0] for row in rows}),
        "points": [(row[1], json.loads(row[2])) for row in rows],
        "settings": json.loads(config),
        "files": len(files),
    }


def records(path: Path) -> Iterator[Any]:
    """What wandb would send: records of LevelDB's log format after seven bytes of its own."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        length, kind = struct.unpack_from("<HB", data, place + 4)
        if kind == 0:  # the rest of a block
            place += 32_768 - place % 32_768
            continue
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield Record.FromString(whole)
            whole = b""


def named(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_wandb(folder: Path) -> dict[str, Any]:
    points, ids, kinds = list[Any](), set[str](), list[str]()
    settings, summary = dict[str, Any](), dict[str, Any]()
    for path in sorted(folder.glob("state/wandb/offline-run-*/*.wandb")):
        for record in records(path):
            kinds.append(record.WhichOneof("record_type"))
            if kinds[-1] == "run":
                ids.add(record.run.run_id)
                settings |= named(record.run.config.update) | {"host": record.run.host}
            elif kinds[-1] == "history":
                items = named(record.history.item)
                points.append((record.history.step.num, {k: v for k, v in items.items() if k.startswith("fitness")}))
            elif kinds[-1] == "summary":
                summary |= named(record.summary.update)
    points.append((points[-1][0], {name: summary[name] for name in FINAL}))
    pages = list(folder.glob("state/wandb/offline-run-*/files/media/html/*.html"))
    return {
        "runs": len(ids),
        "points": points,
        "settings": settings,
        "files": len(pages),
        "kinds": sorted(set(kinds)),
    }


def read_mlflow(folder: Path) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("darwin-mri")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    run = runs[0]
    points = [
        (m.step, {name: m.value})
        for name in sorted(run.data.metrics)
        for m in client.get_metric_history(run.info.run_id, name)
    ]
    return {
        "runs": len(runs),
        "points": points,
        "settings": run.data.params,
        "files": len(client.list_artifacts(run.info.run_id)),
        "told": {**run.data.tags, "user": run.info.user_id, "status": run.info.status},
    }


def read_tensorboard(folder: Path) -> dict[str, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # pyright: ignore[reportAttributeAccessIssue]

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    return {
        "runs": 1,
        "points": [(s.step, {tag: s.value}) for tag in events.Tags()["scalars"] for s in events.Scalars(tag)],
        "settings": {name: getattr(value, value.WhichOneof("kind") or "") for name, value in settings.items()},
        "files": 1,
    }


if __name__ == "__main__":
    tracker, where, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    socket.gethostname = lambda: HOST
    os.uname = lambda: os.uname_result(("Linux", HOST, "1", "1", "x"))
    if what == "read":
        print(json.dumps(globals()[f"read_{tracker}"](where)))
    else:
        log(tracker, where, again=what == "again")
