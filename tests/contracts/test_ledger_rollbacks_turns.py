"""What a coordinator plans, or a person answers, holds for what was read: a later turn makes it void."""

import pytest
from support.ledgers import CHOSEN, AnyLedger, Tried, due_in_ms, in_group

from executor.ledger.memory import MemoryLedger
from executor.model.errors import UnknownExecution
from executor.model.plan import Plan
from executor.model.rollback import Choices, Chosen

OFFER = {"actions": {"b": {"wishes": ["undo", "keep", "retry"]}}, "default": "undo"}
AGAIN = Chosen(mechanism="guided", asked="guided", by="ann")


def turn(tried: Tried) -> int:
    return int(tried.field("turn") or "0")


def test_whatever_has_a_coordinator_look_again_is_a_turn(ledger: AnyLedger) -> None:
    """And nothing else: not the rollback itself, nor its end."""
    tried = Tried(ledger).start(in_group("a b"))
    tried.do("a")
    turns = [turn(tried)]
    tried.do("b", status="failed")
    turns.append(turn(tried))
    ledger.offer("E1", OFFER, wait_s=60.0)
    turns.append(turn(tried))
    tried.choose("c1", b="retry")
    turns.append(turn(tried))
    ledger.resume("E1", AGAIN, ["b"], timeout_s=60.0)
    turns.append(turn(tried))
    tried.do("b", status="failed")
    turns.append(turn(tried))
    tried.go_back(1)
    turns.append(turn(tried))
    tried.reopen()
    turns.append(turn(tried))
    assert turns == [0, 1, 2, 3, 4, 5, 5, 6]
    tried.reopen()  # sent again
    assert turn(tried) == 6


def test_what_was_planned_for_another_turn_begins_nothing(ledger: AnyLedger) -> None:
    """Nothing changes, and the coordinator is asked on; without a turn it is not looked at."""
    tried = Tried(ledger).fail()
    before, sent = ledger.head("E1"), tried.sent()
    late = str(turn(tried) - 1)
    more = {"remaining": [], "timeout_s": 60.0, "chosen": CHOSEN}
    assert not ledger.begin_rollback("E1", 0, Plan(stages=()), {}, **more, turn=late)
    assert not ledger.offer("E1", OFFER, wait_s=60.0, turn=late)
    assert not ledger.resume("E1", AGAIN, ["b"], timeout_s=60.0, turn=late)
    assert (ledger.head("E1"), tried.sent(), tried.status("b")) == (before, sent, "failed")
    assert "rb:E1" in sent
    assert ledger.offer("E1", OFFER, wait_s=60.0, turn=str(turn(tried)))
    assert ledger.resume("E1", AGAIN, ["b"], timeout_s=60.0, turn=str(turn(tried)))
    tried.do("b", status="failed")
    assert ledger.begin_rollback("E1", 0, Plan(stages=()), {}, **more, turn=str(turn(tried)))


def test_a_choice_answers_one_offer(ledger: AnyLedger) -> None:
    """It failed again meanwhile: what was chosen for the first failure is not chosen for this one."""
    tried = Tried(ledger).fail()
    ledger.offer("E1", OFFER, wait_s=60.0)
    first = ledger.offered("E1")
    tried.choose("c1", b="retry")
    ledger.resume("E1", AGAIN, ["b"], timeout_s=60.0)
    tried.do("b", status="failed")
    ledger.offer("E1", OFFER, wait_s=60.0)
    second = ledger.offered("E1")
    assert first is not None
    assert second is not None
    answer = Choices(choices={"b": "undo"}, by="ann", key="c2", turn=first["turn"])
    assert ledger.choose("E1", answer) == ("refused", "another")
    assert tried.field("choice") is None
    assert ledger.choose("E1", answer.model_copy(update={"turn": second["turn"]})) == ("ok", "")


def test_a_choice_after_its_time_is_late(ledger: AnyLedger) -> None:
    """A coordinator may be planning already what is configured."""
    tried = Tried(ledger).fail()
    ledger.offer("E1", OFFER, wait_s=0.0)
    before = ledger.head("E1")
    assert tried.choose(b="keep") == ("refused", "late")
    assert ledger.head("E1") == before


def test_one_that_an_earlier_release_took_back_is_not_taken_back_over_that(ledger: AnyLedger) -> None:
    """It wrote no number of the last way back: that is the one which was open."""
    tried = Tried(ledger).fail()
    tried.go_back(1)
    if isinstance(ledger, MemoryLedger):
        del ledger._store.executions["E1"].fields["last"]
    else:
        ledger._client.hdel(ledger._key("x", "E1"), "last")
    assert tried.reopen() == ("ok", "")
    assert (tried.field("gen"), tried.field("last")) == ("0", "1")
    tried.go_back(2)
    assert (tried.status("u", 1), tried.status("u", 2)) == ("succeeded", "succeeded")


def test_one_that_is_being_forgotten_is_not_taken_back_any_more(ledger: AnyLedger) -> None:
    """Its data is going; who forgets it may have died on the way, where that takes more than one step."""
    tried = Tried(ledger).complete()
    if not isinstance(ledger, MemoryLedger):
        assert ledger._call("retire", "E1")[0] == "ok"
        assert tried.reopen() == ("unknown", "")
        assert tried.state == "completed"
    ledger.forget("E1")
    assert tried.reopen() == ("unknown", "")
    with pytest.raises(UnknownExecution):
        ledger.head("E1")


def test_one_that_was_taken_up_again_is_not_forgotten(ledger: AnyLedger) -> None:
    """However old it is; nor is it marked."""
    tried = Tried(ledger).complete()
    tried.reopen()
    ledger.forget("E1")
    assert (tried.state, tried.field("forgetting")) == ("rolling_back", None)


def test_a_question_is_sent_again_when_a_plan_would_be_made(ledger: AnyLedger) -> None:
    """A long one takes its time: it is not asked for twice."""
    Tried(ledger).submit()
    sends = ledger.outlet
    ledger.outlet = sends or Nothing()
    assert ledger.ask("E1", "rollback.preview", {}, "k1")
    assert 4000 < due_in_ms(ledger, "ask:k1") <= 6000


class Nothing:
    """An outlet that loses everything."""

    def send(self, outgoing: object) -> None:
        """As if it had been sent."""
