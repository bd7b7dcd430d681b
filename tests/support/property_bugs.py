"""Bugs that are planted into the processes of a cluster, and nowhere else: the property has to find each of them.

A ``sitecustomize`` on the path of these processes calls one of the functions here before anything else is loaded.
"""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]


def path_of_workers() -> str:
    """``PYTHONPATH`` of processes that run drawn cases: `support` is on it, and whatever is on ours."""
    return os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])


def skipped_undo() -> None:
    """The undo of one action is forgotten."""
    from rollback import compensation

    sound = compensation._Planner._undos_of

    def forgetful(self: Any, step: Any) -> Iterator[Any]:
        return iter(()) if step.id == "a1" else sound(self, step)

    compensation._Planner._undos_of = forgetful


def wrong_order() -> None:
    """What came first is taken back first."""
    from rollback import compensation

    compensation.reversed = lambda listed: iter(list(listed))


def doubled_compensation() -> None:
    """Each compensation is carried out twice."""
    from executor.engine import ExecutionEngine

    sound = ExecutionEngine._undo

    def twice(self: ExecutionEngine, attempt: Any) -> Any:
        sound(self, attempt)
        return sound(self, attempt)

    ExecutionEngine._undo = twice


def undo_of_what_failed() -> None:
    """What failed while executing is taken back as if it had been completed."""
    from rollback import effects

    sound = effects.Part.verdict

    def eager(self: Any) -> tuple[str, str]:
        return ("undo", "") if self.how.rule == "completed" and self.effect == "started" else sound(self)

    effects.Part.verdict = eager


def forgotten_doubt() -> None:
    """What nobody knows to have been done is neither taken back nor listed."""
    from rollback import effects

    sound = effects.Part.verdict
    effects.Part.verdict = lambda self: ("nothing", "") if self.effect == "unknown" else sound(self)


def late_to_notice() -> None:
    """A worker that was declared dead finds out a little late; no bug, as the ledger refuses its answers."""
    from workers import wiring

    sound = wiring._end_now

    def late() -> None:
        threading.Event().wait(0.3)
        sound()

    wiring._end_now = late


def stale_token_accepted() -> None:
    """The ledger takes the answer of an attempt whose token is no longer the current one."""
    from executor.ledger import scripts

    late_to_notice()
    sound, check = scripts.source, "v[1] ~= token or token == '' or "
    assert check in sound("settle")
    scripts.source = lambda name: sound(name).replace(check, "")


_PLANTED = (
    skipped_undo, wrong_order, doubled_compensation, undo_of_what_failed, forgotten_doubt, late_to_notice,
    stale_token_accepted,
)  # fmt: skip
BUGS: dict[str, Callable[[], None]] = {bug.__name__: bug for bug in _PLANTED}


def planted(bug: str, folder: Path) -> dict[str, str]:
    """Environment of a cluster whose workers and coordinators have this bug; each has to be started by itself."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import sys\nif 'workers' in sys.orig_argv:\n    from support.property_bugs import BUGS\n    BUGS[{bug!r}]()\n"
    )
    return {"PYTHONPATH": os.pathsep.join([str(folder), path_of_workers()])}
