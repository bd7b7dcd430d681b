"""An execution is accepted once, planned once, advanced, taken back and concluded once."""

import pytest
from support.ledgers import (
    WRONG,
    AnyLedger,
    Tried,
    due_in_ms,
    in_group,
    in_sequence,
    make_due,
    outbox,
    step,
    woken,
)

from executor.model.errors import UnknownExecution


def test_submitting_twice_is_submitting_once(ledger: AnyLedger) -> None:
    tried = Tried(ledger)
    assert tried.submit(inputs={"a": 1})
    assert not tried.submit(inputs={"a": 2})
    assert ledger.document("E1") == {"strategy": {"name": "repair", "version": "2"}, "inputs": {"a": 1}}
    assert (tried.state, tried.field("strategy"), tried.field("version")) == ("pending", "repair", "2")
    assert tried.events() == ["execution:submitted"]
    assert tried.sent() == ["ex:E1"]


def test_an_unknown_execution_is_named(ledger: AnyLedger) -> None:
    with pytest.raises(UnknownExecution):
        ledger.head("nobody")
    assert ledger.document("nobody") is None
    assert ledger.plan("nobody", 0) is None
    assert ledger.steps("nobody", 0) == {}
    assert ledger.events("nobody") == []


def test_creating_opens_the_first_stage_once(ledger: AnyLedger) -> None:
    stage, steps = in_group("a b")
    tried = Tried(ledger).start((stage, steps), inputs={"x": []}, context={"big": 2**70})
    assert tried.state == "running"
    assert (tried.field("stage"), tried.field("left")) == ("0", "2")
    assert tried.sent() == ["st:E1|0|0"]
    again = {"inputs": {}, "context": {}, "parallel": 9, "timeout_s": 1.0, "rollback": "none", "max_failures": None}
    plan = ledger.plan("E1", 0)
    assert plan is not None
    assert not ledger.create("E1", plan, {s.id: s for s in steps}, **again)
    assert plan.stages == (stage,)
    assert ledger.steps("E1", 0) == {s.id: s for s in steps}
    assert list(ledger.steps("E1", 0, ["b", "nobody"])) == ["b"]
    assert tried.events() == ["execution:submitted", "execution:started", "execution:stage:started"]


def test_a_plan_without_stages_is_concluded(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start()
    assert tried.state == "concluding"
    assert tried.sent() == ["con:E1"]


def test_an_empty_stage_is_passed(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group(""), in_group("a"))
    assert tried.sent() == ["adv:E1|0|0"]
    assert ledger.advance("E1", 0, 0)
    assert tried.answer("a") == "run"


def test_advance_waits_for_the_last_action_and_counts_once(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b"), in_group("c"))
    tried.do("a")
    assert not ledger.advance("E1", 0, 0)
    assert tried.answer("c") == "unknown"  # its stage is not open
    tried.do("b")
    assert "adv:E1|0|0" in tried.sent()  # no chord is needed
    assert not ledger.advance("E1", 0, 1)
    assert not ledger.advance("E1", 1, 0)
    assert ledger.advance("E1", 0, 0)
    assert not ledger.advance("E1", 0, 0)
    assert "adv:E1|0|0" not in tried.sent()
    assert tried.field("left") == "1"
    tried.do("c")
    assert ledger.advance("E1", 0, 1, criteria=[{"expression": "true", "met": True}])
    assert tried.state == "concluding"
    assert tried.field("criteria") == '[{"expression": "true", "met": true}]'


def test_a_stage_that_does_not_hold_fails_the_execution(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"), in_group("b"))
    tried.do("a")
    assert ledger.advance("E1", 0, 0, error=WRONG)
    assert (tried.state, tried.field("outcome")) == ("rolling_back", "failed")


def test_the_way_back_begins_once(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b"))
    tried.do("a")
    assert not tried.begin(in_group("undo-a"))
    tried.settle(tried.claim("b"), "failed")
    assert tried.state == "rolling_back"
    assert "rb:E1" in tried.sent()
    assert not tried.begin(in_group("undo-a"), generation=1)
    assert tried.begin(in_group("undo-a"))
    assert not tried.begin(in_group("undo-a"))
    assert "rb:E1" not in tried.sent()
    assert (tried.field("gen"), tried.field("left")) == ("1", "1")
    assert tried.answer("b") == "failed"  # the failure that ended it is told again to whoever brings the message
    assert tried.answer("a") == "done"
    tried.do("undo-a", generation=1)
    assert ledger.advance("E1", 1, 0)
    assert tried.state == "concluding"


def test_an_empty_way_back_is_concluded(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    tried.do("a", status="failed")
    assert tried.begin()
    assert tried.state == "concluding"


def test_a_rollback_that_failed_at_one_action_goes_on(ledger: AnyLedger) -> None:
    undo = [step("u1", on_failure="continue"), step("u2")]
    tried = Tried(ledger).start(in_group("a"))
    tried.do("a", status="failed")
    tried.begin(in_sequence(undo))
    assert tried.settle(tried.claim("u1", "u2", generation=1), "failed").verdict == "ok"
    assert tried.settle(tried.claim("u2", generation=1), "failed").verdict == "fatal"
    assert tried.state == "rolling_back"
    assert ledger.advance("E1", 1, 0)


def test_concluding_counts_once(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    assert not ledger.conclude("E1", "completed")
    tried.do("a")
    ledger.advance("E1", 0, 0)
    assert ledger.executions(limit=5, finished=False) == ["E1"]
    assert ledger.conclude("E1", "completed")
    assert not ledger.conclude("E1", "failed")
    assert tried.state == "completed"
    assert ledger.executions(limit=5, finished=False) == []
    assert ledger.executions(limit=5) == ["E1"]
    assert [name for name in tried.sent() if not name.startswith("st:")] == []
    last = ledger.events("E1")[-1]
    assert last["event"] == "execution:completed"
    assert last["data"] == {"strategy": "repair", "success": True, "error": None}


@pytest.mark.parametrize("status", ["completed", "partial", "failed"])
def test_concluding_tells_how_the_rollback_went(ledger: AnyLedger, status: str) -> None:
    tried = Tried(ledger).start(in_group("a"))
    tried.do("a", status="failed")
    tried.begin()
    assert ledger.conclude("E1", "failed", rollback=status)
    assert tried.field("rb_status") == status
    told = [event for event in ledger.events("E1") if event["event"].startswith("rollback:")]
    assert told[-1]["event"] == ("rollback:failed" if status == "failed" else "rollback:completed")


def test_a_pending_execution_may_be_refused_but_not_completed(ledger: AnyLedger) -> None:
    tried = Tried(ledger)
    tried.submit()
    assert not ledger.conclude("E1", "completed")
    assert ledger.conclude("E1", "refused", error=WRONG)
    assert tried.sent() == []


def test_a_pending_execution_is_held_and_tried_again(ledger: AnyLedger) -> None:
    tried = Tried(ledger)
    tried.submit()
    assert ledger.hold("E1", "no device", delay_s=0.0) == 0.0
    assert ledger.hold("E1", "still no device", delay_s=0.0) >= 0.0
    assert tried.field("waiting_for") == "still no device"
    assert tried.events().count("execution:waiting") == 1
    assert [item.entry["task"] for item in ledger.due(9)[0]] == ["executor.execute_strategy"]
    tried.start(in_group("a"))
    assert tried.field("waiting_for") is None
    assert ledger.hold("E1", "too late", delay_s=0.0) == 0.0
    assert tried.field("waiting_for") is None


def test_cancel_of_a_held_execution_wins(ledger: AnyLedger) -> None:
    tried = Tried(ledger)
    tried.submit()
    ledger.hold("E1", "no device", delay_s=0.0)
    assert ledger.cancel("E1", WRONG, undo=True) == ("ok", "")
    assert ledger.hold("E1", "no device", delay_s=0.0) == 0.0
    assert tried.state == "concluding"
    assert tried.sent() == ["con:E1"]
    assert ledger.cancel("E1", WRONG, undo=True) == ("ok", "")  # asked again: it is being cancelled
    ledger.conclude("E1", "cancelled")
    assert tried.field("waiting_for") is None
    assert ledger.cancel("E1", WRONG, undo=True) == ("refused", "cancelled")


def test_cancel_is_answered_by_the_state(ledger: AnyLedger) -> None:
    tried = Tried(ledger)
    assert ledger.cancel("E1", WRONG, undo=True) == ("unknown", "")
    tried.start(in_group("a b"))
    held = tried.claim("a")
    assert ledger.cancel("E1", WRONG, undo=True) == ("ok", "")
    assert tried.state == "stopping"
    assert ledger.cancel("E1", WRONG, undo=True) == ("ok", "")
    assert ledger.cancel("E1", WRONG, undo=False) == ("refused", "stopping")
    assert tried.answer("b") == "cancelled"
    assert tried.settle(held, "cancelled").verdict == "ok"
    assert tried.state == "rolling_back"
    assert ledger.cancel("E1", WRONG, undo=False) == ("refused", "rolling_back")
    tried.begin()
    ledger.conclude("E1", "cancelled")
    assert ledger.cancel("E1", WRONG, undo=True) == ("refused", "cancelled")


def test_cancel_without_undo_stands_when_what_still_runs_fails(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b"))
    held = tried.claim("a")
    ledger.cancel("E1", WRONG, undo=False)
    assert ledger.renew("w1", [held]).stopped == set()  # it may finish
    tried.settle(held, "failed")
    assert (tried.state, tried.field("mode"), tried.field("outcome")) == ("concluding", "stop", "cancelled")


def test_an_execution_past_its_time_is_stopped_once(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"), timeout_s=0.0)
    assert ledger.overdue_executions() == ["E1"]
    assert ledger.overdue("E1", WRONG)
    assert not ledger.overdue("E1", WRONG)
    assert (tried.state, tried.field("outcome")) == ("rolling_back", "failed")
    assert ledger.overdue_executions() == []
    assert not ledger.overdue("nobody", WRONG)


def test_one_within_its_time_is_left_alone(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    assert ledger.overdue_executions() == []
    assert not ledger.overdue("E1", WRONG)
    assert tried.state == "running"


def test_a_rollback_past_its_time_is_cut_when_what_runs_has_ended(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    tried.do("a", status="failed")
    tried.begin(in_group("u1 u2"), timeout_s=0.0)
    held = tried.claim("u1", generation=1)
    assert ledger.overdue("E1", WRONG)
    assert tried.state == "stopping"
    assert tried.answer("u2", generation=1) == "cancelled"
    assert ledger.renew("w1", [held]).stopped == {held.token}
    tried.settle(held, "cancelled")
    assert tried.state == "concluding"


@pytest.mark.parametrize("rollback", ["none", "adaptive"])
def test_without_rollback_a_failure_goes_to_its_end(ledger: AnyLedger, rollback: str) -> None:
    tried = Tried(ledger).start(in_group("a"), rollback=rollback)
    tried.do("a", status="failed")
    assert tried.state == ("concluding" if rollback == "none" else "rolling_back")


def test_open_stages_are_those_with_something_left(ledger: AnyLedger) -> None:
    Tried(ledger, "pending").submit()
    Tried(ledger, "done").start(in_group("a")).do("a")
    tried = Tried(ledger).start(in_group("a"), in_group("b"))
    tried.do("a")
    ledger.advance("E1", 0, 0)
    found = ledger.open_stages()
    assert {name: (stage.generation, stage.number) for name, stage in found.items()} == {"E1": (0, 1)}
    assert str(found["E1"].opened_ms) == tried.field("opened")


def test_retention_finds_and_forgets_what_has_ended(ledger: AnyLedger) -> None:
    old, new = Tried(ledger, "old"), Tried(ledger, "new").start(in_group("a"))
    old.submit()
    ledger.conclude("old", "refused")
    assert ledger.finished_before(0.0, 10) == ["old"]
    assert ledger.finished_before(60.0, 10) == []
    ledger.forget("old")
    ledger.forget("new")  # has not ended
    assert new.state == "running"
    assert ledger.finished_before(0.0, 10) == []
    assert ledger.executions(limit=9) == ["new"]
    with pytest.raises(UnknownExecution):
        ledger.head("old")


@pytest.mark.parametrize("begun", [False, True])
def test_a_cancel_by_who_sends_nothing_is_due_at_once(ledger: AnyLedger, begun: bool) -> None:
    tried = Tried(ledger)
    tried.submit()
    if begun:
        tried.start(in_group("a"))
    ledger.due(9)
    ledger.cancel("E1", WRONG, undo=True)
    assert [item.id.partition("#")[0] for item in ledger.due(9)[0]] == ["rb:E1" if begun else "con:E1"]


def test_a_cancel_by_who_sends_itself_is_only_due_when_it_was_not_sent(ledger: AnyLedger) -> None:
    woken(ledger)
    Tried(ledger).start(in_group("a"))
    ledger.cancel("E1", WRONG, undo=True)
    assert "rb:E1" in Tried(ledger).sent()
    assert ledger.due(9)[0] == []


def test_an_execution_ends_as_it_was_decided(ledger: AnyLedger) -> None:
    tried = Tried(ledger)
    tried.submit()
    ledger.cancel("E1", WRONG, undo=True)
    # who was about to refuse it comes too late, and leaves the end to others
    assert not ledger.conclude("E1", "refused", error=WRONG)
    assert tried.sent() == ["con:E1"]
    assert ledger.conclude("E1", "cancelled")
    done = Tried(ledger, "E2").start()
    assert not ledger.conclude("E2", "failed")
    assert ledger.conclude("E2", "completed")
    assert (tried.state, done.state) == ("cancelled", "completed")
    assert tried.sent() == []


def test_what_is_still_being_published_is_postponed(ledger: AnyLedger) -> None:
    """Nobody publishes it a second time meanwhile; what was written again since is not meant."""
    Tried(ledger).start(in_group("a b"))
    make_due(ledger, "st:E1|0|0")
    (item,) = ledger.due(9)[0]
    assert 1500 < due_in_ms(ledger, "st:E1|0|0") <= 2000
    make_due(ledger, "st:E1|0|0")
    ledger.postpone("st:E1|0|0#77")
    assert due_in_ms(ledger, "st:E1|0|0") <= 0
    ledger.postpone(item.id)
    assert 1500 < due_in_ms(ledger, "st:E1|0|0") <= 2000
    make_due(ledger, "st:E1|0|0")
    ledger.postpone("st:E1|0|0")
    assert 1500 < due_in_ms(ledger, "st:E1|0|0") <= 2000
    ledger.strike([item.id])
    ledger.postpone(item.id)
    ledger.postpone("st:E1|0|0")
    assert "st:E1|0|0" not in outbox(ledger)


def test_postponing_brings_nothing_forward(ledger: AnyLedger) -> None:
    ledger.submit("E1", {}, delay_s=9)
    ledger.postpone("ex:E1")
    assert due_in_ms(ledger, "ex:E1") > 8000


def test_what_cannot_be_planned_is_given_up_after_some_times(ledger: AnyLedger) -> None:
    tried = Tried(ledger)
    assert not ledger.stumble("E1", "pending", WRONG, remaining=[], most=1)
    tried.submit()
    assert not ledger.stumble("E1", "rolling_back", WRONG, remaining=[], most=1)
    assert not ledger.stumble("E1", "pending", WRONG, remaining=[], most=2)
    assert (tried.state, tried.sent()) == ("pending", ["ex:E1"])
    assert ledger.stumble("E1", "pending", WRONG, remaining=[], most=2)
    assert not ledger.stumble("E1", "pending", WRONG, remaining=[], most=2)
    assert (tried.state, tried.sent(), tried.field("outcome")) == ("concluding", ["con:E1"], "failed")
    assert ledger.conclude("E1", "failed")
    assert '"wrong"' in (tried.field("error") or "")


def test_a_rollback_that_cannot_be_planned_is_given_up_after_some_times(ledger: AnyLedger) -> None:
    tried = Tried(ledger)
    tried.submit()
    ledger.stumble("E1", "pending", WRONG, remaining=[], most=2)
    tried.start(in_group("a"))
    tried.do("a", status="failed")
    left = [{"action": "a"}]
    assert not ledger.stumble("E1", "rolling_back", WRONG, remaining=left, most=2)  # each state has its own count
    assert "rb:E1" in tried.sent()
    assert ledger.stumble("E1", "rolling_back", WRONG, remaining=left, most=2)
    assert "rb:E1" not in tried.sent()
    assert (tried.state, tried.field("remaining")) == ("concluding", '[{"action": "a"}]')
    assert not tried.begin()
    other = Tried(ledger, "E2").start(in_group("a"))
    other.do("a", status="failed")
    other.begin(in_group("u"))
    assert not ledger.stumble("E2", "rolling_back", WRONG, remaining=[], most=1)  # it has begun
