"""Looks at open stages: devices that nobody serves, and messages that were lost."""

import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from config.queues import device_queue
from executor.ledger.valkey import ValkeyLedger
from executor.model.errors import NO_DEVICE, ActionError
from executor.model.execution import FINAL, OpenStage
from executor.model.plan import Stage, message_id
from workers.letters import Sought

_log = logging.getLogger("rex.stages")

CLAIMABLE_S = 10.0
"""An action that nobody has claimed for so long may have lost its message."""
_LOOK_AGAIN_S = 0.005
"""A stage that was looked at closely is left alone for so long per action: a wide one costs more."""


class Messages(Protocol):
    def lost(self, sought: Collection[Sought], owners: Iterable[str]) -> set[Sought]: ...


PublishAgain = Callable[[str, int, int, list[str]], None]
"""Sends the messages of a stage (execution, generation, number) in which one of the named actions is next."""


@dataclass
class _Known:
    generation: int
    number: int
    stage: Stage
    look_at: float


class StageWatch:
    """Keeps open stages moving; remembers each as long as it is open."""

    def __init__(
        self, ledger: ValkeyLedger, messages: Messages, publish_again: PublishAgain, device_wait: timedelta
    ) -> None:
        self._ledger = ledger
        self._messages = messages
        self._publish_again = publish_again
        self._device_wait = device_wait
        self._known: dict[str, _Known] = {}

    def look(self) -> None:
        """One look at every open stage; a close one only where it is due."""
        served = {device for worker in self._ledger.workers().values() for device in worker.devices}
        now_ms, now = self._ledger.now_ms(), time.monotonic()
        stages = self._ledger.open_stages()
        self._known = {name: known for name, known in self._known.items() if name in stages}
        suspects: dict[str, list[str]] = {}
        for execution, opened in stages.items():
            known = self._remember(execution, opened)
            if known is None or now < known.look_at:
                continue
            unserved = not served.issuperset(known.stage.queues)
            if unserved or now_ms - opened.opened_ms >= CLAIMABLE_S * 1000:
                known.look_at = now + _LOOK_AGAIN_S * len(known.stage.steps)
                if old := self._look_at(execution, known, opened, served, now_ms):
                    suspects[execution] = old
        if suspects:
            self._look_for_messages(suspects)

    def send_again(self, execution: str, generation: int, action: str) -> None:
        """Publish an action whose message is in the hands of somebody who may do nothing with it any more."""
        plan = self._ledger.plan(execution, generation)
        for number, stage in enumerate(plan.stages if plan is not None else ()):
            if action in stage.steps:
                self._publish_again(execution, generation, number, [action])

    def _remember(self, execution: str, opened: OpenStage) -> _Known | None:
        known = self._known.get(execution)
        if known is None or (known.generation, known.number) != (opened.generation, opened.number):
            plan = self._ledger.plan(execution, opened.generation)
            if plan is None:
                return None
            known = _Known(opened.generation, opened.number, plan.stages[opened.number], 0.0)
            self._known[execution] = known
        return known

    def _look_at(self, execution: str, known: _Known, opened: OpenStage, served: set[str], now_ms: int) -> list[str]:
        """Says what is unserved; returns the actions that have been claimable for long, and wait for nothing."""
        stage = known.stage
        devices = {
            step: device for message, device in zip(stage.messages, stage.queues, strict=True) for step in message
        }
        actions = self._ledger.actions(execution, known.generation, stage.steps)
        ready = _claimable(stage, actions)
        if unserved := {name: devices[name] for name in ready if devices[name] not in served}:
            self._wait_for_devices(execution, known.generation, unserved)
        ready = [name for name in ready if devices[name] in served]
        if noted := [name for name in ready if "unserved" in actions[name]]:
            self._ledger.served(execution, known.generation, noted)
        since = {name: int(actions[name].get("since", opened.opened_ms)) for name in ready}
        old = [name for name in ready if now_ms - since[name] >= CLAIMABLE_S * 1000]
        waiting = self._ledger.waiting(execution, known.generation, old) if old else set()
        return [name for name in old if name not in waiting]

    def _wait_for_devices(self, execution: str, generation: int, unserved: dict[str, str]) -> None:
        # a compensation waits as long as its rollback may take: the ledger knows how long that is
        wait = self._device_wait if generation == 0 else None
        errors = {name: no_device_error(name, device, wait) for name, device in unserved.items()}
        self._ledger.abandon_all(execution, generation, errors, wait_s=self._device_wait.total_seconds())

    def _look_for_messages(self, suspects: dict[str, list[str]]) -> None:
        """Publish again what stands in no queue and in nobody's hands; each queue is looked at once for all."""
        sought: dict[Sought, tuple[str, tuple[str, ...]]] = {}
        for execution, old in suspects.items():
            known = self._known[execution]
            for message, device in zip(known.stage.messages, known.stage.queues, strict=True):
                if not set(old).isdisjoint(message):
                    # it is named by its first action, also when that is done and a later one is waited for
                    ids = (message_id(execution, known.generation, known.number, name) for name in message)
                    sought[Sought(device_queue(device), frozenset(ids))] = (execution, tuple(message))
        found = [sought[one] for one in self._messages.lost(sought, self._ledger.counters())]
        for execution, old in suspects.items():
            known = self._known[execution]
            lost = {name for of, message in found if of == execution for name in message}
            # the clocks of those that only wait their turn start anew as well: the next look is due in a while
            still = [name for name in self._ledger.touch(execution, known.generation, old) if name in lost]
            if still:
                _log.warning("publishing again what has lost its message: %s of %s", ", ".join(still), execution)
                self._publish_again(execution, known.generation, known.number, still)


def _claimable(stage: Stage, actions: dict[str, dict[str, str]]) -> list[str]:
    """Actions of an open stage that a worker could claim now; of a sequence only the first that has not ended."""
    ready = []
    for name in stage.steps:
        status = actions[name].get("status", "ready")
        if status not in FINAL:
            if status == "ready":
                ready.append(name)
            if stage.kind == "sequence":
                break
    return ready


def no_device_error(action: str, device: str, wait: timedelta | None) -> dict[str, Any]:
    """What is said of an action whose device has no worker: at once, and again when the wait is over.

    Args:
        action: its id.
        device: that of the action.
        wait: how long it is waited for; None: until the time of the rollback is over.
    """
    until = (
        "as long as the rollback may take" if wait is None else
        f"up to {wait.total_seconds():g} s (distributed.device_wait)"
    )  # fmt: skip
    error = ActionError(
        f"no worker serves device {device!r}, which {action} needs; waiting {until}. "
        f"Start one with `rex worker --device {device}`",
        NO_DEVICE,
    )
    return {**error.told(action), "type": "NoDevice"}
