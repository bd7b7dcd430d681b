"""Workers live, die and are taken over; the outbox is sent; one coordinator leads."""

import threading
import time
from collections.abc import Callable

import pytest
from support.ledgers import WRONG, AnyLedger, Tried, in_group, step
from support.waiting import wait_until

from executor.model.device import Announcement
from executor.model.errors import DeclaredDead, Deposed
from executor.model.execution import Claimed, Move


def taken_from(ledger: AnyLedger, holder: str, action: str = "a", *, sure: bool = True) -> str:
    return ledger.expire(holder, ("E1", 0, action), sure=sure, error=WRONG)


def test_a_worker_comes_lives_and_leaves(ledger: AnyLedger) -> None:
    ledger.register("w1", Announcement(devices=("edge-1",)))
    assert ledger.workers() == {"w1": Announcement(devices=("edge-1",))}
    assert ledger.counters() == {"w1": 0}
    assert ledger.renew("w1", []).stopped == set()
    assert ledger.counters() == {"w1": 1}
    tried = Tried(ledger).start(in_group("a"))
    held = tried.claim("a")
    assert (ledger.busy(), ledger.leases("w1")) == ({"w1": 1}, [("E1", 0, "a")])
    assert not ledger.leave("w1")  # it holds something
    assert ledger.workers()
    tried.settle(held)
    assert ledger.leave("w1")
    assert (ledger.workers(), ledger.counters(), ledger.busy()) == ({}, {}, {})
    assert ledger.to_sweep() == {"w1": None}  # its messages may still be on their way
    ledger.swept("w1")
    assert ledger.to_sweep() == {}


def test_of_a_worker_that_is_declared_dead_stays_when_it_was_heard(ledger: AnyLedger) -> None:
    ledger.register("w1", Announcement(devices=("edge-1",)))
    ledger.renew("w1", [])
    heard = ledger.seen()["w1"]
    wait_until(lambda: ledger.now_ms() > heard, description="the clock has moved")
    ledger.fence("w1")
    assert ledger.to_sweep() == {"w1": heard}
    assert ledger.renew("w1", []) is None
    again = ledger.to_sweep()["w1"]  # it is there after all, and is about to end
    assert again is not None
    assert again > heard


def test_a_worker_that_is_about_to_leave_is_given_nothing_and_still_lives(ledger: AnyLedger) -> None:
    """It is not announced; what it holds it renews and settles, and its death would be noticed."""
    ledger.register("w1", Announcement(devices=("edge-1",)))
    tried = Tried(ledger).start(in_group("a"))
    held = tried.claim("a")
    for _ in range(2):
        ledger.retreat("w1")
    assert (ledger.workers(), ledger.busy()) == ({}, {"w1": 1})
    assert [worker.devices for worker in ledger.leaving().values()] == [("edge-1",)]
    assert [(one.device, one.running) for one in ledger.devices()] == [("edge-1", 1)]
    renewed = ledger.renew("w1", [held])
    assert renewed is not None
    assert renewed.stopped == set()
    assert ledger.counters() == {"w1": 1}
    assert tried.settle(held).verdict == "ok"
    assert ledger.leave("w1")
    assert (ledger.counters(), ledger.leaving()) == ({}, {})


def test_a_lease_ends_with_its_action_whoever_settles_it(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    tried.settle(tried.claim("a", holder="w1"), holder="another name")
    assert ledger.leases("w1") == []


def test_what_a_fenced_worker_says_does_not_count(ledger: AnyLedger) -> None:
    ledger.register("w1", Announcement(devices=()))
    tried = Tried(ledger).start(in_group("a b"))
    held = tried.claim("a")
    assert ledger.fence("w1") == [("E1", 0, "a")]
    assert ledger.fence("w1") == [("E1", 0, "a")]
    assert ledger.renew("w1", [held]) is None
    assert tried.answer("b") == "fenced"
    with pytest.raises(DeclaredDead, match="w1 was declared dead"):
        ledger.register("w1", Announcement(devices=()))
    assert ledger.workers() == {}
    assert ledger.counters() == {}
    got = tried.settle(held, then=["b"])  # its token still holds: nobody has taken over
    assert got.following is not None
    assert not isinstance(got.following, Claimed)
    assert got.following.kind == "fenced"
    assert taken_from(ledger, "w1") == "gone"
    assert ledger.leases("w1") == []


def test_the_pulse_tells_which_run_of_the_server_it_is_of(ledger: AnyLedger) -> None:
    ledger.register("w1", Announcement(devices=()))
    ledger.renew("w1", [])
    pulse = ledger.pulse(60)
    assert (pulse.silent, pulse.counted) == ({}, {})
    assert pulse.run_id == ledger.server()["run_id"]
    assert abs(pulse.now_ms - ledger.now_ms()) < 5000
    silent = wait_until(lambda: ledger.pulse(0.001).silent, description="a millisecond has passed")
    assert list(silent) == ["w1"]
    assert ledger.renew("w1", []) is not None
    assert ledger.pulse(60).silent == {}
    ledger.fence("w1")
    assert ledger.pulse(0).silent == {}


def test_renewal_tells_what_must_stop(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b"))
    a, b = tried.claim("a"), tried.claim("b")
    assert ledger.renew("w1", [a, b]).stopped == set()
    taken_from(ledger, "w1", "a")
    assert ledger.renew("w1", [a, b]).stopped == {a.token}
    ledger.cancel("E1", WRONG, undo=True)
    assert ledger.renew("w1", [a, b]).stopped == {a.token, b.token}


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("sure", [True, False])
def test_a_take_over_is_a_probe_and_no_attempt(ledger: AnyLedger, idempotent: bool, sure: bool) -> None:
    tried = Tried(ledger).start(in_group([step("a", idempotent=idempotent)]))
    tried.claim("a")
    if not sure and not idempotent:
        assert taken_from(ledger, "w1", sure=sure) == "later"  # it may still be at work
        assert tried.status("a") == "running"
        return
    assert taken_from(ledger, "w1", sure=sure) == "ok"
    assert taken_from(ledger, "w1", sure=sure) == "gone"
    assert (tried.status("a"), tried.row("a")["effect"]) == ("ready", "unknown")
    again = tried.claim("a", holder="w2")
    assert (again.probe, again.attempt) == (True, 1)
    assert tried.claim("a", holder="w2", nonce=again.token.partition(":")[2]) == again
    tried.settle(again, "retry", holder="w2")
    ledger.due(9)
    third = tried.claim("a", holder="w2")
    assert (third.probe, third.attempt) == (False, 2)


def test_what_may_not_run_twice_ends_as_unknown_at_its_deadline(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step("a", timeout_s=0.0), step("b", timeout_s=0.0)]))
    tried.claim("a")
    tried.claim("b", holder="w2")
    assert taken_from(ledger, "w1", sure=False) == "later"
    wait_until(
        lambda: taken_from(ledger, "w1", sure=False) == "ok", description="the second beyond the deadline is over"
    )
    assert (tried.status("a"), tried.row("a")["effect"], tried.state) == ("failed", "unknown", "stopping")
    # the one that stops waits for the same, and no longer
    wait_until(lambda: taken_from(ledger, "w2", "b", sure=False) == "ok", description="so is that of the other")
    assert (tried.status("b"), tried.state) == ("cancelled", "rolling_back")


def test_a_silent_holder_holds_the_stop_up_until_its_deadline(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step("a", idempotent=True)]))
    tried.claim("a")
    ledger.cancel("E1", WRONG, undo=True)
    assert taken_from(ledger, "w1", sure=False) == "later"
    assert taken_from(ledger, "w1", sure=True) == "ok"
    assert tried.state == "rolling_back"


def test_a_poison_action_ends_after_five_take_overs(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    for number in range(5):
        tried.claim("a", holder=f"w{number}")
        assert taken_from(ledger, f"w{number}") == "ok"
        assert tried.status("a") == "ready"
    tried.claim("a", holder="w5")
    assert taken_from(ledger, "w5") == "ok"
    assert (tried.status("a"), tried.state) == ("failed", "rolling_back")
    assert tried.events().count("execution:action:interrupted") == 5


def test_overstayed_leases_of_living_workers_are_found(ledger: AnyLedger) -> None:
    ledger.register("w1", Announcement(devices=()))
    tried = Tried(ledger).start(in_group([step("a", timeout_s=0.0), step("b")]))
    tried.claim("a")
    tried.claim("b")
    assert ledger.overstayed(10.0) == []
    wait_until(lambda: ledger.overstayed(0.0), description="the deadline is over")
    assert ledger.overstayed(0.0) == [("w1", ("E1", 0, "a"))]


def test_a_control_message_is_sent_again_until_its_script_strikes_it_out(ledger: AnyLedger) -> None:
    tried = Tried(ledger)
    tried.submit()
    first, wait_s = ledger.due(9)
    assert [item.entry["args"] for item in first] == [[]]
    assert wait_s is not None
    assert 1.5 < wait_s <= 2.0
    assert ledger.due(9)[0] == []  # moved on
    assert tried.sent() == ["ex:E1"]
    tried.start(in_group("a"))
    assert "ex:E1" not in tried.sent()


def test_what_is_due_comes_in_order_and_no_more_than_asked_for(ledger: AnyLedger) -> None:
    assert ledger.due(9) == ([], None)
    for number in range(5):
        Tried(ledger, f"E{number}").submit()
        at = ledger.now_ms()
        wait_until(lambda at=at: ledger.now_ms() > at, description="the next is due later")
    assert [item.entry["id"] for item in ledger.due(3)[0]] == ["E0", "E1", "E2"]
    assert [item.entry["id"] for item in ledger.due(3)[0]] == ["E3", "E4"]
    assert ledger.outbox_size() == 5
    ledger.strike(["nobody#1", "ex:E0#999999"])
    assert ledger.outbox_size() == 5


def test_who_sleeps_over_an_empty_outbox_is_nudged(ledger: AnyLedger) -> None:
    began = time.monotonic()
    ledger.wait_for_nudge(0.05)
    assert time.monotonic() - began >= 0.03
    timer = threading.Timer(0.05, Tried(ledger).submit)
    timer.start()
    ledger.wait_for_nudge(10)
    timer.join()
    assert time.monotonic() - began < 5


def test_an_event_ends_the_wait_for_it(ledger: AnyLedger) -> None:
    timer = threading.Timer(0.05, Tried(ledger).submit)
    timer.start()
    assert [event["event"] for event in ledger.events("E1", wait_s=10)] == ["execution:submitted"]
    timer.join()


def test_one_leads(ledger: AnyLedger) -> None:
    first = ledger.lead("c1", 60)
    assert first
    assert ledger.lead("c1", 0.001) == first
    second = wait_until(lambda: ledger.lead("c2", 60), description="the lead is free")
    assert int(second) == int(first) + 1
    assert ledger.lead("c1", 60) == ""


def test_what_a_former_leader_still_wants_is_refused(ledger: AnyLedger) -> None:
    """Each act that only the leader may do, and the same act of the new leader is done."""
    ledger.register("w1", Announcement(devices=()))
    tried = Tried(ledger).start(in_group([step("a", movable=True), step("b")]), timeout_s=0.0)
    tried.claim("b")
    old = ledger.lead("c1", 0.001)
    new = wait_until(lambda: ledger.lead("c2", 60), description="the lead is free")
    acts: dict[str, Callable[[str], object]] = {
        "fence": lambda term: ledger.fence("w1", term=term),
        "expire": lambda term: ledger.expire("w1", ("E1", 0, "b"), sure=True, error=WRONG, term=term),
        "abandon": lambda term: ledger.abandon_all("E1", 0, {"a": WRONG}, wait_s=9, term=term),
        "move": lambda term: ledger.move("E1", 0, [Move("edge-1", "edge-2", (("a",),), "lost")], term=term),
        "touch": lambda term: ledger.touch("E1", 0, ["a"], term=term),
        "overdue": lambda term: ledger.overdue("E1", WRONG, term=term),
    }
    for name, act in acts.items():
        before = (tried.row("a"), tried.row("b"), tried.state, ledger.to_sweep())
        with pytest.raises(Deposed):
            act(old)
        assert (tried.row("a"), tried.row("b"), tried.state, ledger.to_sweep()) == before, name
        assert act(new), name


def test_the_ledger_tells_of_itself(ledger: AnyLedger) -> None:
    ledger.ping()
    assert ledger.server()["run_id"]
    assert abs(ledger.now_ms() - time.time() * 1000) < 5000
    assert isinstance(ledger.client_names(), set)
    assert ledger.server_setting("no-such-setting") is None
