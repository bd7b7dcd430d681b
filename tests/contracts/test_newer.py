"""What a newer release has planned is left to it: nothing changes, and the outbox asks again."""

import logging
import re
from importlib import resources

import pytest
from support.ledgers import AnyLedger, Tried, in_group, outbox, step

from config.settings import Settings
from executor.catalogue import InstalledCatalogue
from executor.model import plan
from executor.model.plan import WayBack
from executor.resolution import ResolutionExecutor
from rollback.manager import RollbackManager


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """This release reads only the first format, and format 2 is a newer one's."""
    monkeypatch.setattr("executor.newer.FORMAT", 1)


def moved(tried: Tried, *, end: str) -> Tried:
    """One whose only step is over, of format 2."""
    tried.start(in_group([step("a", movable=True, way_back=WayBack(rule="lacking")), step("b")]))
    tried.settle(tried.claim("a"), effect="completed")
    tried.do("b", status=end)
    assert tried.field("format") == "2"
    return tried


@pytest.mark.usefixtures("old")
def test_a_stage_that_has_ended(ledger: AnyLedger, caplog: pytest.LogCaptureFixture) -> None:
    """Not advanced, and not concluded; a newer coordinator does both. The log says it once."""
    tried = moved(Tried(ledger), end="succeeded")
    executor = ResolutionExecutor(ledger, InstalledCatalogue(), Settings())
    before = (ledger.head("E1"), tried.events(), outbox(ledger))
    with caplog.at_level(logging.WARNING):
        executor.advance("E1", 0, 0)
        executor.advance("E1", 0, 0)
        executor.conclude("E1")
    assert (ledger.head("E1"), tried.events(), outbox(ledger)) == before
    assert [record.getMessage() for record in caplog.records] == [
        "E1 has format 2, and this release reads up to 1: it waits for a newer coordinator"
    ]


@pytest.mark.usefixtures("old")
def test_one_that_is_to_be_concluded(ledger: AnyLedger) -> None:
    tried = moved(Tried(ledger), end="succeeded")
    ledger.advance("E1", 0, 0)
    assert tried.state == "concluding"
    ResolutionExecutor(ledger, InstalledCatalogue(), Settings()).conclude("E1")
    assert tried.state == "concluding"


@pytest.mark.usefixtures("old")
def test_one_that_is_to_be_taken_back(ledger: AnyLedger) -> None:
    tried = moved(Tried(ledger), end="failed")
    assert tried.state == "rolling_back"
    before = (ledger.head("E1"), tried.events(), outbox(ledger))
    RollbackManager(ledger, Settings()).rollback("E1")
    assert (ledger.head("E1"), tried.events(), outbox(ledger)) == before


def test_this_release_goes_on_with_its_own(ledger: AnyLedger) -> None:
    tried = moved(Tried(ledger), end="failed")
    RollbackManager(ledger, Settings()).rollback("E1")
    assert tried.field("gen") == "1"


def test_the_scripts_read_the_same_format() -> None:
    prelude = (resources.files("executor.ledger") / "lua" / "prelude.lua").read_text()
    found = re.search(r"^local FORMAT = (\d+)", prelude, re.MULTILINE)
    assert found is not None
    assert int(found[1]) == plan.FORMAT
