"""What becomes of an action whose device is gone: pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from executor.distribution.failover import may_move
from executor.model.errors import RexError
from executor.model.execution import FINAL
from executor.model.plan import Step

Place = Callable[[Step], str]
"""Chooses a device of those that live; raises RexError where none can do it."""


@dataclass(frozen=True)
class Fate:
    """What is done about one action."""

    becomes: Literal["moves", "waits", "probed", "listed"]
    """moves: to another device. waits: for its own. probed: found out first whether it was done, then done if not.
    listed: nobody can know whether it was done, so at its deadline it ends as unknown, for a person."""
    device: str
    """Where it goes on, or what it waits for."""
    why: str


def fate_of(step: Step, row: Mapping[str, str], failed: str, place: Place) -> Fate | None:
    """What becomes of `step`, whose device `failed` is gone; None: it has ended.

    Args:
        step: the action.
        row: its fields in the ledger.
        failed: the device.
        place: finds another.
    """
    status = row.get("status", "ready")
    if status in FINAL:
        return None
    begun = "attempt" in row
    movable = may_move([step], begun=begun)
    instead = _instead(step, failed, place) if movable else None
    if status == "running":
        return _of_running(step, failed, instead)
    if instead is not None:
        return Fate("moves", instead, f"{'another device may take it up' if begun else 'it has not begun'}")
    bound = "no other device can do it" if movable else "it is bound to its device"
    return Fate("waits", failed, f"{bound}: it goes on when {failed} is back, within distributed.device_wait")


def _of_running(step: Step, failed: str, instead: str | None) -> Fate:
    if instead is not None:
        return Fate("probed", instead, "it was running, and may be taken up elsewhere")
    if step.idempotent:
        return Fate("probed", failed, "it was running and may run twice: it goes on when its device is back")
    return Fate("listed", failed, "it was running, may not run twice, and only its device can tell whether it was done")


def _instead(step: Step, failed: str, place: Place) -> str | None:
    try:
        found = place(step)
    except RexError:
        return None
    return None if found == failed else found
