"""A restore that is killed at each of its steps, as often as it has steps."""

import os
import signal
import traceback
import warnings
from collections.abc import Callable

from executor.action import Json, Undo
from executor.snapshot import SnapshotType
from support.worlds import Bench


def restore_killed_at(bench: Bench, kind: SnapshotType, data: Json, step: int, **parameters: object) -> bool:
    """Restore in a process that gets SIGKILL at the `step`-th effect that it begins; whether it died of that."""
    with warnings.catch_warnings():  # a newer Python warns of threads: those of pytest wait, and hold no lock of ours
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        left = step

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            run = bench.run(kind, key="another key", **parameters)
            run._guard = count
            kind.restore(run, data, Undo(snapshot=data))
            os._exit(0)
        except BaseException:  # noqa: BLE001 - printed; this process must not go on as a second pytest
            traceback.print_exc()
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the restore failed by itself at step {step}"
    return status != 0


def kill_at_every_step(
    bench: Bench,
    kind: SnapshotType,
    data: Json,
    spoil: Callable[[], None],
    check: Callable[[], None],
    between: Callable[[], None] = lambda: None,
    **parameters: object,
) -> int:
    """For each step: `spoil` the world, let the restore die there, look in `between`, restore again, `check`.

    Returns:
        The number of deaths.
    """
    step = 1
    while True:
        spoil()
        died = restore_killed_at(bench, kind, data, step, **parameters)
        if died:
            between()
            kind.restore(bench.run(kind, key="another key", **parameters), data, Undo(snapshot=data))
        check()
        if not died:
            return step - 1
        step += 1
