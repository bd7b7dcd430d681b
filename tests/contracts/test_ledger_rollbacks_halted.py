"""A way back that skips, halts, waits for a device, or is cut."""

import json

import pytest
from support.ledgers import WRONG, AnyLedger, Tried, abandoned, in_group, in_sequence, step

from executor.model.plan import Stage, Step


def halting() -> list[tuple[Stage, list[Step]]]:
    """Two phases of a way back, and between them a probe that must hold."""
    probe = step("v", purpose="verify", on_failure="stop")
    return [in_group("u1 u2"), in_sequence([probe]), in_group("u3")]


@pytest.mark.parametrize("restored", [True, False])
def test_an_undo_runs_only_where_its_snapshot_was_not_restored(ledger: AnyLedger, restored: bool) -> None:
    """With the restore it has nothing to do, and says so."""
    tried = Tried(ledger).fail()
    restore = step("snapshot/1", on_failure="continue")
    tried.begin(in_group([restore]), in_group([step("u", unless="snapshot/1"), step("w")]))
    tried.do("snapshot/1", status="succeeded" if restored else "failed", generation=1)
    ledger.advance("E1", 1, 0)
    assert tried.answer("w", generation=1) == "run"
    assert tried.answer("u", generation=1) == ("done" if restored else "run")
    assert tried.status("u", 1) == ("skipped" if restored else "running")
    if restored:
        assert json.loads(tried.row("u", 1)["outcome"]) == {"reason": "restored with snapshot/1"}


def test_a_probe_that_does_not_hold_halts_the_rollback(ledger: AnyLedger) -> None:
    """Nothing begins after it, it concludes, and why is kept."""
    tried = Tried(ledger).fail()
    tried.begin(*halting())
    tried.do("u1", "u2", generation=1)
    ledger.advance("E1", 1, 0)
    assert tried.settle(tried.claim("v", generation=1), "failed").verdict == "fatal"
    assert (tried.state, tried.field("mode")) == ("concluding", "halt")
    assert json.loads(tried.field("halted") or "")["message"] == "wrong"
    assert tried.answer("u3", generation=1) == "cancelled"
    assert not ledger.advance("E1", 1, 1)
    assert "con:E1" in tried.sent()
    assert json.loads(tried.field("error") or "") == WRONG
    assert ledger.conclude("E1", "failed", rollback="failed")


def test_a_halt_waits_for_what_still_runs(ledger: AnyLedger) -> None:
    """What runs beside is told to stop, and what waits for another try ends."""
    tried = Tried(ledger).fail()
    tried.begin(in_group([step("v", on_failure="stop"), step("u1"), step("u2", on_failure="continue")]))
    held = tried.claim("u1", generation=1)
    tried.settle(tried.claim("u2", generation=1), "retry", delay_s=60.0)
    assert tried.settle(tried.claim("v", generation=1), "failed").verdict == "fatal"
    assert tried.state == "stopping"
    assert tried.status("u2", 1) == "cancelled"
    assert ledger.renew("w1", [held]).stopped == {held.token}
    tried.settle(held, "cancelled")
    assert (tried.state, tried.field("mode")) == ("concluding", "halt")
    stopping = [event for event in ledger.events("E1") if event["event"] == "execution:stopping"]
    assert [event["data"]["mode"] for event in stopping] == ["rollback", "halt"]


def test_a_halted_rollback_can_be_taken_up_again(ledger: AnyLedger) -> None:
    """The next one is not halted by what halted the one before."""
    tried = Tried(ledger).fail()
    tried.begin(*halting())
    tried.do("u1", "u2", generation=1)
    ledger.advance("E1", 1, 0)
    tried.do("v", status="failed", generation=1)
    ledger.conclude("E1", "failed", rollback="failed")
    tried.reopen()
    assert (tried.field("halted"), tried.field("mode")) == (None, "rollback")
    tried.go_back(2)
    assert tried.state == "failed"


def test_a_rollback_waits_for_a_device_until_its_deadline(ledger: AnyLedger) -> None:
    """However short actions wait on the way forward; then the rest has as much time again, once."""
    tried = Tried(ledger).fail()
    undos = [step(name, on_failure="continue") for name in ("u1", "u2")]
    tried.begin(in_group(undos), in_group("u3"), timeout_s=0.0)

    def look() -> str:
        return abandoned(ledger, "E1", 1, "u1", wait_s=60.0)

    assert [look(), look(), look()] == ["waiting"] * 3
    assert tried.events().count("rollback:action:waiting") == 1
    assert (tried.field("rb_waits"), tried.field("rb_longer")) == ("1", None)
    assert ledger.overdue("E1", WRONG)
    assert (tried.state, tried.field("rb_longer")) == ("rolling_back", "1")
    assert ledger.overdue_executions() == ["E1"]  # it has as much again: here nothing
    assert tried.answer("u2", generation=1) == "run"
    assert look() == "failed"
    assert (tried.state, tried.status("u1", 1)) == ("rolling_back", "failed")
    assert ledger.overdue("E1", WRONG)
    assert (tried.state, tried.field("mode")) == ("stopping", "cut")
    assert tried.answer("u3", generation=1) == "cancelled"


def test_a_rollback_that_waits_for_no_device_is_cut_at_its_deadline(ledger: AnyLedger) -> None:
    """Also where a device was away, and came back in time."""
    tried = Tried(ledger).fail()
    tried.begin(in_group("u1 u2"), timeout_s=0.0)
    abandoned(ledger, "E1", 1, "u1", wait_s=0.0)
    ledger.served("E1", 1, ["u1"])
    assert tried.field("rb_waits") is None
    assert "unserved" not in tried.row("u1", 1)
    assert ledger.overdue("E1", WRONG)
    assert (tried.state, tried.field("mode")) == ("concluding", "cut")


def test_a_later_rollback_waits_anew(ledger: AnyLedger) -> None:
    """What an earlier one had waited for does not count."""
    tried = Tried(ledger).fail()
    tried.begin(in_group("u1"), timeout_s=0.0)
    abandoned(ledger, "E1", 1, "u1", wait_s=0.0)
    ledger.overdue("E1", WRONG)
    ledger.overdue("E1", WRONG)
    ledger.conclude("E1", "failed", rollback="partial")
    tried.reopen()
    tried.begin(in_group("u1"), timeout_s=0.0)
    assert (tried.field("rb_waits"), tried.field("rb_longer")) == (None, None)
    assert [abandoned(ledger, "E1", 2, "u1", wait_s=0.0) for _ in range(3)] == ["waiting"] * 3


def test_what_waits_for_the_plan_of_its_way_back_has_no_open_stage(ledger: AnyLedger) -> None:
    """What was cut had stages that the way forward never had: nobody is to look for them there."""
    tried = Tried(ledger).start(in_group("a b"))
    assert ledger.open_stages()["E1"].generation == 0
    tried.do("a", status="failed")
    assert (tried.field("left"), ledger.open_stages()) == ("1", {})
    tried.begin(in_group("u1"), in_group("u2"), timeout_s=0.0)
    tried.do("u1", generation=1)
    ledger.advance("E1", 1, 0)
    opened = ledger.open_stages()["E1"]
    assert (opened.generation, opened.number) == (1, 1)
    ledger.overdue("E1", WRONG)
    ledger.conclude("E1", "failed", rollback="partial")
    tried.reopen()
    assert (tried.field("stage"), tried.field("left"), ledger.open_stages()) == ("1", "1", {})
    tried.begin(in_group("u2"))
    opened = ledger.open_stages()["E1"]
    assert (opened.generation, opened.number) == (2, 0)
