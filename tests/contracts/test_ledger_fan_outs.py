"""Fan-outs: the window of a rolling one, what needs and reads it, and how many failed devices are borne."""

from typing import Any

import pytest
from support.ledgers import AnyLedger, Tried, in_group, in_sequence, step, woken

from executor.model.execution import Answer
from executor.model.plan import FanOut, Reads, Stage, Step
from executor.model.rollback import Chosen

GUIDED = Chosen(mechanism="guided", asked="guided", by="ann")


def fan_out(
    of: str = "r", devices: int = 4, at_once: int = 0, bearable: int = 3, **more: Any
) -> tuple[Stage, list[Step]]:
    """``r@d1`` to ``r@d4``."""
    shared = FanOut(of=of, at_once=at_once, bearable=bearable)
    return in_group(
        step(f"{of}@d{number}", device=f"d{number}", fan_out=shared, **more) for number in range(1, devices + 1)
    )


def instances(of: str = "r", devices: int = 4) -> list[str]:
    return [f"{of}@d{number}" for number in range(1, devices + 1)]


def rolling(ledger: AnyLedger, at_once: int = 2, devices: int = 4, **more: Any) -> Tried:
    woken(ledger)
    return Tried(ledger).start(fan_out(at_once=at_once, devices=devices, **more))


# -- the window -------------------------------------------------------------------------------------------------------


def test_only_so_many_begin_and_the_rest_wait(ledger: AnyLedger) -> None:
    """They are parked with the reason, in the order in which they came."""
    e = rolling(ledger)
    answers = [e.ask(name) for name in ("r@d3", "r@d1", "r@d4", "r@d2")]
    assert [got.detail if isinstance(got, Answer) else "run" for got in answers] == [
        "run", "run", "max_unavailable", "max_unavailable",
    ]  # fmt: skip
    assert woken(ledger) == []


def test_a_place_that_is_given_up_goes_to_who_has_waited_longest(ledger: AnyLedger) -> None:
    """In the same step: nobody who comes meanwhile gets it."""
    e = rolling(ledger)
    one, other = e.claim("r@d1"), e.claim("r@d2")
    assert [e.answer(name) for name in ("r@d4", "r@d3")] == ["park", "park"]
    e.settle(one)
    assert woken(ledger) == ["r@d4"]
    assert e.answer("r@d3") == "park"
    third = e.claim("r@d4")
    e.settle(other, "skipped")
    assert woken(ledger) == ["r@d3"]
    e.settle(third)
    e.settle(e.claim("r@d3"))
    assert e.ledger.advance(e.id, 0, 0)


def test_a_message_that_comes_twice_waits_once(ledger: AnyLedger) -> None:
    """And one that has its place runs under it."""
    e = rolling(ledger, at_once=1)
    one = e.claim("r@d1", nonce="n")
    assert e.claim("r@d1", nonce="n").token == one.token
    assert [e.answer("r@d2") for _ in range(3)] == ["park"] * 3
    e.settle(one)
    assert woken(ledger) == ["r@d2"]
    e.do("r@d2")
    assert woken(ledger) == []


def test_the_place_is_kept_while_it_is_tried_again(ledger: AnyLedger) -> None:
    """A device that failed once is not to be joined by the next one."""
    e = rolling(ledger, at_once=1)
    one = e.claim("r@d1")
    assert e.answer("r@d2") == "park"
    e.settle(one, "retry", delay_s=0.0)
    assert e.answer("r@d3") == "park"
    assert woken(ledger) == ["r@d1"]
    e.do("r@d1", status="timed_out")
    assert e.answer("r@d2") == "cancelled"


def test_the_place_is_kept_when_another_worker_takes_over(ledger: AnyLedger) -> None:
    """Whatever it has begun is not over."""
    e = rolling(ledger, at_once=1, idempotent=True)
    e.claim("r@d1")
    assert e.answer("r@d2") == "park"
    ledger.fence("w1")
    error = {"type": "Interrupted", "message": "died", "classification": {}, "action": "r@d1"}
    assert ledger.expire("w1", (e.id, 0, "r@d1"), sure=True, error=error) == "ok"
    assert e.answer("r@d3", holder="w2") == "park"
    e.settle(e.claim("r@d1", holder="w2"), holder="w2")
    assert woken(ledger) == ["r@d2"]


def test_a_device_that_is_gone_gives_its_place_up(ledger: AnyLedger) -> None:
    """When it has had its time; one that never came is passed over."""
    e = rolling(ledger, at_once=1, on_failure="continue")
    one = e.claim("r@d1")
    assert [e.answer(name) for name in ("r@d2", "r@d3", "r@d4")] == ["park"] * 3
    wrong = {"type": "NoDevice", "message": "gone", "classification": {}, "action": "r@d3"}
    for wait_s in (60.0, 0.0):
        ledger.abandon_all(e.id, 0, {"r@d3": wrong}, wait_s=wait_s)
    e.settle(one)
    assert woken(ledger) == ["r@d2"]
    for wait_s in (60.0, 0.0):
        ledger.abandon_all(e.id, 0, {"r@d2": wrong}, wait_s=wait_s)
    assert woken(ledger) == ["r@d4"]


def test_a_slot_is_only_taken_by_who_has_a_place(ledger: AnyLedger) -> None:
    """Who holds a slot runs: with fewer slots than places, and with fewer places than slots, all come to their end."""
    for at_once, parallel in ((1, 2), (2, 1), (3, 2)):
        woken(ledger)
        e = Tried(ledger, f"E{at_once}{parallel}").start(fan_out(at_once=at_once, devices=6), parallel=parallel)
        running = [got for name in instances(devices=6) if not isinstance(got := e.ask(name), Answer)]
        assert len(running) == min(at_once, parallel)
        ended = 0
        while running:
            e.settle(running.pop())
            ended += 1
            claims = [e.ask(name) for name in woken(ledger)]
            running += [got for got in claims if not isinstance(got, Answer)]
            assert len(running) <= min(at_once, parallel)
        assert ended == 6
        assert ledger.advance(e.id, 0, 0)


def test_who_waits_for_a_place_begins_no_more_after_a_stop(ledger: AnyLedger) -> None:
    """What was parked is dropped, and the execution goes on to its end."""
    e = rolling(ledger, at_once=1)
    one = e.claim("r@d1")
    assert e.answer("r@d2") == "park"
    assert ledger.cancel(e.id, {"type": "Cancelled", "message": "x"}, undo=False) == ("ok", "")
    e.settle(one, "cancelled")
    assert woken(ledger) == []
    assert ledger.waiting(e.id, 0, instances()) == set()
    assert e.state == "concluding"


def test_a_way_back_rolls_as_the_way_forward_did(ledger: AnyLedger) -> None:
    """Its steps carry the window; that of the way forward is over."""
    e = rolling(ledger, devices=3)
    e.do("r@d1", "r@d2")
    e.do("r@d3", status="failed")
    back = [
        step(f"r@d{n}", purpose="undo", undoes=f"r@d{n}", on_failure="continue", fan_out=FanOut(of="r", at_once=1))
        for n in (2, 1)
    ]
    assert e.begin(in_group(back))
    one = e.claim("r@d2", generation=1)
    assert e.answer("r@d1", generation=1) == "park"
    e.settle(one, "failed")
    assert woken(ledger) == ["r@d1"]
    e.do("r@d1", generation=1)
    assert ledger.advance(e.id, 1, 0)


def test_a_forgotten_execution_leaves_nothing(ledger: AnyLedger) -> None:
    """Neither its windows nor its counts."""
    e = rolling(ledger, at_once=1)
    e.do(*instances())
    assert ledger.advance(e.id, 0, 0)
    assert ledger.conclude(e.id, "completed")
    ledger.forget(e.id)
    again = Tried(ledger, e.id).start(fan_out(at_once=1), in_sequence([step("c", needs=(("r", False),))]))
    again.do(*instances())
    assert ledger.advance(e.id, 0, 0)
    again.do("c")


# -- needs and readings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("became", "ended_is_enough", "runs"),
    [
        (("succeeded", "succeeded"), False, True),
        (("succeeded", "skipped"), False, True),
        (("skipped", "skipped"), False, True),
        (("succeeded", "failed"), False, False),
        (("timed_out", "succeeded"), False, False),
        (("failed", "timed_out"), True, True),
    ],
)
def test_to_need_a_fan_out_is_to_need_all_of_it(
    ledger: AnyLedger, became: tuple[str, str], ended_is_enough: bool, runs: bool
) -> None:
    """One that was skipped counts as met, as with any need."""
    e = Tried(ledger).start(
        fan_out(devices=2, on_failure="continue"), in_group([step("c", needs=(("r", ended_is_enough),))])
    )
    for name, status in zip(instances(devices=2), became, strict=True):
        e.do(name, status=status)
    assert ledger.advance(e.id, 0, 0)
    assert e.answer("c") == ("run" if runs else "done")
    if not runs:
        assert e.row("c")["status"] == "skipped"
        assert "it needs r, which did not succeed" in e.row("c")["outcome"]


def test_a_fan_out_is_read_by_device(ledger: AnyLedger) -> None:
    """Null where it did not succeed; its status is the worst of all."""
    reads = Reads(actions=("a", "r"), fan_outs=("r",))
    e = Tried(ledger).start(
        fan_out(devices=3, on_failure="continue"), in_sequence([step("a")]), in_group([step("c", reads=reads)])
    )
    e.settle(e.claim("r@d1"), result={"code": 1})
    e.do("r@d2", status="failed")
    e.settle(e.claim("r@d3"), result=[3])
    assert ledger.advance(e.id, 0, 0)
    e.settle(e.claim("a"), result="done")
    assert ledger.advance(e.id, 0, 1)
    found = e.claim("c").reads
    assert found["a"]["result"] == "done"
    assert found["r"]["result"] == {"d1": {"code": 1}, "d2": None, "d3": [3]}
    assert (found["r"]["status"], found["r"]["device"], found["r"]["attempts"]) == ("failed", None, 1)
    assert found["r"]["error"]["message"] == "wrong"


def test_a_way_back_reads_the_fan_out_of_the_way_forward(ledger: AnyLedger) -> None:
    """Also when none of it is taken back."""
    e = Tried(ledger).start(fan_out(devices=2), in_sequence("a b"))
    e.settle(e.claim("r@d1"), result=1)
    e.settle(e.claim("r@d2"), result=2)
    assert ledger.advance(e.id, 0, 0)
    e.do("a")
    e.do("b", status="failed")
    reads = Reads(actions=("r",), fan_outs=("r",))
    assert e.begin(in_group([step("a", purpose="undo", undoes="a", on_failure="continue", reads=reads)]))
    assert e.claim("a", generation=1).reads["r"]["result"] == {"d1": 1, "d2": 2}


# -- failures ---------------------------------------------------------------------------------------------------------


def test_so_many_failed_devices_are_borne_and_one_more_ends_it(ledger: AnyLedger) -> None:
    """It is taken back then, and no further instance begins."""
    e = rolling(ledger, at_once=1, devices=5, bearable=2, on_failure="continue")
    assert [e.settle(e.claim(name), "failed").verdict for name in ("r@d1", "r@d2")] == ["ok", "ok"]
    e.do("r@d3")
    last = e.claim("r@d4")
    assert e.answer("r@d5") == "park"
    assert e.settle(last, "timed_out").verdict == "fatal"
    assert e.state == "rolling_back"
    assert e.answer("r@d5") == "cancelled"


def test_each_fan_out_bears_its_own_failures(ledger: AnyLedger) -> None:
    """Those of two are not put together; `limits.max_failures` counts all of them."""
    stages = (fan_out("r", 2, bearable=1, on_failure="continue"), fan_out("s", 2, bearable=1, on_failure="continue"))
    e = Tried(ledger).start(*stages)
    e.do("r@d1", status="failed")
    e.do("r@d2")
    assert ledger.advance(e.id, 0, 0)
    e.do("s@d1", status="failed")
    assert e.state == "running"
    other = Tried(ledger, "E2").start(*stages, max_failures=1)
    other.do("r@d1", status="failed")
    other.do("r@d2")
    assert ledger.advance("E2", 0, 0)
    other.do("s@d1", status="failed")
    assert other.state == "rolling_back"


def test_without_continue_the_first_failure_decides(ledger: AnyLedger) -> None:
    """As everywhere."""
    e = Tried(ledger).start(fan_out(bearable=3))
    e.claim("r@d1")
    e.do("r@d2", status="failed")
    assert e.state == "stopping"


def test_what_is_tried_again_by_choice_is_no_failure_any_more(ledger: AnyLedger) -> None:
    """Neither for those that need it, nor for how many are borne; and its window begins anew."""
    woken(ledger)
    e = Tried(ledger).start(
        fan_out(devices=3, at_once=1, bearable=0, on_failure="continue"), in_group([step("c", needs=(("r", False),))])
    )
    e.do("r@d1")
    e.do("r@d2", status="failed")
    assert e.state == "rolling_back"
    assert ledger.resume(e.id, GUIDED, ["r@d2", "r@d3"], timeout_s=60.0)
    one = e.claim("r@d2")
    assert e.answer("r@d3") == "park"
    e.settle(one)
    assert woken(ledger) == ["r@d3"]
    e.do("r@d3")
    assert ledger.advance(e.id, 0, 0)
    e.do("c")
    assert e.status("c") == "succeeded"
