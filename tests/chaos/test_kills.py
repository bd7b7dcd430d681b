"""SIGKILL at every step: the execution ends, nothing is doubled that may not be, what nobody knows is listed."""

from collections import Counter

import pytest
from support.cluster import Cluster, action, redis_first, strategy
from support.waiting import wait_until

pytestmark = [pytest.mark.cluster, redis_first]


def steps(cluster: Cluster, *, fails: bool, **fields: object) -> dict[str, object]:
    made = [action(f"a{n}", cluster.effects, retry="none", **fields) for n in range(3)]
    if fails:
        made.append(action("bad", cluster.effects, then="false", retry="none"))
    return strategy("killed", made)


def no_effect_twice(cluster: Cluster) -> bool:
    return max(Counter(cluster.effects.lines()).values(), default=0) <= 1


@pytest.mark.parametrize("point", ["claim", "pre-settle", "settle"])
@pytest.mark.parametrize("fails", [False, True], ids=["forward", "then-rollback"])
def test_a_worker_is_killed(cluster: Cluster, point: str, fails: bool) -> None:
    # fused, the same script that settles a1 has claimed a2: then nobody would know of a2
    cluster.coordinator(REX_EXECUTION__FUSE="false")
    cluster.worker("edge-1", **cluster.crash_at(point, "a1"))
    cluster.ready()
    execution = cluster.client.submit(steps(cluster, fails=fails))
    cluster.again("edge-1")
    report = cluster.result(execution)
    assert cluster.crashed
    assert no_effect_twice(cluster), cluster.effects.lines()
    done = {name for name, a in report["actions"].items() if a["status"] == "succeeded"}
    left = {entry["action"] for entry in report["rollback"]["remaining"]}
    undone = {line.removeprefix("undo:") for line in cluster.effects.lines() if line.startswith("undo:")}
    if point == "settle" and not fails:
        assert report["status"] == "completed"
    else:
        # nobody knows whether a1 was done: `command` cannot tell, so it is listed
        assert report["status"] == "failed"
        assert undone == done
        assert left == (set() if point == "settle" else {"a1"})


def test_an_idempotent_action_is_taken_over(cluster: Cluster) -> None:
    cluster.coordinator()
    cluster.worker("edge-1", **cluster.crash_at("pre-settle", "a1"))
    cluster.ready()
    execution = cluster.client.submit(steps(cluster, fails=False, idempotent=True))
    cluster.again("edge-1")
    report = cluster.result(execution)
    assert report["status"] == "completed"
    assert report["actions"]["a1"]["attempts"] == 1
    assert Counter(cluster.effects.lines()) == Counter(["do:a0", "do:a1", "do:a1", "do:a2"])


@pytest.mark.parametrize("point", ["advance", "begin", "pre-send:st", "pre-send:con", "pre-send:ex"])
def test_the_coordinator_is_killed(cluster: Cluster, point: str) -> None:
    """Between two stages, and between writing the ledger and publishing."""
    at, _, kind = point.partition(":")
    cluster.coordinator(**cluster.crash_at(at, kind or "*"))
    cluster.worker("edge-1")
    cluster.ready()
    execution = cluster.client.submit(steps(cluster, fails=point == "begin"))
    cluster.again("control")
    report = cluster.result(execution)
    assert cluster.crashed
    assert report["status"] == ("failed" if point == "begin" else "completed")
    assert report["rollback"]["remaining"] == []
    assert no_effect_twice(cluster), cluster.effects.lines()


@pytest.mark.parametrize("moment", ["before", "running", "rollback"])
def test_the_server_is_killed_and_comes_back(cluster: Cluster, moment: str) -> None:
    cluster.coordinator()
    cluster.worker("edge-1")
    cluster.ready()
    slow = [action(f"a{n}", cluster.effects, then="sleep 0.5", retry="none") for n in range(3)]
    for made in slow:
        made["compensate"]["with"] = cluster.effects.command(f"undo:{made['id']}", then="sleep 0.5")
    bad = action("bad", cluster.effects, then="false", retry="none")
    execution = cluster.client.submit(strategy("lost-server", [*slow, bad]))
    seen = {"before": "", "running": "do:a1", "rollback": "undo:a1"}[moment]
    wait_until(lambda: not seen or seen in cluster.effects.lines(), description=f"{seen} is in the effect log")
    cluster.server.kill()
    cluster.server.start()
    report = cluster.result(execution)
    assert report["status"] == "failed"
    assert no_effect_twice(cluster), cluster.effects.lines()
    assert report["rollback"]["remaining"] == []
    assert [line for line in cluster.effects.lines() if "undo" in line] == ["undo:a2", "undo:a1", "undo:a0"]


def test_the_server_is_away_for_longer_than_a_worker_may_be_silent(cluster: Cluster) -> None:
    cluster.coordinator()
    cluster.worker("edge-1")
    cluster.ready()
    workers = {worker["incarnation"] for worker in cluster.client.workers()}
    ticks = "for i in 1 2 3 4 5 6 7 8; do echo tick$i >> $EFFECTS; sleep 1; done"
    execution = cluster.client.submit(strategy("away", [action("long", cluster.effects, then=ticks)]))
    wait_until(lambda: "tick1" in cluster.effects.lines(), description="the action runs")
    cluster.server.kill()
    wait_until(lambda: "tick5" in cluster.effects.lines(), description="four seconds have passed")
    cluster.server.start()
    report = cluster.result(execution)
    assert report["status"] == "completed"
    assert cluster.effects.lines().count("do:long") == 1
    assert {worker["incarnation"] for worker in cluster.client.workers()} == workers


def test_all_connections_of_a_worker_are_cut_again_and_again(cluster: Cluster) -> None:
    cluster.coordinator()
    cluster.worker("edge-1")
    cluster.ready()
    slow = [action(f"a{n}", cluster.effects, then="sleep 0.3", retry="none") for n in range(4)]
    execution = cluster.client.submit(
        strategy("cut", [*slow, action("bad", cluster.effects, then="false", retry="none")])
    )
    server = cluster.server.client()
    for n in range(4):
        wait_until(lambda n=n: f"do:a{n}" in cluster.effects.lines(), description=f"a{n} has begun")
        server.client_kill_filter(_type="normal", skipme=True)
    server.close()
    report = cluster.result(execution)
    assert report["status"] == "failed"
    assert no_effect_twice(cluster), cluster.effects.lines()
    assert report["rollback"]["remaining"] == []


def test_a_frozen_worker_is_taken_for_dead_and_harms_nobody_when_it_wakes(cluster: Cluster) -> None:
    cluster.coordinator()
    cluster.worker("edge-1", **cluster.crash_at("pre-settle", "a1", "STOP"))
    cluster.ready()
    execution = cluster.client.submit(steps(cluster, fails=False, idempotent=True))
    wait_until(lambda: cluster.crashed, description="the worker has stopped")
    cluster.worker("edge-1", name="second")
    wait_until(lambda: Counter(cluster.effects.lines())["do:a1"] == 2, description="a1 was taken over")
    import signal

    cluster.kill("edge-1", signal.SIGCONT)
    report = cluster.result(execution)
    assert report["status"] == "completed"
    assert Counter(cluster.effects.lines()) == Counter(["do:a0", "do:a1", "do:a1", "do:a2"])
    assert cluster.processes["edge-1"].wait(timeout=30) == 70
