"""What becomes of the actions of a device that is gone, told before it happens: by the same rules as failover. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from executor.distribution.failover import Loss, Place, Rows, decide, devices_of, may_move, stranded_in
from executor.model.errors import NoDevice
from executor.model.execution import FINAL
from executor.model.plan import Stage, Step


@dataclass(frozen=True)
class Fate:
    """What is done about one action."""

    becomes: Literal["moves", "waits", "probed", "listed"]
    """moves: to another device. waits: for its own. probed: found out first whether it was done, then done if not.
    listed: unless its own device tells, nobody can know whether it was done; it is left for a person."""
    device: str
    """Where it goes on, or what it waits for."""
    why: str


def fates_of(stage: Stage, steps: Mapping[str, Step], rows: Rows, failed: str, place: Place) -> dict[str, Fate]:
    """What becomes of each action of a stage that was to be done by `failed` and has not ended.

    Args:
        stage: one of the way forward, open or not.
        steps: those of its generation, by id.
        rows: what the ledger says of its actions.
        failed: the device that is gone.
        place: chooses among the others.
    """
    loss = Loss(f"no worker serves device {failed!r}", f"Start one with `rex worker --device {failed}`")
    stranded = stranded_in(stage, rows, 0, lambda device: loss if device == failed else None)
    decided = decide(stranded, steps, place)
    found = {
        name: Fate("moves", move.to, move.reason)
        for move in decided.moves
        for message in move.messages
        for name in message
    }
    nobody = {name: wait.nobody for name, wait in decided.waits.items()}
    for name, device in devices_of(stage, rows).items():
        status = rows.get(name, {}).get("status", "ready")
        if device != failed or status in FINAL or name in found:
            continue
        if status == "running":
            found[name] = _running(steps[name], failed, place)
        else:
            found[name] = _waits(steps[name], failed, nobody.get(name, ""))
    return {name: found[name] for name in stage.steps if name in found}


def _waits(step: Step, device: str, nobody: str) -> Fate:
    if nobody:
        return Fate("waits", device, f"no other device takes it: {nobody}")
    why = "it comes after what waits, and is looked at then" if step.movable else "it is bound to its device"
    return Fate("waits", device, f"{why}; up to distributed.device_wait")


def _running(step: Step, device: str, place: Place) -> Fate:
    """It is taken from its holder when that is surely gone; what may run twice at once."""
    if may_move([step], begun=True):
        try:
            to, why = place([step])
        except NoDevice:
            pass
        else:
            return Fate("probed", to, f"it was running; {to}: {why}")
    if step.idempotent:
        return Fate("probed", device, "it was running and may run twice: it goes on when its device is back")
    return Fate("listed", device, "it was running, may not run twice, and only its device can tell")
