"""A rollback waits for a person's choice; an execution goes on by one; a coordinator is asked and answers."""

import json
import threading

import pytest
from support.ledgers import WRONG, AnyLedger, Tried, in_group, in_sequence, step, woken

from executor.model.rollback import Chosen

OFFER = {"actions": {"a": {"wishes": ["undo", "keep"]}}, "default": "undo"}
AGAIN = Chosen(mechanism="guided", asked="guided", by="ann")


def offered(ledger: AnyLedger, wait_s: float = 60.0) -> Tried:
    tried = Tried(ledger).fail()
    assert ledger.offer("E1", OFFER, wait_s=wait_s)
    return tried


def test_an_offer_waits_for_a_person(ledger: AnyLedger) -> None:
    """It is shown to whoever asks, and the rollback is asked for again only when the time to choose is over."""
    tried = offered(ledger)
    before = ledger.due(9)[0]
    ledger.strike(item.id for item in before)
    told = ledger.offered("E1")
    assert told == {**OFFER, "choose_by_ms": int(tried.field("choose_by") or ""), "turn": tried.field("turn")}
    assert 59_000 < told["choose_by_ms"] - ledger.now_ms() <= 60_000
    assert "rb:E1" in tried.sent()
    assert ledger.due(9)[0] == []
    assert tried.field("waiting_for") == "a person chooses what is undone: rex rollback E1 --choose"
    waiting = ledger.events("E1")[-1]
    assert (waiting["event"], waiting["data"]) == ("rollback:waiting", {"wait_ms": 60_000, "offer": OFFER})


def test_an_offer_that_nobody_answers_is_decided_when_its_time_is_over(ledger: AnyLedger) -> None:
    """The outbox has the coordinator look again."""
    tried = offered(ledger, wait_s=0.0)
    assert [item.entry["task"] for item in ledger.due(9)[0]] == ["rollback.begin"]
    assert tried.begin(in_group("u"))
    assert (tried.field("offer"), tried.field("waiting_for"), ledger.offered("E1")) == (None, None, None)


def test_an_offer_is_made_once_and_only_before_the_rollback_begins(ledger: AnyLedger) -> None:
    """A second coordinator that comes with the same changes nothing."""
    assert not ledger.offer("E1", OFFER, wait_s=1.0)
    tried = Tried(ledger).start(in_group("a"))
    assert not ledger.offer("E1", OFFER, wait_s=1.0)
    tried.do("a", status="failed")
    assert ledger.offered("E1") is None
    assert ledger.offer("E1", OFFER, wait_s=60.0)
    before = tried.events()
    assert not ledger.offer("E1", {"actions": {}}, wait_s=1.0)
    assert (json.loads(tried.field("offer") or ""), tried.events()) == (OFFER, before)
    tried.begin(in_group("u"))
    assert not ledger.offer("E1", OFFER, wait_s=1.0)


def test_a_choice_counts_once(ledger: AnyLedger) -> None:
    """The same one sent again is one; another comes too late; the coordinator is asked at once."""
    tried = offered(ledger)
    assert tried.choose("c1", a="keep") == ("ok", "")
    assert [item.entry["task"] for item in ledger.due(9)[0]] == ["rollback.begin"]
    assert tried.choose("c1", a="keep") == ("ok", "")
    assert tried.choose("c2", a="undo") == ("refused", "chosen")
    assert ledger.offered("E1") is None
    assert json.loads(tried.field("choice") or "") == {"a": "keep"}
    assert tried.field("choice_by") == "ann"
    assert abs(int(tried.field("choice_at") or "") - ledger.now_ms()) < 5000
    assert ledger.events("E1")[-1]["data"] == {"by": "ann", "choices": {"a": "keep"}}
    assert tried.events().count("rollback:chosen") == 1
    tried.begin(in_group("u"))
    assert tried.choose("c1", a="keep") == ("ok", "")
    assert tried.choose("c2", a="keep") == ("refused", "rolling_back")


def test_who_sends_a_choice_himself_is_given_the_message(ledger: AnyLedger) -> None:
    """Only when it was not sent is it due for others."""
    tried = offered(ledger)
    woken(ledger)
    assert tried.choose(a="undo") == ("ok", "")
    assert "rb:E1" in tried.sent()
    assert ledger.due(9)[0] == []


@pytest.mark.parametrize("state", ["unknown", "running", "rolling_back", "failed"])
def test_a_choice_that_nobody_waits_for_is_refused(ledger: AnyLedger, state: str) -> None:
    """With the state; a rollback that offers nothing waits for none."""
    tried = Tried(ledger)
    if state == "running":
        tried.start(in_group("a"))
    elif state != "unknown":
        tried.fail()
        if state == "failed":
            ledger.offer("E1", OFFER, wait_s=0.0)
            tried.go_back(1)
    assert tried.choose(a="undo") == (("unknown", "") if state == "unknown" else ("refused", state))


def test_a_later_rollback_offers_anew(ledger: AnyLedger) -> None:
    """What was chosen for the one before is not chosen for this one."""
    tried = offered(ledger)
    tried.choose("c1", a="keep")
    tried.go_back(1)
    tried.reopen(mechanism="guided")
    assert tried.field("choice") is None
    assert ledger.offered("E1") is None
    assert ledger.offer("E1", OFFER, wait_s=60.0)
    assert ledger.offered("E1") is not None
    assert tried.choose("c2", a="undo") == ("ok", "")


def test_an_offer_that_could_not_be_worked_out_is_not_taken_up_later(ledger: AnyLedger) -> None:
    """The rollback that made it was given up; the next one makes its own."""
    tried = offered(ledger)
    assert ledger.stumble("E1", "rolling_back", WRONG, remaining=[], most=1)
    ledger.conclude("E1", "failed", rollback="failed")
    tried.reopen(mechanism="guided")
    assert ledger.offered("E1") is None
    assert ledger.offer("E1", {**OFFER, "default": "keep"}, wait_s=60.0)


def test_an_execution_goes_on_with_exactly_the_named_actions(ledger: AnyLedger) -> None:
    """They are as if they had not been tried; the others stay as they ended; then the stage goes on to the end."""
    tried = Tried(ledger).start(in_group("a b c"), in_group("d"))
    tried.settle(tried.claim("a"), effect="completed", result=7)
    held = tried.claim("c")
    tried.settle(tried.claim("b"), "failed", effect="started", nonce="late")
    tried.settle(held, "cancelled")
    done = tried.row("a")
    assert ledger.resume("E1", AGAIN, ["b", "c"], timeout_s=60.0)
    assert (tried.state, tried.field("left"), tried.field("mode")) == ("running", "2", "")
    assert [tried.field(name) for name in ("error", "rb_started", "offer", "waiting_for")] == [None] * 4
    assert tried.row("a") == done
    for name in ("b", "c"):
        row = tried.row(name)
        assert (row["status"], row["token"], row["nonce"]) == ("ready", "", "")
        assert not {"outcome", "finished", "fatal", "attempt", "settled"} & row.keys()
    assert tried.row("b")["effect"] == "started"  # what the first try left is still to be taken back
    assert "st:E1|0|0" in tried.sent()
    assert "rb:E1" not in tried.sent()
    assert tried.settle(held, nonce="late").verdict == "stale"
    assert tried.claim("b").attempt == 1
    assert (tried.answer("c"), tried.answer("a")) == ("run", "done")
    resumed = next(event for event in ledger.events("E1") if event["event"] == "execution:resumed")
    assert resumed["data"] == {"by": "ann", "actions": 2}


def test_one_that_went_on_completes(ledger: AnyLedger) -> None:
    """As if nothing had failed, with the stages that follow."""
    tried = Tried(ledger).start(in_sequence("a b"), in_group("c"))
    tried.do("a")
    tried.do("b", status="failed")
    assert tried.answer("a", "b") == "failed"
    ledger.resume("E1", AGAIN, ["b"], timeout_s=60.0)
    tried.do("b")
    assert ledger.advance("E1", 0, 0)
    tried.do("c")
    assert ledger.advance("E1", 0, 1)
    assert ledger.conclude("E1", "completed")
    assert (tried.state, tried.field("error")) == ("completed", None)
    assert ledger.events("E1")[-1]["data"]["success"]


def test_one_that_went_on_and_fails_again_is_taken_back_again(ledger: AnyLedger) -> None:
    """A person is asked again: what was chosen the first time has been done."""
    tried = offered(ledger)
    tried.choose("c1", b="retry")
    assert ledger.resume("E1", AGAIN, ["b"], timeout_s=60.0)
    tried.do("b", status="failed")
    assert (tried.state, tried.field("outcome")) == ("rolling_back", "failed")
    assert "rb:E1" in tried.sent()
    assert (tried.field("choice"), tried.field("offer")) == (None, None)
    assert ledger.offer("E1", OFFER, wait_s=60.0)
    assert tried.choose("c2", a="undo") == ("ok", "")
    assert tried.choose("c1", b="retry") == ("refused", "chosen")
    tried.go_back(1)
    assert tried.events().count("rollback:started") == 2


@pytest.mark.parametrize("named", [True, False])
def test_a_failure_that_is_tried_again_is_borne_no_more(ledger: AnyLedger, named: bool) -> None:
    """It neither counts twice, nor where it then succeeds."""
    steps = [step("a", on_failure="continue"), step("b"), step("c", on_failure="continue")]
    tried = Tried(ledger).start(in_group(steps), max_failures=1)
    tried.do("a", "b", status="failed")
    assert tried.field("failures") == "1"
    assert ledger.resume("E1", AGAIN, ["a", "b", "c"] if named else ["b", "c"], timeout_s=60.0)
    assert tried.field("failures") == ("0" if named else "1")
    tried.do("b")
    if named:
        tried.do("a", status="failed")
    assert tried.state == "running"
    assert tried.settle(tried.claim("c"), "failed").verdict == "fatal"


def test_one_that_went_on_has_its_time_anew(ledger: AnyLedger) -> None:
    """And is stopped when that is over."""
    tried = Tried(ledger).fail()
    ledger.resume("E1", AGAIN, ["b"], timeout_s=0.0)
    assert ledger.overdue_executions() == ["E1"]
    assert ledger.overdue("E1", WRONG)
    assert (tried.state, tried.field("outcome")) == ("rolling_back", "failed")


def test_only_what_is_about_to_be_taken_back_goes_on(ledger: AnyLedger) -> None:
    """Not one that runs, nor one whose rollback has begun or ended, nor one of a rollback before."""
    tried = Tried(ledger).start(in_group("a b"))
    assert not ledger.resume("nobody", AGAIN, ["b"], timeout_s=1.0)
    assert not ledger.resume("E1", AGAIN, ["b"], timeout_s=1.0)
    tried.do("a")
    tried.do("b", status="failed")
    tried.begin(in_group("u"))
    assert not ledger.resume("E1", AGAIN, ["b"], timeout_s=1.0)
    tried.do("u", generation=1)
    ledger.advance("E1", 1, 0)
    ledger.conclude("E1", "failed", rollback="completed")
    assert not ledger.resume("E1", AGAIN, ["b"], timeout_s=1.0)
    tried.reopen()
    assert not ledger.resume("E1", AGAIN, ["b"], timeout_s=1.0)  # its stages are those of a way back
    assert (tried.state, tried.status("b")) == ("rolling_back", "failed")


def test_one_that_goes_on_waits_for_slots_as_before(ledger: AnyLedger) -> None:
    """No slot and no place in a queue is left from the time before."""
    tried = Tried(ledger).start(in_group("a b c"), parallel=1)
    held = tried.claim("a")
    assert tried.answer("b") == "park"
    tried.settle(held, "failed")
    assert ledger.resume("E1", AGAIN, ["a", "b", "c"], timeout_s=60.0)
    held = tried.claim("c")
    assert (tried.answer("a"), tried.answer("b")) == ("park", "park")
    woken(ledger)
    tried.settle(held)
    assert "a" in woken(ledger)
    tried.do("a", "b")
    assert ledger.advance("E1", 0, 0)


def test_a_coordinator_is_asked_until_it_answers(ledger: AnyLedger) -> None:
    """The question stands in the outbox; the answer is taken once."""
    tried = Tried(ledger)
    assert not ledger.ask("E1", "rollback.preview", {}, "k1")
    tried.submit()
    ledger.strike(item.id for item in ledger.due(9)[0])
    assert ledger.ask("E1", "rollback.preview", {"mechanism": None}, "k1")
    assert ledger.ask("E1", "rollback.preview", {"mechanism": None}, "k1")
    (asked,) = ledger.due(9)[0]
    *args, asked_ms = asked.entry.pop("args")
    assert asked.entry == {"kind": "task", "task": "rollback.preview", "id": "k1"}
    assert args == ["E1", {"mechanism": None}, "k1"]
    assert abs(asked_ms - ledger.now_ms()) < 5000  # so that an answer that comes too late is not worked out
    assert tried.sent() == ["ask:k1"]
    ledger.reply("k1", {"steps": []})
    assert tried.sent() == []
    assert ledger.answer("k1", 1.0) == {"steps": []}
    assert ledger.answer("k1", 0.01) is None
    assert ledger.answer("k2", 0.01) is None
    assert tried.state == "pending"


def test_who_waits_for_an_answer_is_woken_by_it(ledger: AnyLedger) -> None:
    """It may come long after the question."""
    Tried(ledger).complete()
    found: list[object] = []
    waits = threading.Thread(target=lambda: found.append(ledger.answer("k1", 20.0)))
    waits.start()
    ledger.reply("k1", {"steps": [1]})
    waits.join(20.0)
    assert found == [{"steps": [1]}]


@pytest.mark.parametrize(
    ("status", "effect", "idempotent", "probes"),
    [
        ("cancelled", "unknown", False, True),
        ("cancelled", "completed", False, True),
        ("cancelled", "started", False, False),
        ("cancelled", "none", False, False),
        ("cancelled", "unknown", True, False),
        ("failed", "unknown", False, False),
    ],
)
def test_what_was_broken_off_and_may_not_run_twice_is_asked_for_first(
    ledger: AnyLedger, status: str, effect: str, idempotent: bool, probes: bool
) -> None:
    """What failed a person has looked at, and wants it tried again."""
    tried = Tried(ledger).start(in_group([step("a", idempotent=idempotent), step("b")]))
    held = tried.claim("a")
    tried.do("b", status="failed")
    tried.settle(held, status, effect=effect)
    assert ledger.resume("E1", AGAIN, ["a", "b"], timeout_s=60.0)
    claimed = tried.claim("a")
    assert (claimed.probe, claimed.attempt) == (probes, 1)
