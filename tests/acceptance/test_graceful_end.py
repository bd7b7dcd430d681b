"""A worker that is told to end finishes what runs; the rest goes back at once, and nothing is lost or done twice."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, action, redis_first, strategy
from support.commands import Rex
from support.waiting import wait_until

pytestmark = pytest.mark.cluster

STEPS = 12
PROMPT_S = 4.0
"""A fused message of these tests takes longer; a worker that ends does not wait for its end."""


@pytest.fixture
def broker() -> str:
    """Of tests that do not say that they are for both."""
    return "redis"


@pytest.fixture
def cluster(tmp_path: Path, broker: str, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two workers of one device."""
    made = Cluster(tmp_path, rabbit=request.getfixturevalue("rabbit_node") if broker == "rabbitmq" else None)
    made.coordinator()
    made.worker("edge-1", name="one")
    made.worker("edge-1", name="two")
    try:
        made.ready()
        for name in ("one", "two"):  # Celery listens to signals a moment after it has registered
            begun(made, name)
        yield made
    finally:
        made.close()


def begun(cluster: Cluster, name: str) -> None:
    log = cluster.folder / f"{name}.log"
    wait_until(lambda: " ready." in log.read_text(), description=f"{name} listens to signals")


def fused(cluster: Cluster, name: str, **last: Any) -> dict[str, Any]:
    """A sequence that goes out as one message of several seconds."""
    actions = [action(f"{name}-{step}", cluster.effects, then="sleep 0.4") for step in range(STEPS)]
    return strategy(name, [*actions[:-1], {**actions[-1], **last}])


def told_to_end(cluster: Cluster, name: str) -> float:
    """Seconds until the process is gone, well."""
    began = time.monotonic()
    process = cluster.processes[name]
    cluster.kill(name, signal.SIGTERM)
    cluster.gone(name)
    assert process.returncode == 0
    return time.monotonic() - began


def interruptions(cluster: Cluster, execution: str) -> list[str]:
    """Attempts that were not simply done."""
    return [
        event["event"]
        for event in cluster.client.events(execution, follow=False)
        if event["event"].rpartition(":")[2] in ("interrupted", "retrying")
    ]


def judge(cluster: Cluster, executions: list[str]) -> None:
    """By the effect log: everything once; and nobody had to look for a message that was lost."""
    reports = [cluster.result(name, timeout_s=60) for name in executions]
    wanted = {f"do:{name}" for report in reports for name in report["actions"]}
    assert {report["status"] for report in reports} == {"completed"}
    assert Counter(cluster.effects.lines()) == dict.fromkeys(wanted, 1)
    assert [interruptions(cluster, name) for name in executions] == [[] for _ in executions]
    assert "publishing again" not in (cluster.folder / "control.log").read_text()


@redis_first
def test_under_load_with_another_worker_of_the_device(cluster: Cluster) -> None:
    """Both are in the middle of fused messages; the other one goes on where the first has stopped, at once."""
    executions = [cluster.client.submit(fused(cluster, f"s{number}")) for number in range(8)]
    wait_until(lambda: len(cluster.effects.lines()) >= 12, description="all are in their middle")
    assert told_to_end(cluster, "one") < PROMPT_S
    assert any(cluster.client.status(name)["finished_at"] is None for name in executions), "it ended too late to tell"
    judge(cluster, executions)


@redis_first
def test_the_only_worker_is_started_again_later(cluster: Cluster) -> None:
    """What was not begun waits in the queue meanwhile."""
    told_to_end(cluster, "two")
    executions = [cluster.client.submit(fused(cluster, f"s{number}")) for number in range(3)]
    wait_until(lambda: len(cluster.effects.lines()) >= 4, description="all are in their middle")
    assert told_to_end(cluster, "one") < PROMPT_S
    before = cluster.effects.lines()
    assert [worker["devices"] for worker in cluster.client.workers()] == [[]]
    assert 0 < len(before) < 3 * STEPS
    cluster._worker("one", *cluster._made["one"])
    judge(cluster, executions)


def test_during_a_rollback(cluster: Cluster) -> None:
    """Compensations are handed on like actions."""
    broken = {"retry": "none", "with": {"run": "exit 1"}}
    executions = []
    for number in range(2):
        steps = [action(f"r{number}-{step}", cluster.effects) for step in range(6)]
        for step in steps:
            step["compensate"]["with"]["run"] += " && sleep 0.4"
        steps.append({**action("fails", cluster.effects), **broken})
        executions.append(cluster.client.submit(strategy(f"r{number}", steps)))
    wait_until(
        lambda: sum(line.startswith("undo:") for line in cluster.effects.lines()) >= 2, description="both roll back"
    )
    assert told_to_end(cluster, "one") < PROMPT_S
    reports = [cluster.result(name) for name in executions]
    assert {(report["status"], report["rollback"]["status"]) for report in reports} == {("failed", "completed")}
    wanted = {f"{what}:r{number}-{step}" for what in ("do", "undo") for number in range(2) for step in range(6)}
    assert Counter(cluster.effects.lines()) == dict.fromkeys(wanted, 1)
    assert [interruptions(cluster, name) for name in executions] == [[], []]
    assert "publishing again" not in (cluster.folder / "control.log").read_text()


def test_placement_gives_nothing_to_a_worker_that_is_about_to_end(cluster: Cluster) -> None:
    """It is announced no more while its last action runs."""
    told_to_end(cluster, "two")
    execution = cluster.client.submit(strategy("long", [action("long", cluster.effects, then="sleep 3")]))
    wait_until(lambda: cluster.effects.lines() == ["do:long"], description="it runs")
    process = cluster.processes["one"]
    cluster.kill("one", signal.SIGTERM)
    wait_until(
        lambda: [worker["devices"] for worker in cluster.client.workers()] == [[]],
        description="it is announced no more",
    )
    assert process.poll() is None
    assert cluster.client.status(execution)["finished_at"] is None
    cluster.gone("one")
    judge(cluster, [execution])


def test_one_that_is_killed_while_it_ends_is_noticed_as_any_other(cluster: Cluster) -> None:
    """It is announced no more, and still watched: what it ran goes on with the other one, long before any deadline."""
    repeatable = {"idempotent": True, "timeout": "60s"}
    stays = f"test -e {cluster.folder}/go || {{ touch {cluster.folder}/stays; sleep 30; }}"
    slow = action("slow", cluster.effects, then=stays, **repeatable)
    execution = cluster.client.submit(strategy("slow", [slow, action("next", cluster.effects)]))
    wait_until((cluster.folder / "stays").exists, description="it runs, and goes on")
    (holder,) = [worker["pid"] for worker in cluster.client.workers() if worker["busy"]]
    name = next(one for one, process in cluster.processes.items() if process.pid == holder)
    (cluster.folder / "go").touch()
    cluster.kill(name, signal.SIGTERM)
    wait_until(lambda: holder not in pids(cluster), description="it is announced no more")
    cluster.kill(name)
    cluster.gone(name)
    report = cluster.result(execution, timeout_s=20)
    assert report["status"] == "completed", report
    assert Counter(cluster.effects.lines()) == {"do:slow": 2, "do:next": 1}
    assert interruptions(cluster, execution) == ["execution:action:interrupted"]


def pids(cluster: Cluster) -> list[int]:
    return [worker["pid"] for worker in cluster.client.workers()]


def test_a_second_signal_ends_it_at_once(cluster: Cluster, tmp_path: Path) -> None:
    """`rex worker`, with an action that would take longer: status 0, and the rest is as with any death."""
    (tmp_path / "rex").mkdir()
    rex = Rex(tmp_path / "rex")
    try:
        process = rex.start(
            "worker", "--device", "edge-3", REX_BROKER_URL=cluster.server.url, EFFECTS=str(cluster.effects.path)
        )
        assert process.stdout is not None
        assert "serving edge-3" in process.stdout.readline()
        long = action("long", cluster.effects, then="sleep 30", device="edge-3")
        cluster.client.submit(strategy("long", [long]))
        wait_until(lambda: cluster.effects.lines() == ["do:long"], description="it runs")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: len(pids(cluster)) == 3, description="it is about to leave")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
    finally:
        rex.close()
