"""Flower shows each action of a strategy, under a name that a person can read and in the state in which it ended."""

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from support.cluster import BIN, Cluster, action, strategy
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

Tasks = dict[str, dict[str, Any]]


class Flower:
    """A Flower that watches a cluster, asked over HTTP."""

    def __init__(self, cluster: Cluster) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        with (cluster.folder / "flower.log").open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "celery", "-A", "workers", "flower", f"--port={self.port}", "--address=127.0.0.1"],
                cwd=cluster.folder, env=cluster.environment(FLOWER_UNAUTHENTICATED_API="true"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return json.load(answer)

    def sees(self, workers: int) -> bool:
        """Whether it hears the events of so many workers."""
        try:
            return sum(bool(one.get("status")) for one in self.get("/workers?json=1")["data"]) >= workers
        except (urllib.error.URLError, OSError):
            return False

    def tasks(self, strategy: str) -> Tasks:
        """The actions of a strategy by what stands between the slash and the device in their names."""
        shown = {}
        for task in self.get("/api/tasks?limit=1000").values():
            name = task["name"] or ""
            if name.startswith(f"{strategy} / "):
                shown[name.removeprefix(f"{strategy} / ")] = task
        return shown

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=20)


@pytest.fixture(scope="session")
def flower(three_devices: Cluster) -> Iterator[Flower]:
    made = Flower(three_devices)
    try:
        wait_until(lambda: made.sees(3), description="Flower sees all processes", timeout_s=40)
        yield made
    finally:
        made.end()


def shown(flower: Flower, strategy: str, *names: str) -> Tasks:
    """The tasks of a strategy, once all of these are there in their last state."""
    last = {"SUCCESS", "FAILURE", "REVOKED"}

    def all_there() -> Tasks | None:
        tasks = flower.tasks(strategy)
        ended = [name for name, task in tasks.items() if task["state"] in last]
        return tasks if set(names) <= set(ended) else None

    return wait_until(all_there, description=f"Flower shows {names} of {strategy}, not {flower.tasks(strategy)}")


def test_fused_actions_are_seen_one_by_one(three_devices: Cluster, flower: Flower) -> None:
    """A message of three actions is three tasks in Flower, beside the message itself."""
    effects = three_devices.effects
    report = three_devices.run(strategy("show-fused", [action(name, effects) for name in ("one", "two", "three")]))
    assert report["status"] == "completed"
    tasks = shown(flower, "show-fused", "one @ edge-1", "two @ edge-1", "three @ edge-1", "one +2 @ edge-1")
    assert {task["state"] for task in tasks.values()} == {"SUCCESS"}
    assert tasks["two @ edge-1"]["args"] == "(strategy=show-fused, action=two, device=edge-1, attempt=1)"
    assert tasks["two @ edge-1"]["worker"].startswith("edge-1@")
    assert tasks["two @ edge-1"]["runtime"] > 0


def test_what_is_taken_back_says_so(three_devices: Cluster, flower: Flower) -> None:
    """A compensation is named `undo ACTION`; the failed action is a failure with its message."""
    effects = three_devices.effects
    actions = [
        action("stop", effects, device="edge-2"),
        action("restart", effects),
        action("serves", effects, then="exit 9", retry="none", device="edge-3"),
    ]
    report = three_devices.run(strategy("show-undo", actions))
    assert report["rollback"]["status"] == "completed"
    names = ("stop @ edge-2", "restart @ edge-1", "serves @ edge-3", "undo stop @ edge-2", "undo restart @ edge-1")
    tasks = shown(flower, "show-undo", *names)
    assert {name: task["state"] for name, task in tasks.items() if name in names} == dict.fromkeys(names, "SUCCESS") | {
        "serves @ edge-3": "FAILURE"
    }
    assert "9" in tasks["serves @ edge-3"]["exception"]
    assert "action=undo restart," in tasks["undo restart @ edge-1"]["args"]


@pytest.mark.parametrize("fused", [False, True], ids=["alone", "fused"])
def test_a_retry_is_seen(three_devices: Cluster, flower: Flower, fused: bool) -> None:
    """An action that fails once and then succeeds was retried, whether it shares its message or not."""
    name = f"show-retry-{'fused' if fused else 'alone'}"
    marker = three_devices.folder / f"{name}.once"
    once = f"test -e {marker} || {{ touch {marker}; exit 1; }}"
    effects = three_devices.effects
    actions = [action("wobbly", effects, then=once, retry={"delay": "1500ms"})]
    if fused:
        actions.append(action("after", effects))
    execution = three_devices.client.submit(strategy(name, actions))
    row = "wobbly @ edge-1"
    wait_until(lambda: flower.tasks(name).get(row, {}).get("state") == "RETRY", description="Flower shows the retry")
    assert three_devices.result(execution)["actions"]["wobbly"]["attempts"] == 2
    assert shown(flower, name, row)[row]["state"] == "SUCCESS"


@pytest.mark.parametrize("model", ["sequential", "parallel"])
def test_a_failure_that_is_borne_is_a_failure(three_devices: Cluster, flower: Flower, model: str) -> None:
    """Under `on_failure: continue` the message goes on, and the action is shown as failed all the same."""
    effects = three_devices.effects
    actions = [
        action("poor", effects, then="exit 3", retry="none", on_failure="continue"),
        action("good", effects),
        action("idle", effects, when="false"),
    ]
    report = three_devices.run(strategy(f"show-borne-{model}", actions, model=model))
    assert report["degraded"]
    tasks = shown(flower, f"show-borne-{model}", "poor @ edge-1", "good @ edge-1", "idle @ edge-1")
    assert tasks["poor @ edge-1"]["state"] == "FAILURE"
    assert tasks["good @ edge-1"]["state"] == "SUCCESS"
    assert "when: false" in tasks["idle @ edge-1"]["result"]
