"""Both ways to write an action type: a function with its way back, and a class that keeps what it needs to undo."""

from pathlib import Path
from typing import Any

from executor import ActionError, ActionType, Found, Model, Run, Snapshot, Undo, WayBack, action


@action("tickets.take", idempotent=True)
def take(box: str, number: int) -> dict[str, Any]:
    """Take a ticket out of the box."""
    ticket = Path(box) / str(number)
    taken = ticket.with_suffix(".taken")
    if ticket.exists():
        ticket.rename(taken)
    elif not taken.exists():
        raise ActionError(f"there is no ticket {number} in {box}")
    return {"number": number, "text": taken.read_text()}


@take.compensate
def put_back(box: str, number: int) -> None:
    """Called with the same parameters, and with `result` where it asks for it."""
    (Path(box) / f"{number}.taken").rename(Path(box) / str(number))


class Renumber(ActionType):
    """Give the next number of a counter, and remember what it was."""

    uses = "tickets.renumber"

    class Parameters(Model):
        counter: str
        step: int = 1

    class Results(Model):
        number: int

    def way_back(self, parameters: dict[str, Any]) -> WayBack:  # noqa: ARG002 - by its snapshot, whatever they are
        return WayBack.RESTORES

    def check(self, run: Run) -> Found:
        """Asked when a worker died in the middle: did it happen?"""
        before = (run.snapshot or {}).get("number")
        return Found.NOT_DONE if before is None or before == _read(run) else Found.DONE

    def snapshot(self, run: Run) -> Snapshot:
        """Kept before the effect; the target keeps two undos of one counter apart."""
        return Snapshot({"number": _read(run)}, target=run.parameters.counter)

    def execute(self, run: Run) -> dict[str, int]:
        number = _read(run) + run.parameters.step
        run.proceed()  # raises when the deadline has passed, or when the execution is being stopped
        Path(run.parameters.counter).write_text(str(number))
        return {"number": number}

    def compensate(self, run: Run, undo: Undo) -> None:
        """Restore, also after a beginning: nothing to do must do no harm."""
        Path(run.parameters.counter).write_text(str((undo.snapshot or {})["number"]))

    def verify(self, run: Run, result: dict[str, int]) -> None:
        if _read(run) != result["number"]:
            raise ActionError(f"{run.parameters.counter} was changed at the same time")


def _read(run: Run) -> int:
    return int(Path(run.parameters.counter).read_text())
