"""An execution is taken back in several goes: begun, and asked for again after its end."""

import json

import pytest
from support.ledgers import WRONG, AnyLedger, Tried, abandoned, in_group, step, woken

from executor.ledger.memory import MemoryLedger
from executor.model.errors import UnknownExecution
from executor.model.rollback import STILL_AT_IT, Chosen

SNAPSHOT = Chosen(mechanism="snapshot", asked="snapshot", kept=("a",))


def test_a_rollback_says_what_was_chosen_and_what_is_left(ledger: AnyLedger) -> None:
    """What the plan was made by stands with the execution, and in the event."""
    tried = Tried(ledger).fail()
    left = [{"action": "b", "reason": "no way back"}]
    assert tried.begin(in_group("u"), chosen=SNAPSHOT, remaining=left, timeout_s=7.5)
    assert json.loads(tried.field("chosen") or "") == SNAPSHOT.model_dump(mode="json")
    assert json.loads(tried.field("remaining") or "") == left
    assert (tried.field("gen"), tried.field("last"), tried.field("rb_timeout")) == ("1", "1", "7500")
    assert not tried.begin(in_group("w"), generation=1)  # one at a time
    assert tried.answer("u", generation=1) == "run"
    planned = next(event for event in ledger.events("E1") if event["event"] == "rollback:planned")
    assert planned["data"] == {"steps": 1, "chosen": SNAPSHOT.model_dump(mode="json")}


def test_each_rollback_is_a_generation_of_its_own(ledger: AnyLedger) -> None:
    """The second one begins again from the state of the way forward, and the first one stays as it was."""
    tried = Tried(ledger).fail()
    tried.go_back(1, "failed", rollback="partial")
    assert tried.reopen() == ("ok", "")
    assert (tried.state, tried.field("gen"), tried.field("last")) == ("rolling_back", "0", "1")
    assert not tried.begin(in_group("u"), generation=1)
    tried.go_back(2)
    assert (tried.state, tried.field("gen"), tried.field("last")) == ("failed", "2", "2")
    assert [tried.status("u", generation) for generation in (1, 2)] == ["failed", "succeeded"]
    assert ledger.plan("E1", 2) is not None
    assert ledger.plan("E1", 3) is None
    assert tried.field("rb_status") == "completed"
    assert tried.events().count("rollback:started") == 2


def test_what_has_ended_is_open_again_when_it_is_taken_back(ledger: AnyLedger) -> None:
    """It stands among those that run, retention does not see it, and somebody is asked to plan."""
    tried = Tried(ledger).complete()
    assert ledger.executions(limit=5, finished=False) == []
    assert ledger.finished_before(0.0, 5) == ["E1"]
    assert tried.reopen(mechanism="partial", actions=("a",), force=True) == ("ok", "")
    assert ledger.executions(limit=5, finished=False) == ["E1"]
    assert ledger.finished_before(0.0, 5) == []
    assert [item.entry["task"] for item in ledger.due(9)[0]] == ["rollback.begin"]
    assert tried.field("finished") is None
    request = json.loads(tried.field("request") or "")
    assert (request["mechanism"], request["actions"], request["force"], request["by"]) == (
        "partial",
        ["a"],
        True,
        "ann",
    )
    started = ledger.events("E1")[-1]
    assert started["event"] == "rollback:started"
    assert started["data"]["reason"] == {"type": "Requested", "message": "asked for by ann", "action": None}
    ledger.forget("E1")
    assert tried.state == "rolling_back"


@pytest.mark.parametrize("found", [True, False])
def test_what_somebody_may_still_be_at_is_not_taken_back(ledger: AnyLedger, found: bool) -> None:
    """A worker whose action was taken over, and whom nobody reaches, may go on until its deadline."""
    tried = Tried(ledger).start(in_group([step("a", idempotent=True, timeout_s=30.0), step("b")]))
    tried.claim("a")
    ledger.fence("w1")
    lease = ("E1", 0, "a")
    assert ledger.expire("w1", lease, sure=False, error=WRONG) == "ok"
    tried.do("a", "b", holder="w2")
    assert ledger.advance("E1", 0, 0)
    assert ledger.conclude("E1", "completed")
    assert ledger.expire("w1", lease, sure=False, error=WRONG) == "later"
    assert tried.reopen() == ("refused", STILL_AT_IT)
    assert (tried.state, tried.events()[-1]) == ("completed", "execution:completed")
    if found:
        assert ledger.expire("w1", lease, sure=True, error=WRONG) == "gone"
    else:
        end_ghosts(ledger)
    assert tried.reopen() == ("ok", "")
    tried.go_back_empty("rolled_back")
    assert ledger.expire("w1", lease, sure=False, error=WRONG) == "gone"
    assert ledger.leases("w1") == []


def end_ghosts(ledger: AnyLedger) -> None:
    """The deadlines of those whose actions were taken over go by."""
    if isinstance(ledger, MemoryLedger):
        ghosts = ledger._store.executions["E1"].ghosts
        ghosts.update(dict.fromkeys(ghosts, 0))
    else:
        name = ledger._key("ghost", "E1")
        ledger._client.hset(name, mapping=dict.fromkeys(ledger._client.hkeys(name), 0))


def test_who_sends_himself_is_given_the_message(ledger: AnyLedger) -> None:
    """Only when it was not sent is it due for others."""
    woken(ledger)
    tried = Tried(ledger).complete()
    tried.reopen()
    assert "rb:E1" in tried.sent()
    assert ledger.due(9)[0] == []


def test_asked_twice_with_one_key_is_asked_once(ledger: AnyLedger) -> None:
    """The first answer may be lost: while it is taken back and after, the same request is answered the same."""
    tried = Tried(ledger).complete()
    assert tried.reopen("k1") == ("ok", "")
    events = tried.events()
    assert tried.reopen("k1") == ("ok", "")
    assert tried.reopen("k2") == ("refused", "rolling_back")
    assert tried.events() == events
    tried.go_back(1, outcome="rolled_back")
    assert tried.reopen("k1") == ("ok", "")
    assert tried.state == "rolled_back"
    assert tried.reopen("k2") == ("ok", "")
    assert tried.state == "rolling_back"


def test_a_cancelled_one_that_is_taken_back_again_cannot_be_cancelled(ledger: AnyLedger) -> None:
    """It was cancelled before; that a cancel was asked for then is no answer now."""
    tried = Tried(ledger).start(in_group("a"))
    assert ledger.cancel("E1", WRONG, undo=True) == ("ok", "")
    tried.go_back_empty("cancelled")
    tried.reopen()
    assert ledger.cancel("E1", WRONG, undo=True) == ("refused", "rolling_back")


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "rolling_back", "concluding"])
def test_what_has_not_ended_is_not_taken_back_later(ledger: AnyLedger, state: str) -> None:
    """The answer names the state."""
    tried = Tried(ledger)
    tried.submit()
    if state != "pending":
        tried.start(in_group("a b"))
    if state in ("stopping", "rolling_back"):
        held = tried.claim("a")
        ledger.cancel("E1", WRONG, undo=True)
        if state == "rolling_back":
            tried.settle(held, "cancelled")
    if state == "concluding":
        tried.do("a", "b")
        ledger.advance("E1", 0, 0)
    assert tried.state == state
    before = tried.events()
    assert tried.reopen() == ("refused", state)
    assert (tried.state, tried.events()) == (state, before)


@pytest.mark.parametrize("status", ["refused", "cancelled"])
def test_what_never_ran_has_nothing_to_take_back(ledger: AnyLedger, status: str) -> None:
    """Whether it was refused, or cancelled before its plan was made."""
    tried = Tried(ledger)
    assert tried.reopen() == ("unknown", "")
    tried.submit()
    if status == "cancelled":
        ledger.cancel("E1", WRONG, undo=True)
    assert ledger.conclude("E1", status)
    assert tried.reopen() == ("refused", status)
    assert ledger.executions(limit=5, finished=False) == []


def test_a_completed_one_ends_as_rolled_back(ledger: AnyLedger) -> None:
    """And no other end is taken; taken back once more it stays rolled back."""
    tried = Tried(ledger).complete()
    tried.reopen("k1")
    tried.begin()
    assert not ledger.conclude("E1", "failed")
    assert ledger.conclude("E1", "rolled_back", rollback="partial")
    tried.reopen("k2")
    assert tried.field("rb_status") is None
    tried.go_back(2, outcome="rolled_back")
    assert (tried.state, tried.events()[-1]) == ("rolled_back", "execution:rolled_back")


def test_a_completed_one_of_which_nothing_was_taken_back_stays_completed(ledger: AnyLedger) -> None:
    """A person asked, and then kept everything; one that failed does not complete by that."""
    tried = Tried(ledger).complete()
    tried.reopen("k1")
    tried.begin()
    assert ledger.conclude("E1", "completed", rollback="completed")
    assert (tried.state, tried.events()[-1]) == ("completed", "execution:completed")
    failed = Tried(ledger, "E2").fail()
    failed.begin()
    assert not ledger.conclude("E2", "completed")


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_one_that_did_not_complete_ends_as_before(ledger: AnyLedger, outcome: str) -> None:
    """Taking it back does not change how it ended, nor its error."""
    tried = Tried(ledger).start(in_group("a"))
    if outcome == "failed":
        tried.do("a", status="failed")
    else:
        ledger.cancel("E1", WRONG, undo=True)
    error = tried.field("error")
    tried.go_back_empty(outcome)
    assert tried.reopen() == ("ok", "")
    assert not tried.begin(in_group("u"), generation=7)
    tried.begin()
    assert not ledger.conclude("E1", "rolled_back")
    assert ledger.conclude("E1", outcome, rollback="completed")
    assert (tried.state, tried.field("error")) == (outcome, error)


def test_one_without_rollback_can_be_taken_back_on_request(ledger: AnyLedger) -> None:
    """What the strategy does not want by itself a person may want later."""
    tried = Tried(ledger).start(in_group("a"), rollback="none")
    tried.do("a", status="failed")
    assert ledger.conclude("E1", "failed", rollback="disabled")
    tried.reopen()
    tried.go_back(1)
    assert (tried.state, tried.field("rb_status")) == ("failed", "completed")


def test_forgetting_takes_every_generation_along(ledger: AnyLedger) -> None:
    """Nothing of any way back is left, and the id may be used anew."""
    tried = Tried(ledger).fail()
    tried.go_back(1)
    tried.reopen()
    tried.go_back(2)
    ledger.forget("E1")
    with pytest.raises(UnknownExecution):
        ledger.head("E1")
    assert tried.submit()
    for generation in range(3):
        assert ledger.plan("E1", generation) is None
        assert ledger.steps("E1", generation) == {}
        assert ledger.actions("E1", generation, ["a", "u"]) == {"a": {}, "u": {}}


def test_late_messages_of_older_generations_do_no_harm(ledger: AnyLedger) -> None:
    """Each is answered: done, failed, cancelled or unknown; nothing of them runs."""
    tried = Tried(ledger).fail()
    undos = [step(name, on_failure="continue") for name in ("u1", "u2")]
    tried.begin(in_group(undos), timeout_s=0.0)
    held = tried.claim("u1", generation=1)
    ledger.overdue("E1", WRONG)
    tried.settle(held, "cancelled")
    ledger.conclude("E1", "failed", rollback="partial")
    tried.reopen()
    answers = {g: [tried.answer(name, generation=g) for name in ("u1", "u2")] for g in (1, 2)}
    assert answers == {1: ["done", "cancelled"], 2: ["unknown", "unknown"]}
    tried.begin(in_group(undos))
    assert [tried.answer(name) for name in ("a", "b")] == ["done", "failed"]
    assert [tried.answer(name, generation=1) for name in ("u1", "u2")] == ["done", "cancelled"]
    assert tried.settle(held).verdict == "stale"
    assert not ledger.advance("E1", 1, 0)
    assert ledger.touch("E1", 1, ["u2"]) == []
    assert abandoned(ledger, "E1", 1, "u2", wait_s=0.0) == "noop"
    assert (tried.state, tried.field("left")) == ("rolling_back", "2")
    tried.do("u1", "u2", generation=2)
    assert ledger.advance("E1", 2, 0)


def test_a_token_of_the_rollback_is_worth_nothing_once_it_was_raised(ledger: AnyLedger) -> None:
    """A worker that comes back from the dead can neither settle nor write an undo record."""
    tried = Tried(ledger).fail()
    tried.begin(in_group("u"))
    zombie = tried.claim("u", generation=1)
    ledger.expire("w1", ("E1", 1, "u"), sure=True, error=WRONG)
    assert not ledger.record_undo(zombie, {"data": 1})
    assert tried.settle(zombie).verdict == "stale"
    second = tried.claim("u", generation=1, holder="w2")
    assert second.probe
    assert tried.settle(zombie).verdict == "stale"
    assert tried.settle(second, holder="w2").verdict == "ok"


def test_what_is_being_taken_back_cannot_be_cancelled(ledger: AnyLedger) -> None:
    """Not before its plan, not while it runs, with or without undo."""
    tried = Tried(ledger).complete()
    tried.reopen()
    for _ in range(2):
        assert ledger.cancel("E1", WRONG, undo=True) == ("refused", "rolling_back")
        assert ledger.cancel("E1", WRONG, undo=False) == ("refused", "rolling_back")
        tried.begin(in_group("u"))
    assert tried.answer("u", generation=1) == "run"
