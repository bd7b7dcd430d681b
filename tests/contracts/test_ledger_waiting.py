"""Slots, parking, delays: what waits holds no worker, and nothing is overtaken or forgotten."""

import itertools
import random

import pytest
from support.ledgers import WRONG, AnyLedger, Tried, abandoned, in_group, in_sequence, step, woken
from support.waiting import wait_until

from executor.model.device import Announcement
from executor.model.execution import Answer, Claimed


def test_no_more_run_than_allowed_and_the_longest_waiting_is_next(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b c d"), parallel=2)
    a, b = tried.claim("a"), tried.claim("b")
    assert tried.ask("d") == Answer("park", "d", "limits.parallel")
    assert tried.ask("c") == Answer("park", "c", "limits.parallel")
    assert tried.ask("d") == Answer("park", "d", "limits.parallel")  # a duplicate keeps its place
    tried.settle(a)
    assert "p:E1|0|d" in tried.sent()
    assert "p:E1|0|c" not in tried.sent()
    assert tried.answer("c") == "park"  # the slot is d's, also before its message has come
    tried.settle(b)
    assert tried.answer("c") == "run"
    assert tried.answer("d") == "run"


def test_a_message_without_signature_is_asked_for_it_and_nothing_is_parked(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b"), parallel=1)
    tried.claim("a")
    assert tried.ask("b", park=False) == Answer("signature", "b")
    assert ledger.waiting("E1", 0, ["b"]) == set()


def test_a_fused_message_parks_with_the_rest(ledger: AnyLedger) -> None:
    one = [step("a", device="d1"), step("b", device="d1"), step("c", device="d1")]
    tried = Tried(ledger).start(in_group([*one, step("z")]), parallel=1)
    got = tried.settle(tried.claim("a", "b", "c"), then=["b", "c"])
    b = got.following
    assert isinstance(b, Claimed)
    assert tried.answer("z") == "park"
    got = tried.settle(b, then=["c"])
    assert got.following == Answer("signature", "c")  # z was first
    assert tried.answer("c") == "park"
    tried.do("z")
    assert "p:E1|0|c" in tried.sent()


def test_the_waiting_of_a_parked_action_ends_with_its_skip_or_abandoning(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b c"), parallel=1)
    a = tried.claim("a")
    assert (tried.answer("b"), tried.answer("c")) == ("park", "park")
    assert abandoned(ledger, "E1", 0, "b", wait_s=0.0) == "waiting"
    # b ends while it waits: its place in the queue must not cost c its turn
    rule = abandoned(ledger, "E1", 0, "b", wait_s=0.0)
    assert rule == "failed"
    tried.settle(a, "cancelled")
    assert tried.state == "rolling_back"


def test_a_wake_whose_message_is_gone_wakes_the_next(ledger: AnyLedger) -> None:
    lone = [step("a"), step("b", on_failure="continue"), step("c")]
    tried = Tried(ledger).start(in_group(lone), parallel=1)
    a = tried.claim("a")
    assert (tried.answer("b"), tried.answer("c")) == ("park", "park")
    for _ in range(2):
        abandoned(ledger, "E1", 0, "b", wait_s=0.0)
    tried.settle(a)
    assert "p:E1|0|c" in tried.sent()
    assert tried.answer("c") == "run"


def test_a_freed_slot_after_each_kind_of_end(ledger: AnyLedger) -> None:
    for number, status in enumerate(("succeeded", "skipped", "failed", "timed_out", "retry")):
        tried = Tried(ledger, f"E{number}")
        tried.start(in_group([step("a", on_failure="continue"), step("b")]), parallel=1)
        a = tried.claim("a")
        assert tried.answer("b") == "park"
        tried.settle(a, status, delay_s=60)
        assert tried.answer("b") == "run", status


def test_an_interrupted_action_keeps_its_slot(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b"), parallel=1)
    tried.claim("a")
    ledger.expire("w1", ("E1", 0, "a"), sure=True, error=WRONG)
    assert tried.answer("b") == "park"
    assert tried.answer("a") == "run"


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_limit_is_exact_under_many_interleavings(ledger: AnyLedger, limit: int) -> None:
    names = [f"s{number}" for number in range(8)]
    woken(ledger)
    for seed in range(6):
        chance = random.Random(seed)
        tried = Tried(ledger, f"E-{limit}-{seed}").start(in_group(" ".join(names)), parallel=limit)
        messages, held = [*names, *names], []
        while True:
            messages += woken(ledger)
            if held and (not messages or chance.random() < 0.4):
                tried.settle(held.pop(chance.randrange(len(held))))
            elif messages:
                got = tried.ask(messages.pop(chance.randrange(len(messages))))
                if isinstance(got, Claimed):
                    held.append(got)
            else:
                break
            assert len(held) <= limit
        assert {tried.status(name) for name in names} == {"succeeded"}


def test_a_retry_waits_for_its_time(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    a = tried.claim("a")
    assert tried.settle(a, "retry", delay_s=30).verdict == "retry"
    assert tried.answer("a") == "wait"
    assert woken(ledger) == []
    assert tried.answer("a") == "wait"
    assert ledger.due(9)[1] is not None


def test_a_retry_is_an_attempt_of_its_own(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    first = tried.claim("a")
    tried.settle(first, "retry")
    assert tried.answer("a") == "wait"  # only who reaches the due time makes it claimable
    sent = [item.entry for item in ledger.due(9)[0]]
    assert {"kind": "signature", "signature": '{"again": "a"}'} in sent
    second = tried.claim("a")
    assert (second.attempt, second.probe) == (2, False)
    assert second.token != first.token


def test_who_strikes_late_does_not_lose_what_was_written_since(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    tried.settle(tried.claim("a"), "retry")
    sent = [item.id for item in ledger.due(9)[0]]
    # the message is faster than the strike: it runs, and fails again
    tried.settle(tried.claim("a"), "retry")
    ledger.strike(sent)
    assert "p:E1|0|a" in tried.sent()
    assert woken(ledger) == ["a"]
    assert tried.answer("a") == "run"


def test_a_duplicate_parked_before_a_retry_does_not_block_its_way(ledger: AnyLedger) -> None:
    woken(ledger)
    tried = Tried(ledger).start(in_group("a b"), parallel=1)
    a = tried.claim("a")
    assert tried.answer("a", holder="w2") == "park"  # it runs elsewhere
    tried.settle(a, "retry")
    b = tried.claim("b")
    assert woken(ledger) == ["a"]
    assert tried.answer("a") == "park"  # for a slot now
    tried.settle(b)
    assert woken(ledger) == ["a"]
    assert tried.answer("a") == "run"


def test_a_stop_drops_who_waits(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b c d"), parallel=2)
    c = tried.claim("c")
    tried.settle(c, "retry", delay_s=60)
    a, b = tried.claim("a"), tried.claim("b")
    assert (tried.answer("d"), tried.status("c")) == ("park", "waiting")
    tried.settle(a, "failed")
    assert tried.state == "stopping"
    assert tried.status("c") == "cancelled"
    assert ledger.waiting("E1", 0, ["a", "b", "c", "d"]) <= {"d"}  # woken by a's end, before the failure was judged
    assert tried.answer("d") == "cancelled"
    tried.settle(b)
    assert tried.state == "rolling_back"


def test_slots_are_free_again_for_the_way_back(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b c"), parallel=1)
    a = tried.claim("a")
    assert tried.answer("b") == "park"
    tried.settle(a, "failed")
    tried.begin(in_group("x y"))
    x = tried.claim("x", generation=1)
    assert tried.answer("y", generation=1) == "park"
    tried.settle(x)
    assert tried.answer("y", generation=1) == "run"


@pytest.mark.parametrize(("enough", "status"), [*itertools.product([False, True], ["succeeded", "skipped", "failed"])])
def test_needs(ledger: AnyLedger, enough: bool, status: str) -> None:
    tried = Tried(ledger).start(
        in_group([step("a", on_failure="continue")]), in_group([step("b", needs=(("a", enough),))])
    )
    tried.do("a", status=status)
    ledger.advance("E1", 0, 0)
    runs = enough or status != "failed"
    assert tried.answer("b") == ("run" if runs else "done")
    if not runs:
        assert tried.status("b") == "skipped"
        assert tried.row("b")["outcome"] == '{"reason":"it needs a, which did not succeed"}'
        assert "adv:E1|0|1" in tried.sent()


def test_what_is_skipped_lets_its_message_go_on(ledger: AnyLedger) -> None:
    steps = [step("b", needs=(("a", False),)), step("c")]
    tried = Tried(ledger).start(in_group([step("a", on_failure="continue")]), in_sequence(steps))
    tried.do("a", status="failed")
    ledger.advance("E1", 0, 0)
    assert tried.claim("b", "c").step.id == "c"


def test_an_unserved_device_is_said_once_and_fails_in_the_end(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"), in_group("later"))
    assert abandoned(ledger, "E1", 0, "a", wait_s=60) == "waiting"
    assert abandoned(ledger, "E1", 0, "a", wait_s=60) == "waiting"
    assert tried.events().count("execution:action:waiting") == 1
    ledger.served("E1", 0, ["a", "nobody"])
    assert abandoned(ledger, "E1", 0, "a", wait_s=0) == "waiting"
    assert abandoned(ledger, "E1", 0, "later", wait_s=0) == "noop"
    assert abandoned(ledger, "E1", 0, "nobody", wait_s=0) == "noop"
    assert abandoned(ledger, "E1", 1, "a", wait_s=0) == "noop"
    assert abandoned(ledger, "E1", 0, "a", wait_s=0) == "failed"
    assert abandoned(ledger, "E1", 0, "a", wait_s=0) == "noop"
    assert tried.state == "rolling_back"


def test_an_action_that_has_run_starts_its_wait_for_a_device_anew(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    abandoned(ledger, "E1", 0, "a", wait_s=0)
    tried.settle(tried.claim("a"), "retry")
    ledger.due(9)
    assert abandoned(ledger, "E1", 0, "a", wait_s=0) == "waiting"


def test_only_what_can_be_claimed_is_touched(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b c d"))
    tried.do("a")
    tried.claim("b")
    assert ledger.touch("E1", 0, ["a", "b", "c", "nobody"]) == ["c"]
    assert "since" in tried.row("c")
    assert ledger.touch("E1", 1, ["c"]) == []
    assert ledger.touch("nobody", 0, ["c"]) == []
    assert tried.row("nobody") == {}


def test_what_waits_for_a_living_device_is_not_abandoned(ledger: AnyLedger) -> None:
    """It is told once; a wait that comes later begins when the last look found the device alive."""
    tried = Tried(ledger).start(in_group([step("a")]))
    for _ in range(2):
        assert ledger.abandon_all("E1", 0, {"a": WRONG}, wait_s=None) == {"a": "waiting"}
    assert tried.events().count("execution:action:waiting") == 1
    first = int(tried.row("a")["unserved"])
    wait_until(lambda: ledger.now_ms() > first, description="the next millisecond")
    ledger.abandon_all("E1", 0, {"a": WRONG}, wait_s=None)
    assert int(tried.row("a")["unserved"]) > first
    assert ledger.abandon_all("E1", 0, {"a": WRONG}, wait_s=60) == {"a": "waiting"}
    assert ledger.abandon_all("E1", 0, {"a": WRONG}, wait_s=0) == {"a": "failed"}


def test_many_actions_are_abandoned_in_one_call(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step("a", on_failure="continue"), step("b"), step("c"), step("d")]))
    tried.do("d")
    errors = {name: {**WRONG, "action": name} for name in ("a", "b", "c", "d", "nobody")}
    wanted = {"a": "waiting", "b": "waiting", "c": "waiting", "d": "noop", "nobody": "noop"}
    assert ledger.abandon_all("E1", 0, errors, wait_s=60) == wanted
    # the failure of b ends the execution, and then nothing is left to be given up
    assert ledger.abandon_all("E1", 0, errors, wait_s=0) == {**wanted, "a": "failed", "b": "failed", "c": "noop"}
    assert '"action": "b"' in tried.row("b")["outcome"]
    assert ledger.abandon_all("E1", 0, {}, wait_s=0) == {}


def test_who_stands_twice_in_the_queue_keeps_the_one_slot_that_it_has(ledger: AnyLedger) -> None:
    """Parked for a slot, then, by a duplicate of its message, for a drained device, then for a slot again."""
    ledger.register("w1", Announcement(devices=("edge-1",)))
    tried = Tried(ledger).start(in_group("a z b c d"), parallel=2)
    a, z = tried.claim("a"), tried.claim("z")
    assert tried.answer("b") == "park"
    ledger.drain("edge-1", by="ann")
    assert tried.answer("b") == "park"
    ledger.undrain("edge-1", by="ann")
    assert [tried.answer(name) for name in "bcd"] == ["park"] * 3
    tried.settle(a)
    tried.claim("b")
    tried.settle(z)
    running = [name for name in "cd" if isinstance(tried.ask(name), Claimed)]
    assert running == ["c"]
