"""A cluster of real processes over a real server, and the effect log by which it is judged."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from executor import ResolutionClient
from support.forking import Forked
from support.messages import Messages, RabbitMessages, RedisMessages
from support.rabbitmq import RabbitNode
from support.server import Server
from support.waiting import wait_until

BIN = Path(sys.executable).parent
WORKER = (sys.executable, "-P", "-m", "workers")
"""What `rex` starts."""
CELERY_WORKER = (str(BIN / "celery"), "-A", "workers", "worker", "--without-gossip", "--without-mingle")
"""The same as others start it, and as every release knows it; it loads all of `celery` and Flower, and takes longer."""

UNTIRED = {"REX_MONITORING__THRESHOLDS__CPU": "100"}
"""Settings of a cluster whose devices do not count as degraded because other tests keep this machine busy."""

both_brokers = pytest.mark.parametrize("broker", ["redis", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
"""Runs a test of a cluster with the messages on the ledger's server, and on RabbitMQ."""
redis_first = pytest.mark.parametrize(
    "broker", ["redis", pytest.param("rabbitmq", marks=(pytest.mark.rabbitmq, pytest.mark.long))]
)
"""The same; on RabbitMQ only in `make test-rabbitmq`, for the time that it takes."""


class Cluster:
    """Server, coordinators and workers; everything is ended by `close`."""

    def __init__(
        self, folder: Path, *, rabbit: RabbitNode | None = None, program: Sequence[str] = (), **settings: str
    ) -> None:
        """
        Args:
            folder: for everything that it writes.
            rabbit: carries the messages; None: the server that holds the ledger does.
            program: starts a worker or a coordinator; none: they are forked, which is much quicker.
            settings: variables of all its processes.
        """
        self.folder = folder
        self.rabbit = rabbit
        self.server = Server(folder / "srv").start()
        self.broker_url = self.server.url if rabbit is None else rabbit.virtual_host()
        self.effects = Effects(folder / "effects")
        self.processes: dict[str, subprocess.Popen[bytes] | Forked] = {}
        self._made: dict[str, tuple[str, int, dict[str, str]]] = {}
        self._program = program
        self._settings = settings
        self.client = ResolutionClient(self.server.url, patience_s=30)

    def environment(self, **more: str) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("REX_")}
        return {
            **own,
            "REX_BROKER_URL": self.broker_url,
            "REX_LEDGER_URL": self.server.url,
            "REX_STATE_DIR": str(self.folder / "state"),
            "EFFECTS": str(self.effects.path),
            **self._settings,
            **more,
        }

    def messages(self) -> Messages:
        """What lies in the broker; to be closed."""
        return RedisMessages(self.server.client()) if self.rabbit is None else RabbitMessages(self.broker_url)

    def celery(self) -> Celery:
        """A producer of another service; to be closed."""
        app = Celery(broker=self.broker_url)
        if self.rabbit is None:
            app.conf.broker_transport_options = {"priority_steps": [0]}
        else:
            app.conf.task_create_missing_queue_type = "quorum"
        return app

    def coordinator(self, name: str = "control", **environment: str) -> None:
        self._worker(name, "control", 4, environment)

    def worker(self, *devices: str, name: str | None = None, concurrency: int = 4, **environment: str) -> None:
        queues = ",".join(f"device.{device}" for device in devices)
        self._worker(name or devices[0], queues, concurrency, environment)

    def again(self, name: str) -> None:
        """Start a process that has ended again, as its parent would."""
        self.gone(name)
        self._worker(name, *self._made[name])

    def _worker(self, name: str, queues: str, concurrency: int, environment: Mapping[str, str]) -> None:
        # a crash point hits once: the file that it names is there when the process is started again
        self._made[name] = (queues, concurrency, dict(environment))
        argv = [
            "--queues", queues, "--concurrency", str(concurrency), "--hostname", f"{name}@%h", "--loglevel", "INFO",
        ]  # fmt: skip
        told, log = self.environment(**environment), self.folder / f"{name}.log"
        if not self._program:
            self.processes[name] = Forked(argv, told, self.folder, log)
            return
        with log.open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [*self._program, *argv], cwd=self.folder, env=told, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True,
            )  # fmt: skip

    def ready(self, count: int | None = None) -> "Cluster":
        """Wait until all processes have registered."""
        wanted = len(self.processes) if count is None else count
        wait_until(lambda: len(self.client.workers()) >= wanted, description=f"{wanted} processes have registered")
        return self

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        os.kill(self.processes[name].pid, number)

    def gone(self, name: str) -> None:
        """Wait for the end of a process."""
        self.processes.pop(name).wait(timeout=60)

    def run(self, strategy: Mapping[str, Any], *, timeout_s: float = 60, **inputs: Any) -> dict[str, Any]:
        """Submit and wait for the report."""
        execution = self.client.submit(dict(strategy), inputs=inputs)
        return self.result(execution, timeout_s=timeout_s)

    def result(self, execution: str, *, timeout_s: float = 60) -> dict[str, Any]:
        try:
            return self.client.result(execution, timeout_s=timeout_s)
        except TimeoutError:
            raise AssertionError(
                "it never ended:\n" + json.dumps(self.client.status(execution), indent=1) + "\n" + self.logs()
            ) from None

    def logs(self) -> str:
        tails = []
        for path in sorted(self.folder.glob("*.log")):
            tails.append(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}")
        return "\n".join(tails)

    def crash_at(self, point: str, action: str = "*", how: str = "KILL") -> dict[str, str]:
        """Environment of a process that gets this signal once when it comes to that point."""
        return {"REX_CRASH_POINT": f"{point}:{action}:{how}:{self.folder / 'crashed'}"}

    @property
    def crashed(self) -> bool:
        return (self.folder / "crashed").exists()

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.kill()
        for process in self.processes.values():
            process.wait()
        self.client.close()
        self.server.stop()


class Effects:
    """The effect log: what actions did, written by themselves, with fsync; never our own ledger."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []

    def command(self, word: str, *, then: str = "true") -> dict[str, Any]:
        """Parameters of a `command` that writes `word` to the log."""
        return {"run": f"echo {word} >> $EFFECTS && sync $EFFECTS && {then}"}


def action(name: str, effects: Effects, *, then: str = "true", **fields: Any) -> dict[str, Any]:
    """An action that logs ``do:name``, with a compensation that logs ``undo:name``."""
    return {
        "id": name,
        "uses": "command",
        "with": effects.command(f"do:{name}", then=then),
        "compensate": {"uses": "command", "with": effects.command(f"undo:{name}")},
        **fields,
    }


def strategy(name: str, actions: Sequence[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
    """A strategy whose actions run on edge-1 unless they say otherwise."""
    return {"name": name, "defaults": {"device": "edge-1"}, "actions": list(actions), **fields}
