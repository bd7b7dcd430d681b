"""Which processes a role consists of, and the environment that they get."""

import os
import platform
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.queues import CONTROL, device_queue
from workers.keeper import Kept

COORDINATOR_CONCURRENCY = 4


class PortTaken(Exception):
    """Flower's port is in use."""


def working_folder(state: Path) -> Path:
    """An empty directory to work in: nothing beside a user's strategy is ever imported by our processes."""
    folder = state / "cwd"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def child_environment(broker_url: str | None, ledger_url: str | None, state: Path) -> dict[str, str]:
    """Our own environment with the addresses of the cluster; what is not given stays as it is."""
    environ = dict(os.environ)
    for ours in ("REX_BEAT_FD", "REX_LOCAL_CLUSTER", "REX_WARM_UP"):
        environ.pop(ours, None)
    if broker_url is not None:
        environ["REX_BROKER_URL"] = broker_url
        environ["REX_LEDGER_URL"] = ledger_url or broker_url
    environ["REX_STATE_DIR"] = str(state)
    return environ


def worker(
    devices: Sequence[str], concurrency: int, *, environ: Mapping[str, str], folder: Path, log: Path | None, name: str
) -> Kept:
    """One process that serves the queues of `devices`: each an id, or ``ID:KIND`` for one that is an agent."""
    queues = ",".join(device_queue(device.partition(":")[0]) for device in devices)
    agents = ",".join(device for device in devices if ":" in device)
    return _celery_worker(name.replace(":", "."), queues, concurrency, {**environ, "REX_AGENTS": agents}, folder, log)


def coordinator(*, environ: Mapping[str, str], folder: Path, log: Path | None, name: str = "coordinator") -> Kept:
    """One process that serves `control`, publishes the outbox and watches."""
    return _celery_worker(name, CONTROL, COORDINATOR_CONCURRENCY, environ, folder, log)


def _celery_worker(  # noqa: PLR0917 - in the order of the command line
    name: str, queues: str, concurrency: int, environ: Mapping[str, str], folder: Path, log: Path | None
) -> Kept:
    argv = (
        sys.executable,
        # -P: the working directory is no place to import from. -W: a container is the only user of its root
        "-P", "-W", "ignore:You're running the worker with superuser",
        "-m", "workers", "--queues", queues, "--concurrency", str(concurrency),
        "--hostname", f"{name}@{platform.node()}", "--loglevel", "WARNING",
    )  # fmt: skip
    return Kept(name, argv, environ, folder, log=log)


def flower(port: int, *, environ: Mapping[str, str], folder: Path, log: Path | None) -> Kept:
    """Flower on loopback. Its API needs no password there, unless Flower's own variables ask for one.

    Raises:
        PortTaken: somebody listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(f"Flower cannot listen on 127.0.0.1:{port} ({error.strerror}): name another port") from None
    guarded = any(environ.get(name) for name in ("FLOWER_BASIC_AUTH", "FLOWER_AUTH"))
    told = environ if guarded else {**environ, "FLOWER_UNAUTHENTICATED_API": "true"}
    argv = (
        sys.executable, "-P", "-m", "celery", "--app", "workers", "flower", "--address=127.0.0.1", f"--port={port}",
        "--logging=error",
    )  # fmt: skip
    return Kept("flower", argv, told, folder, beats=False, log=log)
