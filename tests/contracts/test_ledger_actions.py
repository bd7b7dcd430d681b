"""An action is claimed by one holder, settled by its token, and answered alike ever after."""

import json

import pytest
from support.ledgers import WRONG, AnyLedger, Tried, in_group, in_sequence, step

from executor.model.execution import Answer, Claimed
from executor.model.plan import Reads


def test_a_claim_hands_over_what_the_action_reads_and_no_more(ledger: AnyLedger) -> None:
    b = step("b", reads=Reads(actions=("a", "never"), inputs=True), device="edge-2")
    tried = Tried(ledger).start(in_sequence([step("a"), b]), inputs={"n": [{}]}, context={"secret": 1})
    a = tried.claim("a")
    assert (a.attempt, a.probe, a.strategy, a.inputs, a.context, a.reads) == (1, False, "repair", {}, {}, {})
    tried.settle(a, result={"big": 2**80, "empty": [], "none": {}})
    got = tried.claim("b")
    assert got.step == b
    assert (got.inputs, got.context) == ({"n": [{}]}, {})
    assert got.reads["a"] == {
        "status": "succeeded",
        "result": {"big": 2**80, "empty": [], "none": {}},
        "error": None,
        "device": "edge-1",
        "attempts": 1,
    }
    assert got.reads["never"] == {"status": "pending", "result": None, "error": None, "device": None, "attempts": 0}


def test_the_same_claim_made_again_gets_the_same_answer(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    first = tried.claim("a", nonce="x")
    assert tried.claim("a", nonce="x") == first
    assert tried.events().count("execution:action:started") == 1


def test_the_same_settlement_made_again_gets_the_same_answer(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_sequence("a b c"))
    a = tried.claim("a", "b", "c")
    first = tried.settle(a, nonce="s", then=["b", "c"], next_nonce="t")
    again = tried.settle(a, nonce="s", then=["b", "c"], next_nonce="t")
    assert isinstance(first.following, Claimed)
    assert again == first
    assert tried.field("left") == "2"
    assert tried.events().count("execution:action:completed") == 1


@pytest.mark.parametrize("status", ["retry", "failed"])
def test_a_repeated_settlement_of_each_kind(ledger: AnyLedger, status: str) -> None:
    tried = Tried(ledger).start(in_group("a b"))
    a = tried.claim("a")
    assert tried.settle(a, status, nonce="s", delay_s=9) == tried.settle(a, status, nonce="s", delay_s=9)
    assert tried.settle(a, status, nonce="other").verdict == "stale"


def test_what_was_not_claimed_with_this_token_is_stale(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    zombie = tried.claim("a")
    ledger.fence("w1")
    ledger.expire("w1", ("E1", 0, "a"), sure=True, error=WRONG)
    now = tried.claim("a", holder="w2")
    assert tried.settle(zombie).verdict == "stale"
    assert not ledger.record_undo(zombie, {"data": "zombie"})
    ledger.progress(zombie, 0.5, "zombie")
    assert "undo" not in tried.row("a")
    assert "execution:action:progress" not in tried.events()
    assert tried.settle(now, holder="w2").verdict == "ok"
    assert tried.settle(now, holder="w2").verdict == "stale"


def test_a_final_action_is_answered_alike_for_ever(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b c"))
    tried.do("a")
    assert tried.ask("a") == Answer("done")
    assert tried.claim("a", "b").step.id == "b"  # the first that is not final
    assert tried.answer("a") == "done"


def test_a_fused_message_goes_on_in_the_call_that_settles(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_sequence("a b"))
    got = tried.settle(tried.claim("a", "b"), then=["b"])
    assert isinstance(got.following, Claimed)
    assert got.following.step.id == "b"
    got = tried.settle(got.following, then=[])
    assert (got.verdict, got.following) == ("ok", None)


def test_a_sequence_keeps_its_order(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_sequence("a b"))
    assert tried.answer("b") == "early"
    held = tried.claim("a")
    assert tried.answer("b") == "early"
    tried.settle(held)
    assert tried.answer("b") == "run"


def test_what_runs_elsewhere_parks_and_comes_again_when_its_holder_dies(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    tried.claim("a")
    assert tried.answer("a", holder="w2", park=False) == "signature"
    assert tried.answer("a", holder="w2") == "park"
    assert tried.answer("a", holder="w3") == "park"  # one parking place collapses duplicates
    assert ledger.waiting("E1", 0, ["a"]) == {"a"}
    ledger.strike(item.id for item in ledger.due(9)[0])
    ledger.fence("w1")
    assert ledger.expire("w1", ("E1", 0, "a"), sure=True, error=WRONG) == "ok"
    assert "p:E1|0|a" in tried.sent()
    assert tried.claim("a", holder="w2").probe


def test_a_parked_duplicate_goes_with_its_action(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    held = tried.claim("a")
    tried.ask("a", holder="w2")
    tried.settle(held)
    assert ledger.waiting("E1", 0, ["a"]) == set()


def test_undo_records_keep_the_first(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    first = tried.claim("a")
    assert first.undo is None
    assert ledger.record_undo(first, {"data": {"old": "1"}})
    assert ledger.record_undo(first, {"data": {"old": "2"}})
    assert ledger.record_undo(first, {"data": {"other": "3"}}, of_fallback=True)
    assert tried.row("a")["undo"] == '{"data": {"old": "1"}}'
    assert tried.row("a")["undo_fallback"] == '{"data": {"other": "3"}}'
    tried.settle(first, "retry")
    ledger.due(9)
    assert tried.claim("a").undo == {"data": {"old": "1"}}


def test_who_takes_over_learns_that_the_fallback_had_begun(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    first = tried.claim("a")
    assert first.undo_fallback is None
    assert ledger.record_undo(first, {"data": None, "target": ""}, of_fallback=True)
    assert tried.row("a")["effect_fallback"] == "unknown"
    ledger.expire("w1", ("E1", 0, "a"), sure=True, error=WRONG)
    second = tried.claim("a", holder="w2")
    assert (second.probe, second.undo_fallback) == (True, {"data": None, "target": ""})
    tried.settle(second, holder="w2", marks={"effect_fallback": "completed"})
    assert tried.row("a")["effect_fallback"] == "completed"


def test_a_record_of_the_action_itself_says_nothing_of_its_fallback(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    ledger.record_undo(tried.claim("a"), {"data": 1})
    assert "effect_fallback" not in tried.row("a")


def test_a_compensation_is_given_what_it_takes_back(ledger: AnyLedger) -> None:
    undo = [step("a-back", undoes="a"), step("b-back", undoes="b"), step("f-back", undoes="a", of_fallback=True)]
    tried = Tried(ledger).start(in_group("a b"))
    a, b = tried.claim("a"), tried.claim("b")
    ledger.record_undo(a, {"data": "was"})
    ledger.record_undo(a, {"data": "else"}, of_fallback=True)
    tried.settle(a, result={"made": 7}, effect="completed")
    tried.settle(b, "failed", effect="started")
    tried.begin(in_group(undo))
    got = {name: tried.claim(name, generation=1).undone for name in ("a-back", "b-back", "f-back")}
    assert got["a-back"] == {"result": {"made": 7}, "error": None, "snapshot": {"data": "was"}}
    assert got["b-back"] == {"result": None, "error": WRONG, "snapshot": None}
    assert got["f-back"]["snapshot"] == {"data": "else"}


def test_effects_only_get_worse_and_a_record_is_none(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b"))
    a = tried.claim("a")
    ledger.record_undo(a, {"data": 1})
    tried.settle(a, "retry", effect="started")
    assert tried.row("a")["effect"] == "started"  # what the attempt says, not a guess made before it
    ledger.due(9)
    tried.settle(tried.claim("a"), "retry", effect="completed")
    ledger.due(9)
    tried.claim("a")
    ledger.fence("w1")
    ledger.expire("w1", ("E1", 0, "a"), sure=True, error=WRONG)
    assert tried.row("a")["effect"] == "completed"


def test_marks_are_kept_with_the_action(ledger: AnyLedger) -> None:
    marks = {"degraded": "1", "failure": json.dumps({"x": "\ud800"}), "other": "\x00 ☃ \udc80"}
    tried = Tried(ledger).start(in_sequence("a b"))
    got = tried.settle(tried.claim("a"), marks=marks, then=["b"])
    assert isinstance(got.following, Claimed)
    assert {name: tried.row("a")[name] for name in marks} == marks


def test_results_come_back_as_they_went_in(ledger: AnyLedger) -> None:
    result = {"nul": "\x00", "emoji": "🦖", "huge": 10**40, "tiny": 1e-300, "e": [], "o": {}, "s": "x" * 256_000}
    tried = Tried(ledger).start(in_group("a"))
    tried.settle(tried.claim("a"), result=result)
    assert tried.row("a")["outcome"] == '{"result":' + json.dumps(result) + "}"
    assert ledger.events("E1")[-1]["data"]["result"] == result


def test_a_result_that_is_no_json_is_refused_before_anything_is_written(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    held = tried.claim("a")
    with pytest.raises(ValueError, match="JSON"):
        tried.settle(held, result=float("nan"))
    with pytest.raises(ValueError, match="perhaps"):
        tried.settle(held, "perhaps")
    with pytest.raises(ValueError, match="maybe"):
        tried.settle(held, effect="maybe")
    assert tried.settle(held).verdict == "ok"


@pytest.mark.parametrize("fraction", [0.25, -1.0, 7.0, float("nan"), float("inf")])
def test_progress_is_an_event_between_nothing_and_all(ledger: AnyLedger, fraction: float) -> None:
    tried = Tried(ledger).start(in_group("a"))
    ledger.progress(tried.claim("a"), fraction, "half\udc80")
    event = ledger.events("E1")[-1]
    assert event["event"] == "execution:action:progress"
    assert 0.0 <= event["data"]["fraction"] <= 1.0
    assert event["data"]["message"] == "half\udc80"


def test_events_have_no_gaps_and_the_right_names(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b c d"))
    tried.settle(tried.claim("a"), "retry")
    ledger.due(9)
    tried.do("a")
    tried.settle(tried.claim("b"), "skipped", reason="when: false")
    held = tried.claim("c")
    tried.do("d", status="timed_out")
    tried.settle(held, "cancelled")
    assert tried.events() == [
        "execution:submitted",
        "execution:started",
        "execution:stage:started",
        *["execution:action:" + what for what in ("started", "retrying", "started", "completed")],
        *["execution:action:" + what for what in ("started", "skipped", "started", "started", "failed")],
        "execution:stopping",
        "execution:action:cancelled",
        "rollback:started",
    ]
    events = ledger.events("E1")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["id"] for event in events] == [f"E1-{event['seq']}" for event in events]
    assert [event["seq"] for event in ledger.events("E1", after=3, limit=2)] == [4, 5]
    assert ledger.events("E1", after=len(events), wait_s=0.01) == []
    assert ledger.events("E1", after=-1) == events
