"""What a failure means for its execution, and that a stop goes on when the last live claim has ended."""

import pytest
from support.ledgers import WRONG, AnyLedger, Tried, in_group, in_sequence, step
from support.waiting import wait_until

from executor.model.execution import Answer


@pytest.mark.parametrize(("rule", "state"), [("rollback", "rolling_back"), ("stop", "concluding")])
@pytest.mark.parametrize("status", ["failed", "timed_out"])
def test_a_failure_that_ends_the_execution(ledger: AnyLedger, rule: str, state: str, status: str) -> None:
    tried = Tried(ledger).start(in_group([step("a", on_failure=rule), step("b")]))
    assert tried.settle(tried.claim("a"), status).verdict == "fatal"
    assert (tried.state, tried.field("outcome")) == (state, "failed")
    got = tried.ask("a")
    assert isinstance(got, Answer)
    assert (got.kind, got.action) == ("failed", "a")
    assert "wrong" in got.detail
    assert tried.answer("b") == "cancelled"


def test_a_failure_that_is_noted_lets_the_rest_go_on(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_sequence([step("a", on_failure="continue"), step("b")]))
    got = tried.settle(tried.claim("a", "b"), "failed", then=["b"])
    assert got.verdict == "ok"
    assert got.following is not None
    assert tried.answer("a") == "done"
    assert (tried.state, tried.field("failures")) == ("running", "1")


def test_one_noted_failure_too_many_ends_the_execution(ledger: AnyLedger) -> None:
    steps = [step(name, on_failure="continue") for name in "abc"]
    tried = Tried(ledger).start(in_group(steps), max_failures=1)
    tried.do("a", status="failed")
    assert tried.state == "running"
    assert tried.settle(tried.claim("b"), "failed").verdict == "fatal"
    assert tried.state == "rolling_back"


@pytest.mark.parametrize("first", ["rollback", "stop"])
def test_of_several_failures_rollback_beats_stop(ledger: AnyLedger, first: str) -> None:
    other = {"rollback": "stop", "stop": "rollback"}[first]
    tried = Tried(ledger).start(in_group([step("a", on_failure=first), step("b", on_failure=other)]))
    a, b = tried.claim("a"), tried.claim("b")
    tried.settle(a, "failed")
    assert (tried.state, tried.field("mode")) == ("stopping", first)
    tried.settle(b, "failed")
    assert (tried.state, tried.field("mode")) == ("rolling_back", "rollback")


def test_stop_beats_continue(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step("a", on_failure="stop"), step("b", on_failure="continue")]))
    a, b = tried.claim("a"), tried.claim("b")
    tried.settle(b, "failed")
    tried.settle(a, "failed")
    assert (tried.state, tried.field("mode")) == ("concluding", "stop")


@pytest.mark.parametrize("last", ["succeeded", "cancelled", "failed", "retry", "expired"])
def test_the_way_back_begins_when_the_last_live_claim_has_ended(ledger: AnyLedger, last: str) -> None:
    tried = Tried(ledger).start(in_group("a b c"))
    a, b, c = tried.claim("a"), tried.claim("b", holder="w2"), tried.claim("c")
    tried.settle(a, "failed")
    tried.settle(c, "succeeded")
    assert tried.state == "stopping"
    assert "rb:E1" not in tried.sent()
    assert not tried.begin()
    assert ledger.renew("w2", [b]).stopped == {b.token}
    if last == "expired":
        assert ledger.expire("w2", ("E1", 0, "b"), sure=True, error=WRONG) == "ok"
        assert tried.status("b") == "cancelled"
        assert tried.row("b")["effect"] == "unknown"
    else:
        tried.settle(b, last, holder="w2")
    assert tried.status("b") != "waiting"  # a stop leaves no delay behind
    assert tried.state == "rolling_back"
    assert "rb:E1" in tried.sent()


@pytest.mark.parametrize("end", ["surely gone", "past its deadline"])
def test_nothing_is_taken_back_while_a_former_holder_may_still_be_at_work(ledger: AnyLedger, end: str) -> None:
    """What may run twice is taken over before anybody is sure that its holder is gone."""
    timeout_s = 0.05 if end == "past its deadline" else 30
    tried = Tried(ledger).start(in_group([step("a", idempotent=True, timeout_s=timeout_s), step("b")]))
    tried.claim("a", holder="w2")
    ledger.fence("w2")
    assert ledger.expire("w2", ("E1", 0, "a"), sure=False, error=WRONG) == "ok"
    assert tried.status("a") == "ready"
    tried.settle(tried.claim("b"), "failed")
    assert tried.state == "stopping"
    if end == "surely gone":
        assert ledger.expire("w2", ("E1", 0, "a"), sure=False, error=WRONG) == "later"
        assert ledger.leases("w2") == [("E1", 0, "a")]
        assert ledger.expire("w2", ("E1", 0, "a"), sure=True, error=WRONG) == "gone"
    else:
        wait_until(
            lambda: ledger.expire("w2", ("E1", 0, "a"), sure=False, error=WRONG) == "gone",
            description="its deadline has passed",
        )
    assert ledger.leases("w2") == []
    assert tried.state == "rolling_back"
    assert "rb:E1" in tried.sent()


def test_what_runs_may_finish_when_a_failure_stops(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group([step("a", on_failure="stop"), step("b")]))
    a, b = tried.claim("a"), tried.claim("b")
    tried.settle(a, "failed")
    assert ledger.renew("w1", [b]).stopped == set()
    tried.settle(b)
    assert (tried.state, tried.status("b")) == ("concluding", "succeeded")


def test_a_claim_whose_answer_was_lost_does_not_hold_the_stop_up(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b"))
    tried.claim("a", nonce="lost")
    ledger.cancel("E1", WRONG, undo=True)
    assert tried.state == "stopping"
    assert tried.answer("a", nonce="other") == "cancelled"
    assert tried.state == "stopping"
    assert tried.answer("a", nonce="lost") == "cancelled"  # the same call again: it has not begun, and will not
    assert tried.status("a") == "cancelled"
    assert tried.state == "rolling_back"
    assert ledger.leases("w1") == []


def test_the_same_in_the_call_that_settles(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_sequence("a b"))
    a = tried.claim("a", "b")
    tried.settle(a, nonce="s", then=["b"], next_nonce="t")
    ledger.cancel("E1", WRONG, undo=True)
    assert tried.settle(a, nonce="s", then=["b"], next_nonce="t").following == Answer("cancelled", "b")
    assert tried.state == "rolling_back"


@pytest.mark.parametrize("first", ["rollback", "stop"])
def test_who_wants_to_try_again_while_stopping_decides_nothing(ledger: AnyLedger, first: str) -> None:
    tried = Tried(ledger).start(in_group([step("a", on_failure=first), step("b", on_failure="rollback")]))
    a, b = tried.claim("a"), tried.claim("b")
    tried.settle(a, "failed")
    assert tried.settle(b, "retry").verdict == "ok"  # it had attempts left, so its failure is not final
    assert (tried.status("b"), tried.field("mode")) == ("failed", first)
    assert tried.state == {"rollback": "rolling_back", "stop": "concluding"}[first]


def test_an_attempt_that_was_cancelled_though_nobody_stopped_has_failed(ledger: AnyLedger) -> None:
    tried = Tried(ledger).start(in_group("a b"))
    assert tried.settle(tried.claim("a"), "cancelled", error=WRONG).verdict == "fatal"
    assert (tried.status("a"), tried.state, tried.field("outcome")) == ("failed", "rolling_back", "failed")
    assert tried.answer("b") == "cancelled"
