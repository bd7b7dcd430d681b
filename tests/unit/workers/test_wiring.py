"""A node at its end."""

import pytest

from config.settings import Settings
from executor.model.errors import LedgerFull, LedgerTrouble, Unreachable
from workers.publisher import BatchingCelery
from workers.wiring import Node


class Refusing:
    """A ledger that nobody can leave now."""

    def __init__(self, error: LedgerTrouble) -> None:
        self.error = error
        self.asked = 0

    def leave(self, incarnation: str) -> bool:
        self.asked += 1
        raise self.error


@pytest.mark.parametrize("error", [Unreachable("away"), LedgerFull("no memory left")])
def test_the_end_does_not_depend_on_the_ledger(error: LedgerTrouble) -> None:
    """Away or full: it ends in order, and the watchdog sees to the rest."""
    node = Node(
        BatchingCelery("test"),
        Settings.model_validate(dict.fromkeys(("broker_url", "ledger_url"), "redis://127.0.0.1:1/0")),
    )
    refusing = Refusing(error)
    vars(node)["impatient_ledger"] = refusing
    node.leave()
    assert refusing.asked == 1
