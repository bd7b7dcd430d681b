"""What the outbox sends: stages, to the devices where their actions are now."""

import json
import threading
from typing import Any

import pytest
from support.ledgers import CHOSEN, Tried, due_in_ms, in_group, make_due, outbox, step
from support.waiting import wait_until

from config.queues import device_queue
from executor.ledger.memory import MemoryLedger
from executor.model.execution import Move, Outgoing
from workers.publisher import LARGE_STAGE, BatchingCelery, CeleryOutlet
from workers.underway import Underway


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
    CeleryOutlet(app, ledger, Underway(ledger.postpone)).send([Outgoing("st:E1|0|0#1", json.loads(entry))])
    with app.connection_for_read() as connection:
        # what is counted is taken out: every broker in memory of one process is the same
        counts = {name: connection.SimpleQueue(device_queue(name)).clear() for name in ("edge-1", "edge-2")}
    assert counts == ({"edge-1": 1, "edge-2": 1} if moved else {"edge-1": 2, "edge-2": 0})


def test_a_stage_that_takes_long_to_publish_is_published_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry is postponed from before its messages are made until the last has gone out."""
    monkeypatch.setattr("workers.underway._POSTPONE_S", 0.001)
    ledger = MemoryLedger()
    postponed = threading.Semaphore(0)

    class Slow(BatchingCelery):
        def producer_or_acquire(self, producer: Any = None) -> Any:
            """Asked for by each message; goes on when the entry, which has just become due, has been postponed."""
            if ledger._store.outbox:
                make_due(ledger, "st:E1|0|0")
                wait_until(lambda: due_in_ms(ledger, "st:E1|0|0") > 1000, description="it is postponed")
                postponed.release()
            return super().producer_or_acquire(producer)

    count = LARGE_STAGE + 20
    Tried(ledger).start(in_group(" ".join(f"a{number}" for number in range(count))))
    make_due(ledger, "st:E1|0|0")
    app = Slow(broker="memory://", backend="cache+memory://")
    app.conf.task_create_missing_queues = True
    CeleryOutlet(app, ledger, Underway(ledger.postpone)).send(ledger.due(9)[0])
    wait_until(lambda: outbox(ledger) == [], description="all messages have gone out")
    with app.connection_for_read() as connection:
        assert connection.SimpleQueue(device_queue("edge-1")).clear() == count
    assert all(postponed.acquire(blocking=False) for _ in range(count))
