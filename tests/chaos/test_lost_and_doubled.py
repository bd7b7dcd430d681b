"""Messages that are lost, doubled, or written by strangers; devices that nobody serves; and many executions at once."""

from collections import Counter

import psutil
import pytest
from support.cluster import Cluster, action, redis_first, strategy
from support.waiting import wait_until

pytestmark = [pytest.mark.cluster, redis_first]


@pytest.mark.parametrize("model", ["sequential", "parallel"])
def test_every_message_is_delivered_twice(cluster: Cluster, model: str) -> None:
    cluster.coordinator()
    cluster.ready()
    actions = [action(f"a{n}", cluster.effects, retry="none", device=f"edge-{n % 2 + 1}") for n in range(6)]
    bad = action("bad", cluster.effects, then="false", retry="none", needs=["a5"])
    execution = cluster.client.submit(strategy("doubled", [*actions, bad], model=model))
    messages = cluster.messages()
    seen: set[str] = set()

    def doubled(queue: str) -> int:
        messages.double(queue, seen)
        return messages.count(queue)

    wait_until(lambda: doubled("device.edge-1") >= 2, description="the first messages wait, twice")
    doubled("device.edge-2")
    cluster.worker("edge-1")
    cluster.worker("edge-2")

    def ended() -> bool:
        for queue in ("device.edge-1", "device.edge-2", "control"):
            messages.double(queue, seen)
        return cluster.client.status(execution)["status"] == "failed"

    wait_until(ended, description="the execution has ended", timeout_s=60)
    counts = Counter(cluster.effects.lines())
    assert max(counts.values()) == 1, counts
    assert {line for line in counts if line.startswith("undo:")} == {f"undo:a{n}" for n in range(6)}
    messages.close()


@pytest.mark.parametrize("model", ["sequential", "parallel"])
def test_lost_messages_are_sent_again(cluster: Cluster, model: str) -> None:
    cluster.coordinator()
    cluster.ready()
    messages = cluster.messages()
    actions = [action(f"a{n}", cluster.effects) for n in range(3)]
    execution = cluster.client.submit(strategy("lost", actions, model=model))
    wanted = 3 if model == "parallel" else 1
    wait_until(lambda: messages.count("device.edge-1") == wanted, description="the messages wait")
    messages.lose("device.edge-1")
    messages.close()
    cluster.worker("edge-1")
    report = cluster.result(execution)
    assert report["status"] == "completed"
    assert sorted(cluster.effects.lines()) == ["do:a0", "do:a1", "do:a2"]


def test_strangers_on_the_queues_are_dropped_and_the_workers_live(cluster: Cluster) -> None:
    cluster.coordinator()
    cluster.worker("edge-1")
    cluster.ready()
    app = cluster.celery()
    for arguments in ([], ["nobody", 0, ["a"]], [1, 2, 3], ["x" * 5000, 0, ["a"]], [None, None, None],
                      [{"a": 1}, -1, [[]]], ["nobody", 99, []], ["a|b:c", 0, ["x|y"]]):  # fmt: skip
        app.send_task("workers.run", arguments, queue="device.edge-1")
        app.send_task("executor.advance", arguments, queue="control")
        app.send_task("executor.conclude", arguments, queue="control")
        app.send_task("rollback.begin", arguments, queue="control")
        app.send_task("executor.execute_strategy", arguments, queue="control")
    app.send_task("no.such.task", queue="device.edge-1")
    app.send_task("workers.run", kwargs={"foo": 1}, queue="device.edge-1")
    app.close()
    messages = cluster.messages()
    messages.write("device.edge-1", "this is no message")
    messages.write("control", '{"neither": "is this"}')
    messages.close()
    report = cluster.run(strategy("after", [action("a", cluster.effects)]))
    assert report["status"] == "completed"
    assert all(process.poll() is None for process in cluster.processes.values())


def test_the_same_strategy_sent_twice_runs_once(cluster: Cluster) -> None:
    cluster.coordinator()
    cluster.worker("edge-1")
    cluster.ready()
    app = cluster.celery()
    document = strategy("twice", [action("a", cluster.effects, then="sleep 0.3")])
    for _ in range(3):
        app.send_task("executor.execute_strategy", [document], queue="control", task_id="the-same")
    app.close()
    wait_until(cluster.client.list, description="it was accepted")
    report = cluster.result("the-same")
    assert report["status"] == "completed"
    assert cluster.client.submit(document, execution_id="the-same") == "the-same"
    assert cluster.result("the-same")["status"] == "completed"
    assert cluster.effects.lines() == ["do:a"]


def test_a_device_that_nobody_serves_is_said_at_once_and_waited_for_as_long_as_configured(cluster: Cluster) -> None:
    cluster.coordinator(REX_DISTRIBUTED__DEVICE_WAIT="3s")
    cluster.worker("edge-1")
    cluster.ready()
    actions = [action("a", cluster.effects), action("nowhere", cluster.effects, device="ghost")]
    execution = cluster.client.submit(strategy("ghost", actions))
    times = {event["event"]: event for event in cluster.client.events(execution)}
    waiting = times["execution:action:waiting"]
    assert "ghost" in waiting["data"]["error"]["message"]
    assert waiting["timestamp"] - times["execution:started"]["timestamp"] < 2000
    report = cluster.result(execution)
    assert report["status"] == "failed"
    assert report["actions"]["nowhere"]["error"]["type"] == "NoDevice"
    assert cluster.effects.lines() == ["do:a", "undo:a"]
    assert 3 <= report["duration_s"] < 8


def test_a_device_that_comes_in_time_is_used(cluster: Cluster) -> None:
    cluster.coordinator()
    cluster.ready()
    first = cluster.client.submit(strategy("named", [action("a", cluster.effects, device="late")]))
    second = cluster.client.submit({"name": "any", "actions": [{"id": "w", "uses": "wait", "with": {"for": "1ms"}}]})
    wait_until(lambda: cluster.client.status(second).get("waiting_for"), description="it says what it waits for")
    cluster.worker("late")
    assert cluster.result(first)["status"] == "completed"
    assert cluster.result(second)["actions"]["w"]["device"] == "late"


@pytest.mark.thorough
def test_two_hundred_executions_at_once(cluster: Cluster) -> None:
    cluster.coordinator()
    for device in ("edge-1", "edge-2", "edge-3"):
        cluster.worker(device)
    cluster.ready()
    nothing = [
        {"id": f"a{n}", "uses": "wait", "with": {"for": "1ms"}, "device": f"edge-{n % 3 + 1}"} for n in range(10)
    ]

    def memory() -> int:
        return sum(psutil.Process(p.pid).memory_info().rss for n, p in cluster.processes.items() if n != "control")

    def many(count: int) -> None:
        documents = [
            {"name": "many", "model": ("sequential", "parallel")[n % 2], "actions": nothing} for n in range(count)
        ]
        executions = [cluster.client.submit(document) for document in documents]
        reports = [cluster.result(execution, timeout_s=110) for execution in executions]
        assert {report["status"] for report in reports} == {"completed"}

    many(50)
    before = memory()
    many(200)
    assert memory() - before < 30 * 1024 * 1024
    server = cluster.server.client()
    wait_until(lambda: server.zcard("rex:{0}:ob") == 0, description="the outbox is empty")
    assert server.hlen("rex:{0}:park") == 0
    server.close()
