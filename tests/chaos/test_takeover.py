"""How soon another worker goes on with what a dead one held; and that a healthy one keeps it."""

import random
import sys
from collections.abc import Iterator

import pytest
from support.fleet import Fleet
from support.network import require_network
from support.shapes import TIMEOUT_S, nap
from support.trial import cases, long_run, nothing_held
from support.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(0 if long_run() else 180)]

GOAL_LOST_HOST_S = 4.0
"""From the loss to the next start of an idempotent action."""
AFTER_DEADLINE_S = 1.0
"""When nobody can say whether an action goes on, it is given up so long after its deadline."""
_LOOK_S = 1.5
"""The watchdog's own turns, on a busy machine."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One device on two hosts that share its disk."""
    require_network()
    made = Fleet(tmp_path_factory.mktemp("f"), ["edge-1"])
    try:
        made.start()
        made.worker("edge-1", name="edge-1.2", host="second")
        yield made.ready()
    finally:
        made.close()


def holder(fleet: Fleet, execution: str) -> str:
    """The host of the worker that runs the only action of an execution."""
    for worker in fleet.client.workers():
        if any(lease[0] == execution for lease in fleet.ledger.leases(worker["incarnation"])):
            return str(worker["host"])
    return ""


@pytest.mark.parametrize("how", cases(("cut off", "without power"), "cut off"))
def test_an_idempotent_action_of_a_lost_host_goes_on_elsewhere(fleet: Fleet, how: str) -> None:
    fleet.ready()
    number = random.SystemRandom().randrange(10**6)
    action = {**nap(number, "a", "edge-1", 3.0), "idempotent": True}
    execution = fleet.client.submit({"name": f"x-{number}", "actions": [action]})
    wait_until(lambda: starts(fleet, number) == 1, description="it has begun")
    host = wait_until(lambda: holder(fleet, execution), description="somebody holds it")
    lost_ms = fleet.ledger.now_ms()
    try:
        if how == "cut off":
            fleet.network.cut(host)
        else:
            fleet.lose_host("edge-1" if host == "edge-1" else "edge-1.2")
        wait_until(lambda: starts(fleet, number) == 2, description="another has begun it again", timeout_s=15)
        took_s = (second_start_ms(fleet, execution) - lost_ms) / 1000
        sys.stdout.write(f"takeover of an idempotent action of a host {how}: {took_s:.2f} s\n")
        assert fleet.client.result(execution, timeout_s=30)["status"] == "completed"
    finally:
        fleet.heal()
    assert took_s < GOAL_LOST_HOST_S
    assert not nothing_held(fleet, [execution])


@pytest.mark.long
def test_one_that_may_not_run_twice_is_given_up_right_after_its_deadline(fleet: Fleet) -> None:
    """Its host is cut off, so nobody can say whether it goes on: it is listed, and never begun again."""
    fleet.ready()
    number = random.SystemRandom().randrange(10**6)
    execution = fleet.client.submit({"name": f"x-{number}", "actions": [nap(number, "a", "edge-1", 4.0)]})
    wait_until(lambda: starts(fleet, number) == 1, description="it has begun")
    host = wait_until(lambda: holder(fleet, execution), description="somebody holds it")
    try:
        fleet.network.cut(host)
        report = fleet.client.result(execution, timeout_s=30)
    finally:
        fleet.heal()
    events = {event["event"]: event["timestamp"] for event in fleet.client.events(execution, follow=False)}
    took_s = (events["execution:action:failed"] - events["execution:action:started"]) / 1000
    sys.stdout.write(f"given up {took_s - TIMEOUT_S:.2f} s after its deadline\n")
    assert report["status"] == "failed"
    assert [entry["action"] for entry in report["rollback"]["remaining"]] == ["a"]
    assert starts(fleet, number) == 1
    assert took_s < TIMEOUT_S + AFTER_DEADLINE_S + _LOOK_S
    fleet.ready()
    assert not nothing_held(fleet, [execution])


@pytest.mark.parametrize("seconds", cases((6, 60), 6))
def test_a_healthy_action_is_never_begun_twice(fleet: Fleet, seconds: int) -> None:
    """Every connection to the server is killed twice a second; it might be repeated, and is not."""
    fleet.ready()
    number = random.SystemRandom().randrange(10**6)
    action = {**nap(number, "a", "edge-1", seconds), "idempotent": True, "timeout": f"{seconds + 30}s"}
    execution = fleet.client.submit({"name": f"x-{number}", "actions": [action]})
    server = fleet.redis()
    killed = 0

    def ended() -> bool:
        nonlocal killed
        killed += server.client_kill_filter(_type="normal", skipme=True)
        return bool(fleet.ledger.head(execution).get("finished"))

    wait_until(lambda: starts(fleet, number) == 1, description="it has begun")
    wait_until(ended, description="it has ended", timeout_s=seconds + 30, every_s=0.5)
    server.close()
    report = fleet.client.result(execution, timeout_s=30)
    sys.stdout.write(f"{killed} connections were killed\n")
    assert report["status"] == "completed", report
    assert starts(fleet, number) == 1
    assert report["actions"]["a"]["attempts"] == 1
    assert killed > 10


def starts(fleet: Fleet, number: int) -> int:
    return sum(line.split()[1] == f"{number}:do:a" for line in fleet.lines())


def second_start_ms(fleet: Fleet, execution: str) -> int:
    started = [event["timestamp"] for event in fleet.client.events(execution, follow=False)
               if event["event"] == "execution:action:started"]  # fmt: skip
    return int(started[1])
