"""Starts workers by forking a process that has imported everything already: imports are nine tenths of a start.

The workers are real processes of a session of their own, with their environment, folder and log, like those that are
started with exec; some tests start them so as well.
"""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "celery.apps.worker", "celery.concurrency.thread", "celery.worker.consumer", "kombu.transport.pyamqp",
        "kombu.transport.redis", "workers.actions.command", "workers.signals", "workers.tasks.control",
        "workers.tasks.run", "executor.catalogue", "argparse", "psutil",
    ]
)  # fmt: skip


class Forked:
    """One worker, as a `subprocess.Popen`."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        """
        Args:
            argv: of ``python -m workers``.
            environment: all of it.
            folder: where it works.
            log: where its output goes.
        """
        self._process = _CONTEXT.Process(target=_serve, args=(list(argv), dict(environment), str(folder), str(log)))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a worker", timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _serve(argv: list[str], environment: dict[str, str], folder: str, log: str) -> None:
    os.setsid()
    os.chdir(folder)
    with Path(log).open("ab") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = ["workers", *argv]
    # only now: the app is configured from the environment
    from workers.__main__ import main

    main()
