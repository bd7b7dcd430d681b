"""`rex devices`, `rex drain`, and workers that are refused: real processes on a real server."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, action, strategy
from support.commands import REX, Rex
from support.rabbitmq import RabbitNode
from support.server import Server
from support.waiting import wait_until

from executor.ledger.valkey import ValkeyLedger

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("devices"))
    made.coordinator()
    made.worker("edge-1", REX_LABELS="zone=north", REX_CAPABILITIES="gpu")
    made.worker("edge-2", REX_AGENTS="edge-2:coder")
    made.worker("edge-3")
    try:
        yield made.ready()
    finally:
        made.close()


@pytest.fixture
def rex(tmp_path: Path, cluster: Cluster) -> Iterator[Rex]:
    made = Rex(tmp_path, REX_BROKER_URL=cluster.server.url)
    yield made
    made.close()


def devices(rex: Rex) -> dict[str, dict[str, Any]]:
    return {one["device"]: one for one in rex.json("devices")}


def device_of(cluster: Cluster, name: str) -> dict[str, Any]:
    return next((one for one in cluster.client.devices() if one["device"] == name), {})


def told(cluster: Cluster) -> list[tuple[str, str]]:
    ledger = ValkeyLedger(cluster.server.url)
    try:
        return [(event["event"], event["data"].get("device", "")) for event in ledger.fleet_events()]
    finally:
        ledger.close()


def test_devices_are_shown_with_what_they_announce_and_how_they_fare(cluster: Cluster, rex: Rex) -> None:
    """State, labels, capabilities, agent, workers, vitals; as JSON and as one table where nobody watches."""
    wait_until(
        lambda: {one["state"] for one in cluster.client.devices()} <= {"healthy", "degraded"},
        description="the coordinator has looked at all of them",
    )
    wait_until(
        lambda: all(one["cpu_percent"] is not None for one in cluster.client.devices()), description="all have measured"
    )
    found = devices(rex)
    assert {"edge-1", "edge-2", "edge-3"} <= set(found)
    one, two = found["edge-1"], found["edge-2"]
    assert (one["labels"], one["capabilities"], one["agent"]) == ({"zone": "north"}, ["gpu"], None)
    assert (two["labels"], two["agent"], two["concurrency"], two["queued"]) == ({}, "coder", 4, 0)
    assert one["silent_s"] < 10
    (serving,) = one["workers"]
    assert serving["pid"] == cluster.processes["edge-1"].pid
    assert serving["vitals"]["memory_percent"] > 0
    assert one["store"] == two["store"]  # they have one state directory
    shown = rex("devices").stdout.splitlines()
    assert shown[0].split()[:3] == ["device", "state", "why"]
    assert [line.split()[0] for line in shown[1:]] == sorted(found)


def test_expressions_know_what_the_device_announces(cluster: Cluster) -> None:
    """`device.labels` and `device.capabilities`, where an action runs."""
    run = {"run": "echo ${{ device.labels.zone }} ${{ device.capabilities[0] }} ${{ device.id }}"}
    report = cluster.run(strategy("where", [{"id": "say", "uses": "command", "with": run, "compensate": "none"}]))
    assert report["actions"]["say"]["result"]["stdout"].split() == ["north", "gpu", "edge-1"]


def test_a_taken_id_is_refused_and_its_holder_is_not_disturbed(cluster: Cluster, rex: Rex) -> None:
    """One line that says who has it; no second try; what runs there goes on."""
    before = {worker["incarnation"] for worker in cluster.client.workers()}
    execution = cluster.client.submit(strategy("long", [action("long", cluster.effects, then="sleep 4")]))
    wait_until(lambda: "do:long" in cluster.effects.lines(), description="it runs")
    began = time.monotonic()
    refused = rex("worker", "--device", "edge-1")
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert line.startswith("rex: device 'edge-1' is taken: worker ")
    assert f"on {os.uname().nodename} serves it from another state directory" in line
    assert time.monotonic() - began < 30
    assert cluster.result(execution)["status"] == "completed"
    assert cluster.effects.lines().count("do:long") == 1
    assert {worker["incarnation"] for worker in cluster.client.workers()} == before


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        (("--label", "zone"), {}, "'zone' is no label: name=value"),
        (("--capability", "a b"), {}, "'a b' is no capability"),
        ((), {"REX_LABELS": "zone=a,zone=b"}, "the label 'zone' is given twice"),
    ],
)
def test_nonsense_to_announce_is_refused(
    rex: Rex, options: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    refused = rex("worker", "--device", "edge-7", *options, COLUMNS="400", **environment)
    assert refused.returncode == 2
    assert said in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_a_wrong_password_ends_a_worker_at_once(tmp_path: Path) -> None:
    """One line without the password, and status 7; nobody starts it again."""
    rex = Rex(tmp_path)
    try:
        with rex.up("--device", "edge-1") as up:
            user, _, rest = up["broker_url"].partition("@")
            refused = rex("worker", "--device", "edge-9", REX_BROKER_URL=f"{user[:-4]}0000@{rest}")
            assert refused.returncode == 7
            (line,) = refused.stderr.splitlines()
            assert "refuses our password" in line
            assert user not in line
            assert [one["device"] for one in rex.json("devices")] == ["edge-1"]
    finally:
        rex.close()


@pytest.mark.rabbitmq
@pytest.mark.long
def test_a_wrong_password_of_rabbitmq_ends_a_worker_at_once(
    rabbit_node: RabbitNode, cluster: Cluster, rex: Rex
) -> None:
    """The ledger would take it, the broker does not: it is not announced, and says which of them refuses."""
    url = rabbit_node.virtual_host().replace(rabbit_node.password, "wrong")
    refused = rex("worker", "--device", "edge-8", REX_BROKER_URL=url, REX_LEDGER_URL=cluster.server.url)
    assert refused.returncode == 7, refused.stderr
    (line,) = refused.stderr.splitlines()
    assert line.startswith("rex: RabbitMQ at amqp://rex:***@127.0.0.1:")
    assert "refuses our password" in line
    assert device_of(cluster, "edge-8") == {}


def test_a_server_that_is_away_is_waited_for_and_that_is_said(tmp_path: Path) -> None:
    """A worker may be started before its server."""
    rex = Rex(tmp_path)
    server = Server(tmp_path / "srv")
    try:
        process = rex.start("worker", "--device", "edge-1", REX_BROKER_URL=server.url)
        assert process.stderr is not None
        assert process.stdout is not None
        said = process.stderr.readline()
        assert "no answer from the server at redis+socket://" in said
        assert "trying until it answers" in said
        server.start()
        assert "serving edge-1" in process.stdout.readline()
    finally:
        rex.close()
        server.stop()


def test_what_a_stranger_writes_disturbs_nobody(cluster: Cluster, rex: Rex) -> None:
    """Devices, doctor and planning go on, and the watchdog still finds the dead."""
    with cluster.server.client() as client:
        for name in ("workers", "vitals", "W", "health", "drained", "owner"):
            client.hset("rex:{0}:" + name, "stranger", "{nonsense")
    try:
        assert "edge-1" in devices(rex)
        assert rex("doctor").returncode == 0
        wait_until(
            lambda: ("distributed:device:available", "edge-3") in told(cluster), description="the devices are looked at"
        )
        worker = cluster.processes["edge-3"].pid
        cluster.kill("edge-3")
        wait_until(lambda: not _serves(cluster, worker), description="the watchdog has found the dead one")
        wait_until(
            lambda: device_of(cluster, "edge-3")["reasons"] == ["no worker"], description="its device has no worker"
        )
        wait_until(
            lambda: ("distributed:device:unavailable", "edge-3") in told(cluster), description="and that was told"
        )
        assert ("distributed:device:failed", "edge-3") in told(cluster)
        cluster.again("edge-3")
        # no device is named: it is planned on the fleet as it is
        assert (
            cluster.run({"name": "any", "actions": [{"id": "a", "uses": "wait", "with": {"for": "1ms"}}]})["status"]
            == "completed"
        )
        wait_until(
            lambda: told(cluster).count(("distributed:device:available", "edge-3")) == 2, description="it is back"
        )
    finally:
        with cluster.server.client() as client:
            for name in ("workers", "vitals", "W", "health", "drained", "owner"):
                client.hdel("rex:{0}:" + name, "stranger")


def _serves(cluster: Cluster, pid: int) -> bool:
    return any(worker["pid"] == pid for worker in cluster.client.workers())


def test_a_drain_waits_for_what_runs(cluster: Cluster, rex: Rex) -> None:
    """Status 6 when the wait runs out, 0 when nothing runs any more; with --undo all is as before."""
    gate = cluster.folder / "gate"
    held = action("held", cluster.effects, then=f"while [ ! -e {gate} ]; do sleep 0.05; done", device="edge-2")
    execution = cluster.client.submit(strategy("held", [held]))
    wait_until(lambda: "do:held" in cluster.effects.lines(), description="it runs")
    try:
        early = rex("drain", "edge-2", "--reason", "new disk", "--wait", "300ms")
        assert early.returncode == 6
        assert "edge-2: 1 action at work" in early.stderr
        shown = devices(rex)["edge-2"]
        assert (shown["drained"]["reason"], shown["running"]) == ("new disk", 1)
        assert "drained by cli: new disk" in rex("devices").stdout
        waiting = rex.start("drain", "edge-2", "--wait", "60s", "--json")
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "edge-2: 1 action at work\n"
        gate.touch()
        output, _ = waiting.communicate(timeout=60)
        assert waiting.returncode == 0
        assert json.loads(output) == {"device": "edge-2", "drained": True, "changed": False, "running": 0}
        assert cluster.result(execution)["status"] == "completed"
    finally:
        gate.touch()
        undone = rex.json("drain", "edge-2", "--undo")
    assert undone == {"device": "edge-2", "drained": False, "changed": True, "sent": 0}
    assert devices(rex)["edge-2"]["drained"] is None
    unknown = rex("drain", "edge-22")
    assert unknown.returncode == 2
    assert "no device 'edge-22': there are edge-1, edge-2, edge-3" in unknown.stderr


def test_the_table_goes_on_until_ctrl_c(cluster: Cluster, rex: Rex) -> None:
    """On a terminal; and Ctrl-C ends it with status 0."""
    reading, writing = os.openpty()
    with subprocess.Popen(
        [REX, "devices"], env=rex.environment(TERM="xterm"), stdin=writing, stdout=writing
    ) as process:
        os.close(writing)
        seen = b""
        while seen.count(b"edge-1") < 2:  # drawn, and drawn anew
            seen += os.read(reading, 4096)
        process.send_signal(signal.SIGINT)
        while _rest(reading):
            pass
        assert process.wait(timeout=30) == 0
    os.close(reading)


def _rest(reading: int) -> bytes:
    try:
        return os.read(reading, 4096)
    except OSError:  # what a terminal says at its end
        return b""
