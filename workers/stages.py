"""Looks at open stages: devices that are lost or drained, and messages that were lost."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from config.queues import device_queue
from executor.distribution.failover import Loss, Place, Stranded, devices_of, fail_over, stranded_in, told_waiting
from executor.ledger.valkey import ValkeyLedger
from executor.model.device import Drained
from executor.model.execution import FINAL, OpenStage
from executor.model.plan import Stage, Step, message_id
from workers.letters import Sought

_log = logging.getLogger("rex.stages")

CLAIMABLE_S = 10.0
"""An action that nobody has claimed for so long may have lost its message."""
GRACE_S = 0.9
"""A device without a worker is given so long before what has not begun there is moved: its keeper may start one again.
What was broken off there goes elsewhere at once."""
_BUDGET_S = 0.5
"""One look takes no longer: meanwhile nobody watches whether workers live. What it leaves out comes first next time."""
_LOOK_AGAIN_S = 0.005
"""A stage that was looked at closely is left alone for so long per action: a wide one costs more."""


class Messages(Protocol):
    def lost(self, sought: Collection[Sought], owners: Iterable[str]) -> set[Sought]: ...


PublishAgain = Callable[[str, int, int, list[str]], None]
"""Sends the messages of a stage (execution, generation, number) in which one of the named actions is next."""

Placing = Callable[[], Place]
"""Makes a choice from the devices as they are now."""


@dataclass
class _Known:
    opened: OpenStage
    stage: Stage
    look_at: float
    devices: set[str]
    """Where its unfinished actions are, and perhaps more."""
    where: dict[str, str] = field(default_factory=dict)
    """The device of each action, as of the last close look."""


@dataclass
class _Devices:
    """Which devices take what, as of the last look."""

    served: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    """Served by workers that end in order, and perhaps by others."""
    drained: Mapping[str, Drained] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    """Since when a device that was asked for has had no worker, by our own clock."""

    def read(self, ledger: ValkeyLedger) -> None:
        self.served = {device for worker in ledger.workers().values() for device in worker.devices}
        self.leaving = {device for worker in ledger.leaving().values() for device in worker.devices}
        self.drained = ledger.drained()
        self.missing = {
            device: since for device, since in self.missing.items() if device not in self.served | self.leaving
        }

    def take_all(self, devices: Collection[str]) -> bool:
        return self.served.issuperset(devices) and self.drained.keys().isdisjoint(devices)

    def loss_of(self, device: str, now: float) -> Loss | None:
        if device not in self.served and device in self.leaving:
            remedy = f"Start another with `rex worker --device {device}`"
            return Loss(f"the worker of device {device!r} is about to end", remedy, dead=False)
        if device not in self.served:
            young = now - self.missing.setdefault(device, now) < GRACE_S
            remedy = f"Start one with `rex worker --device {device}`"
            return Loss(f"no worker serves device {device!r}", remedy, young=young)
        if device in self.drained:
            told = self.drained[device]
            who, why = f" by {told.by}" if told.by else "", f": {told.reason}" if told.reason else ""
            remedy = f"`rex drain {device} --undo` gives it work again"
            return Loss(f"device {device!r} is drained{who}{why}", remedy, dead=False)
        return None


class StageWatch:
    """Keeps open stages moving; remembers each as long as it is open."""

    def __init__(
        self,
        ledger: ValkeyLedger,
        messages: Messages,
        publish_again: PublishAgain,
        placing: Placing,
        device_wait: timedelta,
    ) -> None:
        self._ledger = ledger
        self._messages = messages
        self._publish_again = publish_again
        self._placing = placing
        self._device_wait = device_wait
        self._known: dict[str, _Known] = {}
        self._devices = _Devices()
        self._placer: Place | None = None
        self._term = ""

    def look(self, term: str = "", *, lost: Collection[str] = ()) -> None:
        """One look at every open stage; a close one only where it is due.

        Args:
            term: of the watchdog that leads.
            lost: devices whose worker has died just now: stages that need them are looked at in any case.
        """
        self._term, self._placer = term, None
        stages = self._ledger.open_stages()
        if not stages:
            self._known, self._devices = {}, _Devices()
            return
        self._devices.read(self._ledger)
        now_ms, now = self._ledger.now_ms(), time.monotonic()
        self._known = {name: known for name, known in self._known.items() if name in stages}
        suspects: dict[str, list[str]] = {}
        for execution, opened in sorted(stages.items(), key=lambda item: self._looked_at(item[0])):
            if time.monotonic() - now > _BUDGET_S:
                break
            known = self._remember(execution, opened)
            if known is None or (now < known.look_at and known.devices.isdisjoint(lost)):
                continue
            if not self._devices.take_all(known.devices) or now_ms - opened.opened_ms >= CLAIMABLE_S * 1000:
                known.look_at = now + _LOOK_AGAIN_S * len(known.stage.steps)
                if old := self._look_at(execution, known, now_ms, now):
                    suspects[execution] = old
        if suspects:
            self._look_for_messages(suspects)

    def send_again(self, execution: str, generation: int, action: str) -> None:
        """Publish an action whose message is in the hands of somebody who may do nothing with it any more."""
        plan = self._ledger.plan(execution, generation)
        for number, stage in enumerate(plan.stages if plan is not None else ()):
            if action in stage.steps:
                self._publish_again(execution, generation, number, [action])

    def _looked_at(self, execution: str) -> float:
        """When a stage was looked at last, or could be again; one that is new comes before all others."""
        known = self._known.get(execution)
        return 0.0 if known is None else known.look_at

    def _remember(self, execution: str, opened: OpenStage) -> _Known | None:
        known = self._known.get(execution)
        if known is None or known.opened != opened:
            plan = self._ledger.plan(execution, opened.generation)
            if plan is None:
                return None
            stage = plan.stages[opened.number]
            devices = set(stage.queues)
            if opened.moves:
                devices |= set(self._ledger.moved_to(execution, opened.generation, stage.steps).values())
            known = _Known(opened, stage, 0.0, devices)
            self._known[execution] = known
        return known

    def _look_at(self, execution: str, known: _Known, now_ms: int, now: float) -> list[str]:
        """Sees to what is stranded; returns the actions that have been claimable for long, and wait for nothing."""
        stage, generation = known.stage, known.opened.generation
        rows = self._ledger.actions(execution, generation, stage.steps)
        known.where = devices_of(stage, rows)
        known.devices = {device for name, device in known.where.items() if rows[name].get("status") not in FINAL}
        ready = _claimable(stage, rows)
        stranded = stranded_in(stage, rows, generation, lambda device: self._devices.loss_of(device, now))
        if stranded:
            if any(one.loss.young for one in stranded):
                known.look_at = now
            self._rescue(execution, generation, stranded)
            heads = {one.actions[0] for one in stranded}
            ready = [name for name in ready if name not in heads]
        if noted := [name for name in ready if "unserved" in rows[name]]:
            self._ledger.served(execution, generation, noted)
        since = {name: int(rows[name].get("since", known.opened.opened_ms)) for name in ready}
        old = [name for name in ready if now_ms - since[name] >= CLAIMABLE_S * 1000]
        waiting = self._ledger.waiting(execution, generation, old) if old else set()
        return [name for name in old if name not in waiting]

    def _rescue(self, execution: str, generation: int, stranded: Sequence[Stranded]) -> None:
        """Move what may move; say of the rest what it waits for, and end it when it has waited for too long."""
        moved, waits = fail_over(self._ledger, execution, generation, stranded, self._place, term=self._term)
        if moved:
            _log.warning("moved %d actions of %s to other devices: %s", len(moved), execution, ", ".join(moved[:5]))
        if not waits:
            return
        # a compensation waits as long as its rollback may take: the ledger knows how long that is
        wait_s = self._device_wait.total_seconds()
        for dead, bound_s, longest in (
            (True, wait_s, f"up to {wait_s:g} s (distributed.device_wait)"),
            (False, None, "as long as the execution may take"),
        ):
            told = longest if generation == 0 else "as long as the rollback may take"
            errors = {name: told_waiting(name, wait, told) for name, wait in waits.items() if wait.loss.dead is dead}
            if errors:
                self._ledger.abandon_all(execution, generation, errors, wait_s=bound_s, term=self._term)

    def _place(self, steps: Sequence[Step]) -> tuple[str, str]:
        # the load of the fleet is only asked for where something moves
        if self._placer is None:
            self._placer = self._placing()
        return self._placer(steps)

    def _look_for_messages(self, suspects: dict[str, list[str]]) -> None:
        """Publish again what stands neither in its queue nor in anybody's hands; each queue is read once for all."""
        sought: dict[Sought, tuple[str, tuple[str, ...]]] = {}
        for execution, old in suspects.items():
            known, claimable = self._known[execution], set(old)
            generation, number = known.opened.generation, known.opened.number
            for message in known.stage.messages:
                if next_one := next((name for name in message if name in claimable), None):
                    # it is named by its first action, also when that is done and a later one is waited for
                    ids = frozenset(message_id(execution, generation, number, name) for name in message)
                    sought[Sought(device_queue(known.where[next_one]), ids)] = (execution, message)
        lost_of: defaultdict[str, set[str]] = defaultdict(set)
        for one in self._messages.lost(sought, self._ledger.counters()):
            execution, message = sought[one]
            lost_of[execution].update(message)
        for execution, old in suspects.items():
            generation, number = self._known[execution].opened.generation, self._known[execution].opened.number
            lost = lost_of[execution]
            # the clocks of those that only wait their turn start anew as well: the next look is due in a while
            still = [name for name in self._ledger.touch(execution, generation, old, term=self._term) if name in lost]
            if still:
                _log.warning("publishing again what has lost its message: %s of %s", ", ".join(still), execution)
                self._publish_again(execution, generation, number, still)


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
