"""`rex up`, `rex worker`, `rex coordinator`: processes that are found, kept alive, and ended."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.commands import Rex
from support.server import Server
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

STEPS = """
name: steps
actions:
  - {id: one, uses: file.create, device: edge-1, with: {path: "WORK/one.txt", content: "1"}}
  - {id: nap, uses: command, device: edge-1, idempotent: true, with: {run: "sleep 1"}, compensate: none}
  - {id: two, uses: file.create, device: edge-1, with: {path: "WORK/two.txt", content: "2"}}
"""


@pytest.fixture
def rex(tmp_path: Path) -> Iterator[Rex]:
    made = Rex(tmp_path)
    yield made
    made.close()


def steps(rex: Rex) -> Path:
    return rex.write("steps.yaml", STEPS.replace("WORK", str(rex.work)))


def test_others_find_a_running_cluster(rex: Rex) -> None:
    """Submit, watch, list, devices, doctor without an address; a second cluster is refused; the password is private."""
    with rex.up("--device", "edge-1", "--device", "edge-2") as told:
        assert (rex.state / "cluster.json").stat().st_mode & 0o777 == 0o600
        assert (rex.state / "server").stat().st_mode & 0o777 == 0o700
        refused = rex("up")
        assert refused.returncode == 2
        assert f"process {told['pid']}" in refused.stderr
        execution = rex("submit", steps(rex)).stdout.strip()
        watched = rex("watch", execution)
        assert watched.returncode == 0, watched.stderr
        assert "two completed" in watched.stdout
        assert [row["execution_id"] for row in rex.json("list")] == [execution]
        assert [one["device"] for one in rex.json("devices")] == ["edge-1", "edge-2"]
        examined = rex("doctor", "--json")
        assert examined.returncode == 0, examined.stdout
        assert told["broker_url"].split(":")[2].split("@")[0] not in examined.stdout
        secret = told["broker_url"].split(":")[2].split("@")[0]
        assert not any(secret in part for pid in rex.processes() for part in psutil.Process(pid).cmdline())
    assert rex("list").returncode == 7
    assert rex.processes() == []


@pytest.mark.parametrize("victim", ["edge-1", "coordinator", "server"])
def test_an_execution_outlives_each_process(rex: Rex, victim: str) -> None:
    """Any of them is killed in the middle; the execution ends well without anybody's help."""
    with rex.up("--device", "edge-1") as told:
        execution = rex("submit", steps(rex)).stdout.strip()
        wait_until((rex.work / "one.txt").exists, description="it is in its middle")
        os.kill(told["pids"][victim], signal.SIGKILL)
        report = rex.json("result", execution, "--wait", "40s")
    assert report["status"] == "completed", report
    assert (rex.work / "two.txt").exists()


def test_what_is_unfinished_goes_on_at_the_next_start(rex: Rex) -> None:
    """The whole cluster is killed; the next one on the same directory finishes."""
    process = rex.start("up", "--device", "edge-1", "--json")
    assert process.stdout is not None
    process.stdout.readline()
    execution = rex("submit", steps(rex)).stdout.strip()
    wait_until((rex.work / "one.txt").exists, description="it is in its middle")
    process.kill()
    wait_until(lambda: not rex.processes(), description="the cluster is gone")
    with rex.up("--device", "edge-1"):
        report = rex.json("result", execution, "--wait", "40s")
    assert report["status"] == "completed", report


def test_roles_join_a_configured_cluster(rex: Rex) -> None:
    """Coordinator and worker of their own on a server of somebody else's; SIGTERM ends them in order."""
    server = Server(rex.folder / "srv").start()
    try:
        address = {"REX_BROKER_URL": server.url}
        roles = [rex.start("coordinator", **address), rex.start("worker", "--device", "edge-1", **address)]
        for role in roles:
            assert role.stdout is not None
            assert "process" in role.stdout.readline()
        done = rex("run", steps(rex), "--json", **address)
        assert done.returncode == 0, done.stderr
        examined = rex.json("doctor", **address)
        assert {one["status"] for one in examined["findings"]} == {"ok"}
        for role in roles:
            role.send_signal(signal.SIGTERM)
            role.communicate(timeout=30)
            assert role.returncode == 0
        (left,) = rex.json("devices", **address)
        assert (left["device"], left["state"], left["reasons"], left["workers"]) == (
            "edge-1",
            "unknown",
            ["no worker"],
            [],
        )
    finally:
        server.stop()


def test_a_device_that_nobody_serves_is_said_at_once(rex: Rex) -> None:
    """And the run ends when the configured wait is over."""
    with rex.up("--device", "edge-1", REX_DISTRIBUTED__DEVICE_WAIT="2s"):
        file = rex.write("s.yaml", "name: s\nactions: [{id: a, uses: wait, device: edge-9, with: {for: 1ms}}]\n")
        done = rex("run", file)
    assert done.returncode == 1
    assert "a waiting: no worker serves device 'edge-9'" in done.stdout


def test_no_server_to_talk_to(rex: Rex) -> None:
    """Status 7 and what to do, for a server that is away and for a wrong password."""
    away = rex("list", REX_BROKER_URL=f"redis+socket://{rex.folder}/nothing?virtual_host=0")
    assert away.returncode == 7
    assert "rex doctor" in away.stderr
    assert "Traceback" not in away.stderr
    with rex.up("--device", "edge-1") as told:
        user, _, rest = told["broker_url"].partition("@")
        wrong = rex("run", steps(rex), REX_BROKER_URL=f"{user[:-4]}0000@{rest}")
    assert wrong.returncode == 7
    assert "password" in wrong.stderr
    assert user not in wrong.stderr
