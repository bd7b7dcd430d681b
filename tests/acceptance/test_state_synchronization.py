"""Devices are given a document: action code reads it, workers that were away get it, and it is told once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster
from support.commands import Rex

from executor.ledger.valkey import ValkeyLedger

pytestmark = pytest.mark.cluster

CODE = """
from executor import ActionType

class Isolated(ActionType):
    uses = "known.isolated"
    def execute(self, run):
        return run.state

class Inside(Isolated):
    uses = "known.inside"
    isolated = False
"""
ENTRIES = "[rex.actions]\nknown.isolated = known_types:Isolated\nknown.inside = known_types:Inside\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two devices whose state directories are their own, with action types that tell what they know."""
    site = tmp_path / "site"
    (site / "known_types-1.dist-info").mkdir(parents=True)
    (site / "known_types.py").write_text(CODE)
    (site / "known_types-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: known-types\nVersion: 1\n")
    (site / "known_types-1.dist-info" / "entry_points.txt").write_text(ENTRIES)
    made = Cluster(tmp_path, PYTHONPATH=str(site))
    made.coordinator()
    for device in ("edge-1", "edge-2"):
        made.worker(device, REX_STATE_DIR=str(tmp_path / device))
    try:
        yield made.ready()
    finally:
        made.close()


def known(cluster: Cluster, device: str) -> list[Any]:
    """What code in the worker, and code in a process of its own, knows on a device."""
    actions = [{"id": kind, "uses": f"known.{kind}", "compensate": "none"} for kind in ("isolated", "inside")]
    report = cluster.run({"name": "ask", "defaults": {"device": device}, "actions": actions})
    assert report["status"] == "completed", report
    return [report["actions"][kind]["result"] for kind in ("isolated", "inside")]


def completed(cluster: Cluster) -> list[dict[str, Any]]:
    ledger = ValkeyLedger(cluster.server.url)
    try:
        events = ledger.fleet_events()
    finally:
        ledger.close()
    return [event["data"] for event in events if event["event"] == "distributed:synchronization:completed"]


def test_action_code_knows_what_its_device_was_given(cluster: Cluster) -> None:
    """In the worker and in a process of its own; nothing before, and the newest after."""
    assert known(cluster, "edge-1") == [{}, {}]
    for version, state in ((1, {"limit": 1}), (2, {"limit": 2, "flags": ["a"]})):
        told = cluster.client.synchronize_state(state, timeout_s=20)
        assert (told["version"], told["complete"]) == (version, True), told
        assert known(cluster, "edge-1") == known(cluster, "edge-2") == [state, state]
    assert [one["version"] for one in completed(cluster)] == [1, 2]


def test_a_worker_that_was_away_gets_it_when_it_is_back(cluster: Cluster) -> None:
    """It is named meanwhile; the event comes with its acknowledgement, and not before."""
    cluster.kill("edge-2")
    cluster.gone("edge-2")
    told = cluster.client.synchronize_state({"a": 1}, devices=["edge-1", "edge-2"], timeout_s=4)
    assert told["missing"] == ["edge-2"]
    assert completed(cluster) == []
    cluster._worker("edge-2", *cluster._made["edge-2"])
    cluster.ready(3)
    again = cluster.client.synchronize_state({"a": 1}, devices=["edge-1", "edge-2"], timeout_s=20)
    assert (again["version"], again["complete"]) == (1, True)
    assert known(cluster, "edge-2") == [{"a": 1}, {"a": 1}]
    assert completed(cluster) == [{"devices": ["edge-1", "edge-2"], "version": 1, "executionId": None}]


def test_the_command(tmp_path: Path) -> None:
    """`rex sync` takes YAML and JSON, names who has it and who has not, and refuses what may not be kept."""
    rex = Rex(tmp_path)
    try:
        with rex.up("--device", "edge-1"):
            flags = rex.write("flags.yaml", "flags: {fast: true}\nlimit: 3\n")
            done = rex("sync", flags)
            assert (done.returncode, done.stdout) == (0, "version 1: 1 of 1 devices have it\n"), done.stderr
            file = json.loads((rex.state / "state" / "edge-1.json").read_text())
            assert file["document"] == {"flags": {"fast": True}, "limit": 3}
            late = rex("sync", flags, "--device", "edge-1", "--device", "edge-9", "--wait", "200ms", "--json")
            assert late.returncode == 6
            assert json.loads(late.stdout)["missing"] == ["edge-9"]
            for text, said in (("- 1\n", "a state is a map"), ("a: secret://env/TOKEN\n", "state.a names a secret")):
                refused = rex("sync", rex.write("wrong.yaml", text))
                assert refused.returncode == 2
                assert said in refused.stderr
            assert rex("sync", flags, "--device", "a b").returncode == 2
    finally:
        rex.close()
