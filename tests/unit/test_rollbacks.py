"""What a client refuses before it asks a coordinator."""

from typing import Any

import pytest
from support.ledgers import WRONG, Tried, in_group, step

from executor.ledger.memory import MemoryLedger
from executor.model.errors import NotAllowedNow, UnknownExecution, Unreachable
from executor.model.rollback import RollbackRequest
from executor.rollbacks import check_choices, choose, plan_rollback, request_of, request_rollback


def offered(default: str = "undo", **actions: tuple[str, list[str]]) -> dict[str, Any]:
    """An offer; of each action its wishes, and who needs it."""
    made = {name: {"wishes": wishes.split(), "needed_by": needed} for name, (wishes, needed) in actions.items()}
    return {"default": default, "actions": made}


OFFER = offered(a=("undo keep", ["b"]), b=("undo keep retry", []), c=("undo keep", []), d=("undo keep retry", []))


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"a": "undo"},
        {"a": "keep"},
        {"a": "keep", "b": "keep"},
        {"b": "undo", "a": "keep"},
        {"b": "retry", "d": "retry"},
        {"b": "retry", "d": "retry", "a": "keep"},
    ],
)
def test_choices_that_go_together_are_taken(choices: dict[str, str]) -> None:
    """What is left out is as configured: undone."""
    check_choices(choices, OFFER)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"x": "undo"}, "there is nothing to choose for 'x': it is about a, b, c, d"),
        ({"a": "retry"}, "retry is not possible for 'a': one of undo, keep"),
        ({"a": "forget"}, "'forget' is not possible for 'a': one of undo, keep"),
        ({"b": "keep"}, "b would be kept, and needs a: undo both, or keep both"),
        ({"a": "undo", "b": "keep"}, "b would be kept, and needs a: undo both, or keep both"),
        ({"b": "retry", "d": "keep"}, "retry puts everything that failed back: d too"),
        ({"d": "retry"}, "retry puts everything that failed back: b too"),
        (
            {"b": "retry", "d": "retry", "a": "undo", "c": "undo"},
            "retry goes on with the execution, so nothing is undone: leave a, c out, or keep it",
        ),
    ],
)
def test_choices_that_cannot_be_are_refused(choices: dict[str, str], said: str) -> None:
    """With what would be right."""
    with pytest.raises(ValueError, match=r"^" + said.replace("(", r"\(") + "$"):
        check_choices(choices, OFFER)


def test_what_is_left_out_counts_as_configured() -> None:
    """Where keeping is configured, naming one to undo does not undo what needs it."""
    keeps = offered("keep", a=("undo keep", ["b"]), b=("undo keep", []))
    check_choices({"b": "undo"}, keeps)
    check_choices({"a": "undo", "b": "undo"}, keeps)
    with pytest.raises(ValueError, match=r"^b would be kept, and needs a"):
        check_choices({"a": "undo"}, keeps)


def test_a_choice_is_given_to_the_ledger_once() -> None:
    """Whoever comes later is told so; a wrong one does not get there."""
    ledger: Any = MemoryLedger()
    tried = Tried(ledger).fail()
    with pytest.raises(NotAllowedNow, match=r"^execution E1 does not wait for a choice: it is rolling_back$"):
        choose(ledger, "E1", {"a": "undo"}, "ann")
    ledger.offer("E1", OFFER, wait_s=60.0)
    with pytest.raises(ValueError, match="nothing to choose"):
        choose(ledger, "E1", {"x": "undo"}, "ann")
    assert tried.field("choice") is None
    choose(ledger, "E1", {"a": "undo"}, "ann")
    assert (tried.field("choice"), tried.field("choice_by")) == ('{"a": "undo"}', "ann")
    with pytest.raises(NotAllowedNow, match="does not wait for a choice"):
        choose(ledger, "E1", {"a": "undo"}, "bob")
    with pytest.raises(UnknownExecution):
        choose(ledger, "E2", {}, "ann")


def test_a_choice_that_comes_late_is_told_so() -> None:
    """The time to choose ends when it was said to."""
    now = [1_800_000_000_000]
    ledger: Any = MemoryLedger(clock=lambda: now[0])
    Tried(ledger).fail()
    ledger.offer("E1", OFFER, wait_s=60.0)
    now[0] += 60_000
    with pytest.raises(NotAllowedNow, match=r"wait for a choice: the time to choose is over$"):
        choose(ledger, "E1", {}, "ann")


class Overtaken(MemoryLedger):
    """Meanwhile it was tried again, failed again, and another choice is offered."""

    def offered(self, execution: str) -> dict[str, Any] | None:
        found = super().offered(execution)
        return None if found is None else {**found, "turn": "1"}


def test_a_choice_answers_the_offer_that_was_read() -> None:
    """Another one is not answered by it."""
    ledger: Any = Overtaken()
    tried = Tried(ledger).fail()
    ledger.offer("E1", OFFER, wait_s=60.0)
    with pytest.raises(NotAllowedNow, match=r"it failed again meanwhile, and there is another choice$"):
        choose(ledger, "E1", {}, "ann")
    assert tried.field("choice") is None


class Answering(MemoryLedger):
    """A ledger with a coordinator that answers at once."""

    def __init__(self, **answer: Any) -> None:
        super().__init__()
        self.told = answer
        self.asked: list[dict[str, Any]] = []

    def ask(self, execution: str, task: str, request: dict[str, Any], key: str) -> bool:
        self.asked.append(request)
        found = super().ask(execution, task, request, key)
        self.reply(key, self.told)
        return found


def test_a_rollback_is_asked_for_when_nothing_speaks_against_it() -> None:
    """The plan is made first, of the same request."""
    ledger: Any = Answering(steps=1)
    tried = Tried(ledger).complete()
    request = RollbackRequest(by="ann", key="k1", actions=("a",))
    assert plan_rollback(ledger, "E1", request, 1.0) == {"steps": 1}
    assert tried.state == "completed"
    request_rollback(ledger, "E1", request, 1.0)
    assert tried.state == "rolling_back"
    assert ledger.asked == [request.model_dump(mode="json")] * 2


def test_a_rollback_that_the_plan_refuses_does_not_begin() -> None:
    """The reason is passed on."""
    ledger: Any = Answering(refused="nothing is left to take back")
    tried = Tried(ledger).complete()
    with pytest.raises(NotAllowedNow, match=r"^execution E1 is not taken back: nothing is left to take back$"):
        request_rollback(ledger, "E1", RollbackRequest(), 1.0)
    assert tried.state == "completed"


def test_what_has_not_ended_is_not_taken_back() -> None:
    """What is being taken back is said to be, and no coordinator is asked."""
    ledger: Any = Answering()
    tried = Tried(ledger).start(in_group("a"))
    with pytest.raises(NotAllowedNow, match=r"^execution E1 is running, and only what has ended is taken back"):
        request_rollback(ledger, "E1", RollbackRequest(), 1.0)
    tried.do("a", status="failed")
    with pytest.raises(NotAllowedNow, match=r"^execution E1 is being taken back already: `rex watch E1` follows it$"):
        request_rollback(ledger, "E1", RollbackRequest(), 1.0)
    ledger.offer("E1", OFFER, wait_s=60.0)
    with pytest.raises(NotAllowedNow, match=r"^execution E1 waits for a choice: `rex rollback E1 --choose` shows it$"):
        request_rollback(ledger, "E1", RollbackRequest(), 1.0)
    with pytest.raises(UnknownExecution):
        request_rollback(ledger, "E2", RollbackRequest(), 1.0)
    assert ledger.asked == []


def test_what_was_refused_never_ran() -> None:
    """The ledger says so even where a plan was made."""
    ledger: Any = Answering()
    Tried(ledger).submit()
    ledger.conclude("E1", "refused", error=WRONG)
    with pytest.raises(NotAllowedNow, match=r"^nothing of execution E1 ran, so there is nothing to take back$"):
        request_rollback(ledger, "E1", RollbackRequest(), 1.0)


def test_what_somebody_may_still_be_at_is_waited_for() -> None:
    """The words say for whom, and how long."""
    ledger: Any = Answering()
    tried = Tried(ledger).start(in_group([step("a", idempotent=True)]))
    tried.claim("a")
    ledger.fence("w1")
    ledger.expire("w1", ("E1", 0, "a"), sure=False, error=WRONG)
    tried.do("a", holder="w2")
    ledger.advance("E1", 0, 0)
    ledger.conclude("E1", "completed")
    said = r"^execution E1 waits for a worker that .* may still be at it: ask again when the timeout"
    with pytest.raises(NotAllowedNow, match=said):
        request_rollback(ledger, "E1", RollbackRequest(), 1.0)


def test_without_a_coordinator_nothing_is_waited_for_longer() -> None:
    """With what to do about it."""
    ledger: Any = MemoryLedger()
    Tried(ledger).complete()
    with pytest.raises(Unreachable, match=r"^no coordinator answered within 0.01 s: start one with `rex coordinator`"):
        plan_rollback(ledger, "E1", RollbackRequest(), 0.01)
    with pytest.raises(UnknownExecution):
        plan_rollback(ledger, "E2", RollbackRequest(), 0.01)


def test_a_request_has_a_key_of_its_own() -> None:
    """Unless the caller gives one; a mechanism that is none is refused."""
    first, second = (request_of(None, ["a"], force=False, retry=True, by="ann", key=None) for _ in range(2))
    assert (first.actions, first.retry, first.by, first.mechanism) == (("a",), True, "ann", None)
    assert first.key
    assert first.key != second.key
    assert request_of("phased", [], force=True, retry=False, by="", key="k").key == "k"
    with pytest.raises(ValueError, match="mechanism"):
        request_of("none", [], force=False, retry=False, by="", key=None)
