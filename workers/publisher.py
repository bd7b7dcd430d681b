"""The outbox's way to the broker: what a script decided is sent by whoever called it, or by any coordinator."""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from celery import Celery
from celery.canvas import signature
from kombu.exceptions import BatchPublishError, OperationalError

from config.queues import CONTROL
from executor.canvas import stage_canvas
from executor.model.errors import RexError
from executor.model.execution import Outgoing
from executor.model.plan import Plan
from executor.task_names import CONTROL as CONTROL_TASKS
from workers.crash import crash_point
from workers.underway import Underway

_log = logging.getLogger("rex.publisher")

LARGE_STAGE = 100
"""Messages from which on a stage is published by a thread of its own."""
_BATCH = 50
"""Messages that go to the broker in one call."""
_IDLE_S = 1.0
"""What is due within a second wakes the publisher; it looks by itself for the rest."""
_PAUSE_S = 0.2
_STRIKE_S = 0.5
_NOT_SENT = (OperationalError, BatchPublishError, OSError, RexError)


class Outbox(Protocol):
    def plan(self, execution: str, generation: int) -> Plan | None: ...
    def moved_to(self, execution: str, generation: int, ids: Iterable[str]) -> dict[str, str]: ...
    def strike(self, ids: list[str]) -> None: ...
    def due(self, limit: int) -> tuple[list[Outgoing], float | None]: ...
    def wait_for_nudge(self, timeout_s: float) -> None: ...


class BatchingCelery(Celery):  # type: ignore[misc]
    """Celery that can publish many messages in few calls; its own chord drops the producer that it is given."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._publishing = threading.local()
        super().__init__(*arguments, **named)

    @contextlib.contextmanager
    def in_batches(self) -> Iterator[None]:
        """What this thread publishes in the block goes out `_BATCH` at a time, the rest at its end."""
        with self.producer_pool.acquire(block=True) as producer, producer.batch(_BATCH):
            self._publishing.producer = producer
            try:
                yield
            finally:
                self._publishing.producer = None

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """The given producer, that of the batch, or one from the pool."""
        return super().producer_or_acquire(producer or getattr(self._publishing, "producer", None))


class CeleryOutlet:
    """Publishes entries of the outbox with Celery."""

    def __init__(
        self,
        app: BatchingCelery,
        ledger: Outbox,
        underway: Underway,
        here: Mapping[str, Callable[..., None]] | None = None,
    ) -> None:
        """
        Args:
            app: by which messages go out.
            ledger: where entries are struck out.
            underway: keeps others from what takes long.
            here: tasks of the coordinator that are carried out at once instead, by name. They strike themselves out, so
                one that dies in the middle is sent as a message when its entry is due again.
        """
        self._app = app
        self._ledger = ledger
        self._underway = underway
        self._here = here or {}

    def send(self, outgoing: list[Outgoing]) -> None:
        """Publish; what the broker does not take stays in the outbox, and is due again in 2 s."""
        sent: list[str] = []
        struck = time.monotonic()
        for item in outgoing:
            if time.monotonic() - struck > _STRIKE_S:
                # of many, the first would be due again before the last has gone out
                self._ledger.strike(sent)
                sent, struck = [], time.monotonic()
            crash_point("pre-send", item.id.partition(":")[0])
            try:
                if self._publish(item):
                    sent.append(item.id)
            except _NOT_SENT as error:
                _log.warning("cannot publish %s yet: %s", item.id, error)
            except Exception:  # noqa: BLE001
                # one entry that cannot be sent must not hold up the others
                _log.exception("cannot publish %s", item.id)
        self._ledger.strike(sent)

    def _publish(self, item: Outgoing) -> bool:
        """True when the entry can be struck out; tasks of the coordinator strike themselves out."""
        entry = item.entry
        if entry["kind"] == "task":
            if entry["task"] in self._here:
                self._here[entry["task"]](*entry["args"])
                return False
            self._app.send_task(entry["task"], entry["args"], task_id=entry["id"], queue=CONTROL, ignore_result=True)
            return entry["task"] not in CONTROL_TASKS
        if entry["kind"] == "signature":
            signature(json.loads(entry["signature"]), app=self._app).apply_async()
            return True
        return self._publish_stage(item)

    def _publish_stage(self, item: Outgoing) -> bool:
        entry = item.entry
        execution, generation, number = entry["execution"], entry["generation"], entry["stage"]
        plan = self._ledger.plan(execution, generation)
        if plan is None:
            return True
        only = entry["actions"] if entry["kind"] == "again" else None
        moved = None
        if only is not None or entry.get("moved"):
            moved = self._ledger.moved_to(execution, generation, plan.stages[number].steps)

        def publish() -> None:
            canvas = stage_canvas(self._app, plan, execution, generation, number, only=only, moved=moved)
            with self._app.in_batches():
                canvas.apply_async()

        if len(plan.stages[number].messages if only is None else only) < LARGE_STAGE:
            publish()
            return True
        name = f"publish-{item.id}"
        threading.Thread(target=self._publish_large, args=(item.id, publish), name=name, daemon=True).start()
        return False

    def _publish_large(self, name: str, publish: Callable[[], None]) -> None:
        try:
            with self._underway.keeping(name):
                publish()
            self._ledger.strike([name])
        except _NOT_SENT as error:
            _log.warning("cannot publish %s yet: %s", name, error)
        except Exception:  # noqa: BLE001
            # a thread has nobody else to tell; the entry is due again
            _log.exception("cannot publish %s", name)


class Publisher:
    """The thread of a coordinator that sends what is due, at most 20 ms late."""

    def __init__(self, ledger: Outbox, outlet: CeleryOutlet) -> None:
        self._ledger = ledger
        self._outlet = outlet
        self._done = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="rex-publisher", daemon=True).start()

    def stop(self) -> None:
        self._done.set()

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._turn()
            except RexError as error:
                _log.warning("outbox: %s", error)
                self._done.wait(_PAUSE_S)
            except Exception:  # noqa: BLE001
                # entries stay in the outbox, and a publisher that has ended would leave them there for ever
                _log.exception("a turn of the publisher failed")
                self._done.wait(_PAUSE_S)

    def _turn(self) -> None:
        outgoing, wait_s = self._ledger.due(200)
        if outgoing:
            self._outlet.send(outgoing)
        elif wait_s is None or wait_s > 0:
            self._ledger.wait_for_nudge(_IDLE_S if wait_s is None else min(_IDLE_S, wait_s))
