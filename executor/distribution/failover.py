"""What becomes of an open stage when devices are lost or drained: which of its messages go where, and what waits.

Pure but for `fail_over`, which does what was decided. The ledger decides once more, in one step, what may move.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Protocol

from executor.model.errors import NO_DEVICE, ActionError, NoDevice
from executor.model.execution import FINAL, Move
from executor.model.placement import Devices, Wanted
from executor.model.plan import Call, Stage, Step

Rows = Mapping[str, Mapping[str, str]]
"""What the ledger says of each action, by id."""

Place = Callable[[Sequence[Step]], tuple[str, str]]
"""Chooses one device that can do all of these steps, and says why.

Raises:
    NoDevice: none can, with what there is.
"""


@dataclass(frozen=True)
class Loss:
    """Why a device takes no new actions."""

    reason: str
    """``no worker serves device 'edge-1'``."""
    remedy: str
    """``Start one with ...``."""
    dead: bool = True
    """False: it lives, and is drained or about to end. What has begun there, and what takes something back, stays; what
    waits for it waits without a bound of its own."""
    young: bool = False
    """It may be back in a moment: what has not begun there waits for that."""


@dataclass(frozen=True)
class Stranded:
    """A message of an open stage whose device does not take it."""

    device: str
    actions: tuple[str, ...]
    """Those that have not ended, in order."""
    loss: Loss
    begun: bool
    """A worker has claimed the first of them before, or is to ask first whether it was done."""
    next: bool
    """Its first action could be claimed now; else something before it in its sequence comes first."""


@dataclass(frozen=True)
class Wait:
    """An action that waits for its own device."""

    device: str
    loss: Loss
    nobody: str = ""
    """Why no other device takes it; empty: it is bound to its own."""


@dataclass
class Failover:
    """What was decided for one stage."""

    moves: list[Move] = field(default_factory=list)
    waits: dict[str, Wait] = field(default_factory=dict)


class MovingLedger(Protocol):
    """What `fail_over` needs of the ledger."""

    def steps(self, execution: str, generation: int, ids: Iterable[str] | None = None) -> dict[str, Step]: ...
    def move(self, execution: str, generation: int, moves: Iterable[Move], *, term: str = "") -> list[str]: ...


def fail_over(
    ledger: MovingLedger, execution: str, generation: int, stranded: Sequence[Stranded], place: Place, *, term: str = ""
) -> tuple[list[str], dict[str, Wait]]:
    """Move what may move of an open stage; returns the actions that were moved, and what waits.

    Args:
        ledger: where steps stand, and what is asked to move them.
        execution: its id.
        generation: of the open stage.
        stranded: as `stranded_in` found it.
        place: chooses the device.
        term: of the watchdog that leads; empty for anybody else.
    """
    if not stranded:
        return [], {}
    names = [name for one in stranded for name in one.actions]
    decided = decide(stranded, ledger.steps(execution, generation, names), place)
    moved = ledger.move(execution, generation, decided.moves, term=term) if decided.moves else []
    return moved, decided.waits


def place_with(fleet: Devices) -> Place:
    """Chooses by what the steps ask for: one device that can do all of them."""

    def place(steps: Sequence[Step]) -> tuple[str, str]:
        agents = {step.agent for step in steps}
        if len(agents) > 1:
            raise NoDevice(f"{', '.join(step.id for step in steps)} are for agents of different kinds")
        uses = dict.fromkeys(call.uses for step in steps for call in _calls(step))
        capabilities = dict.fromkeys(name for step in steps for name in step.capabilities)
        placed = fleet.place(Wanted(tuple(uses), agents.pop(), tuple(capabilities)))
        return placed.device, placed.why

    return place


def _calls(step: Step) -> Iterator[Call]:
    """What it may call on its device: its fallback and its ways back included, as when it was planned."""
    yield step.call
    ways = [step.way_back]
    if step.fallback is not None:
        yield step.fallback.call
        ways.append(step.fallback.way_back)
    yield from (way.call for way in ways if way.call is not None)


def devices_of(stage: Stage, rows: Rows) -> dict[str, str]:
    """The device of each action of a stage: where it was moved, else where its plan has it."""
    return {
        name: rows.get(name, {}).get("at") or device
        for message, device in zip(stage.messages, stage.queues, strict=True)
        for name in message
    }


def stranded_in(
    stage: Stage, rows: Rows, generation: int, loss_of: Callable[[str], Loss | None]
) -> list[Stranded]:  # fmt: skip
    """The messages of an open stage that wait for a device which does not take them.

    Of a sequence: where its next message is stranded, that one, and those after it that are too.
    """
    devices = devices_of(stage, rows)
    found: list[Stranded] = []
    for actions in _unfinished(stage, rows):
        first = rows.get(actions[0], {})
        device, begun = devices[actions[0]], "attempt" in first or "probe" in first
        is_next = not (stage.kind == "sequence" and found)
        loss = loss_of(device) if first.get("status", "ready") == "ready" else None
        if loss is not None and not loss.dead and (begun or generation > 0):
            loss = None
        if loss is not None:
            found.append(Stranded(device, actions, loss, begun, is_next))
        elif stage.kind == "sequence" and not found:
            break
    return found


def _unfinished(stage: Stage, rows: Rows) -> Iterator[tuple[str, ...]]:
    """Of each message what has not ended."""
    for message in stage.messages:
        for number, name in enumerate(message):
            if rows.get(name, {}).get("status") not in FINAL:
                yield message[number:]
                break


def decide(stranded: Iterable[Stranded], steps: Mapping[str, Step], place: Place) -> Failover:
    """Which messages go where, and what waits for its own device.

    Never begun: moves where its device was our choice. Begun: only what may run again, or what another device reaches.
    """
    moves: defaultdict[tuple[str, str], list[Stranded]] = defaultdict(list)
    reasons: dict[tuple[str, str], str] = {}
    decided = Failover()
    found = list(stranded)
    followers = [one for one in found if not one.next]
    for one in found:
        if not one.next:
            continue  # it goes with the head of its sequence, or is looked at when its turn has come
        listed = [steps[name] for name in one.actions]
        if not may_move(listed, begun=one.begun):
            _wait(decided, one)
        elif one.begun or not one.loss.young:
            try:
                with_it, to, why = _placed_together(one, followers, steps, place)
            except NoDevice as error:
                _wait(decided, one, str(error))
                continue
            moves[one.device, to] += with_it
            reasons.setdefault((one.device, to), f"{one.loss.reason}; {to}: {why}")
    for (lost, to), those in moves.items():
        messages = tuple(one.actions for one in those)
        decided.moves.append(
            Move(lost, to, messages, reasons[lost, to], those[0].loss.reason if those[0].loss.dead else "")
        )
    return decided


def _placed_together(
    head: Stranded, followers: Iterable[Stranded], steps: Mapping[str, Step], place: Place
) -> tuple[list[Stranded], str, str]:
    """The head with what follows it on the lost device where one device takes all of it, else the head alone.

    The ledger moves what has not had its turn only along with what comes before it, to the same device.

    Raises:
        NoDevice: none takes the head.
    """
    along = [
        one
        for one in takewhile(lambda one: one.device == head.device, followers)
        if may_move([steps[name] for name in one.actions], begun=one.begun)
    ]
    if along:
        with suppress(NoDevice):
            together = [head, *along]
            to, why = place([steps[name] for one in together for name in one.actions])
            return together, to, why
    to, why = place([steps[name] for name in head.actions])
    return [head], to, why


def may_move(steps: Sequence[Step], *, begun: bool) -> bool:
    """Whether a message may go to another device; `begun`: its first action was claimed before."""
    first = steps[0]
    return all(step.movable for step in steps) and (not begun or first.idempotent or first.reach)


def _wait(decided: Failover, one: Stranded, nobody: str = "") -> None:
    if one.next:
        decided.waits[one.actions[0]] = Wait(one.device, one.loss, nobody)


def told_waiting(action: str, wait: Wait, longest: str) -> dict[str, Any]:
    """What is said of an action that waits for its device: at once, and again when the wait is over.

    Args:
        action: its id.
        wait: what it waits for.
        longest: ``up to 60 s (distributed.device_wait)``.
    """
    also = f", and no other takes it ({wait.nobody.rstrip('.')})" if wait.nobody else ""
    message = f"{wait.loss.reason}, which {action} needs{also}; waiting {longest}. {wait.loss.remedy}"
    return {**ActionError(message, NO_DEVICE).told(action), "type": "NoDevice"}
