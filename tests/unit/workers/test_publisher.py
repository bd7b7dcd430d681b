"""What the outbox sends: stages, to the devices where their actions are now."""

import json

import pytest
from support.ledgers import CHOSEN, Tried, in_group, step

from config.queues import device_queue
from executor.ledger.memory import MemoryLedger
from executor.model.execution import Move, Outgoing
from workers.publisher import BatchingCelery, CeleryOutlet


@pytest.mark.parametrize("moved", [True, False])
def test_a_stage_goes_to_where_its_actions_are(moved: bool) -> None:
    """Also where a person lets go on what had begun on another device than its plan names."""
    ledger = MemoryLedger()
    tried = Tried(ledger).start(in_group([step("a", movable=True), step("b")]))
    if moved:
        ledger.move("E1", 0, [Move("edge-1", "edge-2", (("a",),), "edge-1 is gone")])
    held = tried.claim("a")
    tried.do("b", status="failed")
    tried.settle(held, "cancelled", effect="unknown")
    assert ledger.resume("E1", CHOSEN, ["a", "b"], timeout_s=9)
    outgoing = ledger._moves.sending
    (entry,) = [text for name, text in zip(outgoing[::2], outgoing[1::2], strict=True) if name.startswith("st:")]
    app = BatchingCelery(broker="memory://", backend="cache+memory://")
    app.conf.task_create_missing_queues = True
    CeleryOutlet(app, ledger).send([Outgoing("st:E1|0|0#1", json.loads(entry))])
    with app.connection_for_read() as connection:
        # what is counted is taken out: every broker in memory of one process is the same
        counts = {name: connection.SimpleQueue(device_queue(name)).clear() for name in ("edge-1", "edge-2")}
    assert counts == ({"edge-1": 1, "edge-2": 1} if moved else {"edge-1": 2, "edge-2": 0})
