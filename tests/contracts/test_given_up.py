"""What raises each time that it is planned comes to an end, and says what it leaves."""

import pytest
from support.ledgers import AnyLedger, Tried, in_group, step

from config.settings import Settings
from executor.catalogue import InstalledCatalogue
from executor.model.errors import Unreachable
from executor.model.plan import WayBack
from executor.report import report
from executor.resolution import STUMBLES, ResolutionExecutor
from rollback.manager import RollbackManager


def broken(error: Exception) -> object:
    def raises(*_: object, **__: object) -> None:
        raise error

    return raises


def test_an_execution_whose_planning_always_raises_fails(ledger: AnyLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, executor = Tried(ledger), ResolutionExecutor(ledger, InstalledCatalogue(), Settings())
    tried.submit()
    monkeypatch.setattr(executor, "validate_strategy", broken(Unreachable("away")))
    with pytest.raises(Unreachable):  # that is nobody's fault, and is not counted
        executor.execute_strategy("E1", None)
    monkeypatch.setattr(executor, "validate_strategy", broken(AttributeError("no such thing")))
    for _ in range(STUMBLES - 1):
        executor.execute_strategy("E1", None)
    assert tried.state == "pending"
    executor.execute_strategy("E1", None)
    executor.conclude("E1")
    told = report(ledger, "E1")
    assert (told["status"], told["rollback"]["status"]) == ("failed", "not_needed")
    assert told["error"]["message"] == "the execution could not be planned: no such thing"


@pytest.mark.parametrize("readable", [True, False])
def test_a_rollback_whose_planning_always_raises_fails(
    ledger: AnyLedger, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    tried, manager = (
        Tried(ledger).start(in_group([step("a", way_back=WayBack(rule="lacking")), step("b"), step("c")])),
        RollbackManager(ledger, Settings()),
    )
    tried.settle(tried.claim("a"), effect="completed")
    tried.settle(tried.claim("b"), effect="none")
    tried.do("c", status="failed")
    monkeypatch.setattr(manager, "execute_compensating_actions", broken(KeyError("a")))
    if not readable:
        monkeypatch.setattr(ledger, "steps", broken(ValueError("a step of another time")))
    for _ in range(STUMBLES):
        assert tried.state == "rolling_back"
        manager.rollback("E1")
    monkeypatch.undo()
    ResolutionExecutor(ledger, InstalledCatalogue(), Settings()).conclude("E1")
    told = report(ledger, "E1")
    assert (told["status"], told["rollback"]["status"]) == ("failed", "failed")
    assert [left["action"] for left in told["rollback"]["remaining"]] == (["a"] if readable else [None])
    why = "'a'" if readable else "a step of another time"
    assert told["rollback"]["remaining"][0]["reason"] == f"the rollback could not be planned: {why}"
    assert told["error"]["message"] == "wrong"
