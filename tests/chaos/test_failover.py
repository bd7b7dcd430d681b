"""A device is lost for good, or for a while: what may run elsewhere does, once; what is bound to it waits."""

import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.cluster import Cluster, action, strategy
from support.waiting import wait_until

pytestmark = [pytest.mark.cluster]

Json = dict[str, Any]


def anywhere(name: str, actions: list[Json], **fields: Any) -> Json:
    """A strategy that leaves the choice of devices to us."""
    return {"name": name, "actions": actions, **fields}


def events(cluster: Cluster, execution: str, name: str) -> list[Json]:
    return [event for event in cluster.client.events(execution, follow=False) if event["event"] == name]


def say(text: str) -> None:
    """For who runs with ``-s``."""
    sys.stdout.write(f"\n{text}\n")


def lose(cluster: Cluster, name: str) -> float:
    """Kill a process for good; returns when, by the wall clock in milliseconds."""
    cluster.kill(name)
    at_ms = time.time() * 1000
    cluster.gone(name)
    return at_ms


def watched(cluster: Cluster) -> None:
    """Wait until the watchdog buries: in its first seconds it declares nobody dead."""
    cluster.worker("edge-9")
    cluster.ready()
    cluster.kill("edge-9")
    cluster.gone("edge-9")
    living = lambda: {device for worker in cluster.client.workers() for device in worker["devices"]}  # noqa: E731
    wait_until(lambda: "edge-9" not in living(), description="the dead worker is buried")


def until(cluster: Cluster, name: str) -> str:
    """A command that ends when the file of that name is there."""
    return f"until [ -e {cluster.folder}/{name} ]; do sleep 0.02; done"


def held(cluster: Cluster) -> str:
    """An execution that occupies the one place of edge-1; it may run again."""
    hold = action("hold", cluster.effects, then="sleep 5", idempotent=True)
    execution = cluster.client.submit(strategy("hold", [hold]))
    wait_until(lambda: "do:hold" in cluster.effects.lines(), description="edge-1 is busy")
    return execution


def test_queued_work_is_done_elsewhere_once_and_bound_work_when_its_device_is_back(cluster: Cluster) -> None:
    cluster.coordinator()
    cluster.worker("edge-1", concurrency=1)
    cluster.worker("edge-2", concurrency=1)
    watched(cluster)
    bound = held(cluster)
    names = [f"m{n}" for n in range(6)]
    made = [action(name, cluster.effects, then="sleep 0.3") for name in names]
    moving = cluster.client.submit(anywhere("moving", made, model="parallel", limits={"parallel": 6}))
    wait_until(lambda: "do:m0" in cluster.effects.lines(), description="it runs")
    killed_ms = lose(cluster, "edge-1")
    report = cluster.result(moving)
    assert report["status"] == "completed"
    moved = events(cluster, moving, "execution:action:moved")
    assert moved
    assert {(event["data"]["from"], event["data"]["to"]) for event in moved} == {("edge-1", "edge-2")}
    say(f"moved after {[event['timestamp'] - round(killed_ms) for event in moved]} ms")
    assert len(events(cluster, moving, "distributed:device:failed")) == 1
    assert {a["device"] for a in report["actions"].values()} == {"edge-2"}
    # what is bound waits, and says for whom
    (waiting,) = wait_until(lambda: events(cluster, bound, "execution:action:waiting"), description="it waits")
    assert "edge-1" in waiting["data"]["error"]["message"]
    cluster.worker("edge-1", concurrency=1, name="edge-1-again")
    assert cluster.result(bound)["status"] == "completed"
    wait_until(lambda: cluster.server.client().llen("device.edge-1") == 0, description="the old messages are fetched")
    # those did nothing
    assert Counter(cluster.effects.lines()) == Counter([f"do:{name}" for name in names] + ["do:hold"] * 2)


def test_the_rest_of_a_sequence_moves_with_its_head(cluster: Cluster) -> None:
    """What was broken off may run again; then the stage ends as it would have."""
    cluster.coordinator()
    cluster.worker("edge-1")
    cluster.ready()
    made = [action(f"s{n}", cluster.effects, idempotent=True) for n in range(4)]
    made[1]["with"] = cluster.effects.command("do:s1", then=until(cluster, "gate"))
    execution = cluster.client.submit(anywhere("chain", made, model="sequential"))
    wait_until(lambda: "do:s1" in cluster.effects.lines(), description="it runs on the only device")
    cluster.worker("edge-2")
    watched(cluster)
    killed_ms = lose(cluster, "edge-1")
    (cluster.folder / "gate").touch()
    report = cluster.result(execution)
    assert report["status"] == "completed"
    lines = Counter(cluster.effects.lines())
    assert lines == Counter({"do:s0": 1, "do:s1": 2, "do:s2": 1, "do:s3": 1})
    again = [e for e in events(cluster, execution, "execution:action:started") if e["data"]["device"] == "edge-2"]
    say(f"taken over after {again[0]['timestamp'] - killed_ms:.0f} ms")
    assert again[0]["timestamp"] - killed_ms < 3000
    assert report["actions"]["s3"]["device"] == "edge-2"


def test_a_compensation_moves_where_its_type_reaches_the_same(cluster: Cluster) -> None:
    """The other one waits for its device, and is done there, once, when it is back."""
    cluster.coordinator()
    cluster.worker("edge-1")
    cluster.worker("edge-2")
    cluster.ready()
    reaching = action("reaching", cluster.effects)
    reaching["compensate"] = {"uses": "wait", "with": {"for": "10ms"}}
    actions = [reaching, action("bound", cluster.effects)]
    end = action(
        "gate",
        cluster.effects,
        then=until(cluster, "gate") + "; false",
        retry="none",
        compensate="none",
        device="edge-2",
    )
    end["needs"] = ["reaching", "bound"]
    execution = cluster.client.submit(strategy("back", [*actions, end], model="parallel"))
    wait_until(lambda: "do:gate" in cluster.effects.lines(), description="everything was done")
    lose(cluster, "edge-1")
    (cluster.folder / "gate").touch()
    (moved,) = wait_until(lambda: events(cluster, execution, "rollback:action:moved"), description="one is moved")
    assert (moved["data"]["action"], moved["data"]["to"]) == ("reaching", "edge-2")
    (waits,) = wait_until(lambda: events(cluster, execution, "rollback:action:waiting"), description="one waits")
    assert waits["data"]["action"] == "bound"
    cluster.worker("edge-1", name="edge-1-again")
    report = cluster.result(execution)
    assert (report["rollback"]["status"], report["rollback"]["remaining"]) == ("completed", [])
    assert Counter(cluster.effects.lines())["undo:bound"] == 1


def test_what_may_stand_on_a_lost_device_is_listed(cluster: Cluster) -> None:
    """It began there, ran again elsewhere, and was taken back where it ran last."""
    cluster.coordinator()
    cluster.worker("edge-1")
    cluster.ready()
    first = action("first", cluster.effects, then=until(cluster, "gate"), idempotent=True)
    bad = action("bad", cluster.effects, then="false", retry="none")
    execution = cluster.client.submit(anywhere("left", [first, bad], model="sequential"))
    wait_until(lambda: "do:first" in cluster.effects.lines(), description="it runs on the only device")
    cluster.worker("edge-2")
    cluster.ready(3)
    lose(cluster, "edge-1")
    (cluster.folder / "gate").touch()
    report = cluster.result(execution)
    (left,) = report["rollback"]["remaining"]
    assert (left["action"], left["device"]) == ("first", "edge-1")
    assert left["reason"] == "it may have begun on edge-1 before that device was lost"
    assert Counter(cluster.effects.lines())["undo:first"] == 1
    assert report["rollback"]["status"] == "partial"


def test_a_snapshot_waits_for_its_device(cluster: Cluster, tmp_path: Path) -> None:
    """Nothing begins before it is taken; it goes on by itself when the device is there."""
    (tmp_path / "file").write_text("old")
    cluster.coordinator()
    cluster.worker("edge-2")
    cluster.ready()
    saved = [{"uses": "snapshot.files", "with": {"path": str(tmp_path)}, "device": "edge-1"}]
    document = strategy("saved", [action("a", cluster.effects, device="edge-2")], snapshot=saved)
    execution = cluster.client.submit(document)
    (waits,) = wait_until(lambda: events(cluster, execution, "execution:action:waiting"), description="it waits")
    assert waits["data"]["action"] == "snapshot/1"
    assert cluster.effects.lines() == []
    cluster.worker("edge-1")
    assert cluster.result(execution)["status"] == "completed"
    assert cluster.effects.lines() == ["do:a"]


def leader(cluster: Cluster) -> str:
    return str(cluster.server.client().get("rex:{0}:lead") or "")


def coordinators(cluster: Cluster) -> dict[str, str]:
    """Of two coordinators, by incarnation, the name of the process."""
    cluster.coordinator("one")
    cluster.coordinator("two")
    cluster.worker("edge-1")
    cluster.ready()
    pids = {str(cluster.processes[name].pid): name for name in ("one", "two")}
    workers = cluster.server.client().hkeys("rex:{0}:workers")
    return {name: pids[pid] for name in workers for pid in pids if f"-{pid}-" in name}


@pytest.mark.parametrize(
    "how",
    [pytest.param(signal.SIGKILL, id="killed"), pytest.param(signal.SIGSTOP, id="frozen", marks=pytest.mark.long)],
)
def test_another_coordinator_takes_over_and_buries_the_dead(cluster: Cluster, how: signal.Signals) -> None:
    """It has watched on meanwhile: a worker that died with the leader is buried as soon as it leads."""
    names = coordinators(cluster)
    settled = lambda: cluster.server.client().get("rex:{0}:lead:n") and leader(cluster) in names  # noqa: E731
    wait_until(settled, description="one leads")
    # both know the workers: a second dies and is buried, so the calm after the start is over
    cluster.worker("edge-2")
    cluster.ready(4)
    cluster.kill("edge-2")
    workers = cluster.server.client()
    wait_until(lambda: len(workers.hkeys("rex:{0}:workers")) == 3, description="the leader buries")
    old, term = leader(cluster), int(workers.get("rex:{0}:lead:n"))
    dead = next(name for name in workers.hkeys("rex:{0}:workers") if name not in names)
    cluster.kill("edge-1")
    cluster.kill(names[old], how)
    at = time.monotonic()
    wait_until(lambda: leader(cluster) not in ("", old), description="the other leads")
    taken_s = time.monotonic() - at
    wait_until(lambda: workers.zscore("rex:{0}:fenced", dead), description="the worker is buried")
    buried_s = time.monotonic() - at
    say(f"led after {taken_s:.2f} s, buried after {buried_s:.2f} s")
    assert int(workers.get("rex:{0}:lead:n")) == term + 1
    assert taken_s < 2.0
    assert buried_s < 2.5
    if how == signal.SIGSTOP:
        cluster.kill(names[old], signal.SIGCONT)
        cluster.worker("edge-1", name="edge-1-again")
        report = cluster.run(strategy("after", [action("a", cluster.effects)]))
        assert report["status"] == "completed"
        assert leader(cluster) != old
    workers.close()
