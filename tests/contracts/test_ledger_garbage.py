"""Strangers write to queues, and answers come late: nothing that arrives makes a script fail, or leaves a trace."""

from typing import Any

import pytest
from support.ledgers import WRONG, AnyLedger, Tried, abandoned, in_group, step

from executor.model.execution import Answer, Claimed

STRANGE = ["", "nobody", "E1", "E1:0", "a|b", "|", "\x00", "☃", "\udc80", "x" * 5000, "*", "0", "-1", "#1", "E1#2"]


def stale(execution: str, generation: int, action: str, token: str) -> Claimed:
    return Claimed(execution, generation, token, 1, False, step(action), "", {}, {}, {})


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("generation", [-1, 0, 1, 10**30])
def test_strange_names_are_answered_and_change_nothing(ledger: AnyLedger, name: str, generation: int) -> None:
    tried = Tried(ledger).start(in_group("a b"))
    before = (ledger.head("E1"), tried.events(), tried.row("a"), ledger.outbox_size())
    got: list[Any] = []
    for execution, action in ((name, "a"), ("E1", name), (name, name)):
        if (execution, generation, action) == ("E1", 0, "a"):
            continue
        got.append(ledger.claim(execution, generation, [action], holder="w", nonce="n", signature="s"))
        for token in ("", "1:n"):
            claimed = stale(execution, generation, action, token)
            assert tried.settle(claimed).verdict == "stale"
            assert not ledger.record_undo(claimed, {})
            ledger.progress(claimed, 0.5, name)
            assert ledger.renew("w", [claimed]).stopped == ({token} if token else {""})
        assert abandoned(ledger, execution, generation, action, wait_s=0) == "noop"
        assert ledger.touch(execution, generation, [action]) == []
        ledger.served(execution, generation, [action])
        assert ledger.expire("w", (execution, generation, action), sure=True, error=WRONG) == "gone"
    assert all(isinstance(answer, Answer) and answer.kind == "unknown" for answer in got)
    assert (ledger.head("E1"), tried.events(), tried.row("a"), ledger.outbox_size()) == before


@pytest.mark.parametrize("name", [name for name in STRANGE if name != "E1"])
def test_strange_executions_are_answered(ledger: AnyLedger, name: str) -> None:
    tried = Tried(ledger, name)
    assert not ledger.advance(name, 0, 0)
    assert not tried.begin()
    assert not ledger.conclude(name, "failed")
    assert ledger.cancel(name, WRONG, undo=True) == ("unknown", "")
    assert not ledger.overdue(name, WRONG)
    assert ledger.hold(name, "why", delay_s=1) == 0.0
    ledger.forget(name)
    ledger.strike([name])
    assert ledger.executions(limit=9) == []
    assert ledger.outbox_size() == 0


def test_stages_that_are_not_there_are_not_advanced(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    tried.do("a")
    for generation, stage in ((0, 7), (0, -1), (5, 0), (0, 10**30), (10**30, 0)):
        assert not ledger.advance("E1", generation, stage)
    assert "adv:E1|0|0" in tried.sent()


def test_a_message_without_actions_is_unknown(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a"))
    assert tried.ask() == Answer("unknown")


def test_documents_and_reasons_may_hold_any_text(ledger: AnyLedger) -> None:
    strange = '\x00 \x7f / \\ " 🦖 \ud800 \u2028'
    document = {"strategy": {"name": strange, "version": None, "x": [10**40, [], {}]}, "inputs": None, "context": {}}
    assert ledger.submit("E1", document)
    assert ledger.document("E1") == document
    ledger.hold("E1", strange, delay_s=0.0)
    head = ledger.head("E1")
    assert (head["strategy"], head["waiting_for"]) == (strange, strange)
    assert [event["data"] for event in ledger.events("E1")] == [{"strategy": strange}, {"reason": strange}]


@pytest.mark.parametrize("strategy", [None, [], "text", 7])
def test_a_document_need_not_be_a_strategy(ledger: AnyLedger, strategy: Any) -> None:
    assert ledger.submit("E1", {"strategy": strategy})
    assert ledger.document("E1") == {"strategy": strategy}
