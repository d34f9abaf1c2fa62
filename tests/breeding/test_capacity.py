"""Ray is asked before any work whether it can give what a search wants, and what it cannot give is never waited for."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from darwin_mri.breeding import capacity
from darwin_mri.breeding.capacity import cluster_fault, room_fault
from darwin_mri.config import make_config
from darwin_mri.errors import ConfigError
from tests.breeding.test_cluster import build
from tests.commands import call
from tests.toys import pico_llama

ray: Any = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
TOO_MANY = torch.cuda.device_count() + 1


@pytest.mark.parametrize(
    ("actors", "gpus", "nodes", "fits"),
    [
        (2, 0, [{"CPU": 2}], True),
        (3, 0, [{"CPU": 2}], False),
        (2, 1, [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}], True),
        (1, 2, [{"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1}], False),  # an actor lies on one machine
        (3, 0.6, [{"CPU": 8, "GPU": 2}], False),  # and a share on one GPU: 1.8 of 2 do not fit
        (10, 0.1, [{"CPU": 16, "GPU": 1}], True),
        (1, 1, [{"GPU": 4}], False),
    ],
)
def test_actors_are_counted_as_ray_places_them(
    actors: int, gpus: float, nodes: list[dict[str, float]], fits: bool
) -> None:
    fault = room_fault(actors, gpus, nodes, "Ray")
    assert (fault == "") is fits
    assert fits or (f"{actors} actors of 1 CPU and {gpus:g} GPUs" in fault and "lower search.actors" in fault)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster with one CPU and no GPU."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=1, num_gpus=0, include_dashboard=False, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


def test_a_running_cluster_says_what_it_has(address: str) -> None:
    assert cluster_fault(1, 0, address) == ""
    fault = cluster_fault(2, 1, address)
    assert "2 actors" in fault and f"the cluster at {address} offers 1 CPUs, 0 GPUs, enough for 0" in fault


def test_actors_that_a_cluster_cannot_give_are_not_waited_for(address: str, tmp_path: Path) -> None:
    from darwin_mri.breeding.cluster import RayWorkers

    began = time.monotonic()
    with pytest.raises(ConfigError, match="2 actors of 1 CPU and 0 GPUs each, Ray offers 1 CPUs"):
        RayWorkers(partial(build, str(tmp_path)), actors=2, address=address)
    assert time.monotonic() - began < 10


def test_a_dead_address_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    assert f"search.address {dead}: no Ray cluster answers there" in cluster_fault(1, 0, dead)
    monkeypatch.setenv("RAY_ADDRESS", dead)  # what auto then means
    assert "search.address auto: no Ray cluster answers there" in cluster_fault(1, 0, "auto")
    assert "no Ray cluster answers there" in cluster_fault(1, 0, f"ray://{dead}")
    assert time.monotonic() - began < 10


def test_an_address_where_something_else_listens_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "ANSWERED_WITHIN", 6.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        assert "no Ray cluster answers there" in cluster_fault(1, 0, f"127.0.0.1:{server.getsockname()[1]}")
    assert time.monotonic() - began < 20


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cluster_fault(1, 0, None) == "workers: ray needs Ray: pip install 'darwin-mri[ray]'"


def test_plan_and_breed_ask_before_any_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(pico_llama(tmp_path / "model"))
    search = {"workers": "ray", "actors": 1, "gpus": TOO_MANY}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"father": model, "mother": model, "search": search}))
    common = ("--config", tmp_path / "c.yaml", "--offline", "--out", tmp_path / "run")
    words = f"1 actors of 1 CPU and {TOO_MANY} GPUs each"
    code, stdout, _ = call(capfd, monkeypatch, "plan", *common, "--json")
    assert code == 3 and words in json.loads(stdout)["problems"][0]
    code, _, stderr = call(capfd, monkeypatch, "breed", *common)
    assert code == 2 and len(stderr.splitlines()) == 1 and words in stderr and not os.path.lexists(tmp_path / "run")


def test_gpus_that_ray_never_gives_are_refused_by_the_config() -> None:
    with pytest.raises(ConfigError, match="search: gpus 1.5: Ray gives an actor a share of one GPU, or whole GPUs"):
        make_config({"father": "a", "mother": "b", "search": {"gpus": 1.5}}, "x")
