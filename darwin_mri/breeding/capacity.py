"""Whether Ray can give the actors that a search asks for: asked before any work, since Ray waits for them for ever."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

INSTALL = "workers: ray needs Ray: pip install 'darwin-mri[ray]'"
REACHED_WITHIN = 3.0  # seconds for a connection
ANSWERED_WITHIN = 40.0  # seconds for Ray to be imported and the cluster to say what it has
# In a process of its own: Ray waits minutes for a cluster that does not answer, and may end the process that asks.
ASK = "import json, ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print(json.dumps(ray.nodes()))"


def cluster_fault(actors: int, gpus: float, address: str | None) -> str:
    """Why Ray cannot run a search's actors; empty where it can.

    Args:
        actors: how many.
        gpus: of each.
        address: of a running cluster; None for one that is started on this machine.

    Returns:
        One line: what is asked, what there is, what to do.
    """
    if find_spec("ray") is None:
        return INSTALL
    if address is None:
        return room_fault(actors, gpus, [local_node(actors)], "Ray on this machine")
    host, _, port = (_stated(address) or "").removeprefix("ray://").rpartition(":")
    dead = f"search.address {address}: no Ray cluster answers there: start one (ray start --head), or leave it out"
    try:
        if host:
            socket.create_connection((host.strip("[]"), int(port)), REACHED_WITHIN).close()
        done = subprocess.run(
            [sys.executable, "-c", ASK, address], capture_output=True, text=True, timeout=ANSWERED_WITHIN, check=True
        )
        nodes = json.loads(done.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, OverflowError, subprocess.SubprocessError):
        return dead
    return room_fault(actors, gpus, living(nodes), f"the cluster at {address}")


def room_fault(actors: int, gpus: float, nodes: Sequence[dict[str, float]], where: str) -> str:
    """Why actors do not fit on nodes; empty where they do.

    Args:
        actors: how many, one CPU each.
        gpus: of each.
        nodes: each one's resources, by Ray's names.
        where: the nodes are, for the message.

    Returns:
        One line: what is asked, what there is, what to do.
    """
    room = sum(min(int(node.get("CPU", 0)), _by_gpus(node.get("GPU", 0), gpus)) for node in nodes)
    if room >= actors:
        return ""
    asked = f"{actors} actors of 1 CPU and {gpus:g} GPUs each"
    offered = ", ".join(f"{sum(node.get(kind, 0) for node in nodes):g} {kind}s" for kind in ("CPU", "GPU"))
    return (
        f"workers: ray asks for {asked}, {where} offers {offered}, enough for {room}:"
        " lower search.actors or search.gpus, or add machines"
    )


def living(nodes: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """The resources of the nodes that are alive, from what ``ray.nodes`` says."""
    return [node["Resources"] for node in nodes if node["Alive"]]


def local_node(actors: int) -> dict[str, float]:
    """What Ray offers where it is started on this machine for so many actors: a CPU each, and the CUDA devices."""
    import torch  # slow to import, and only asked for Ray's workers

    return {"CPU": float(actors), "GPU": float(torch.cuda.device_count())}


def _by_gpus(present: float, each: float) -> int | float:
    """How many actors the GPUs of one node can serve: a share of a GPU lies on one GPU."""
    if each <= 0:
        return math.inf
    return int(present // each) if each >= 1 else int(present) * int(1 / each + 1e-9)


def _stated(address: str) -> str | None:
    """host:port where it is known before Ray is asked: ``auto`` is RAY_ADDRESS, or what Ray finds on this machine."""
    return os.environ.get("RAY_ADDRESS") if address == "auto" else address
