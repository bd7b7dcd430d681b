"""``python -m workers.cluster``: the parent of the processes of one role; `rex up` and `rex worker` become it."""

import argparse
import contextlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from config.settings import Settings, SettingsInvalid, load_settings
from executor.broker.addresses import celery_addresses
from executor.cli.running import AlreadyRunning, address_file, announce, only_one
from executor.cli.scale_file import check_scale, write_scale
from executor.model.errors import Unreachable
from workers.cluster import processes
from workers.cluster.server import EmbeddedServer, NoServer, prepare
from workers.cluster.wanted import WantedProcesses
from workers.keeper import NO_ACCESS, GaveUp, Keeper, Kept, TurnedAway

_PRIVATE_GRACE_S = 5.0
KEEP = "keep"
"""A file of this name in a private directory: it is not removed at the end."""
_WRONG, _UNREACHABLE = 2, 7


def main(arguments: list[str] | None = None) -> int:
    """Run a role until it is told to end; returns the exit status."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        settings = load_settings()
        if given.role == "up":
            return _up(given, settings)
        return _role(given, settings)
    except (SettingsInvalid, Unreachable, AlreadyRunning, processes.PortTaken) as error:
        return _complain(error, _WRONG)
    except TurnedAway as error:
        status = _UNREACHABLE if error.status == NO_ACCESS else _WRONG
        return status if error.said else _complain(error, status)
    except (NoServer, GaveUp) as error:
        return _complain(error, _UNREACHABLE)
    except OSError as error:
        return _complain(f"{error.filename or 'the cluster'}: {error.strerror}; set REX_STATE_DIR to a directory that "
                         "can be written", _WRONG)  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.cluster", description=__doc__)
    roles = parser.add_subparsers(dest="role", required=True)
    up = roles.add_parser("up", help="an embedded server, a coordinator, and a worker for each device")
    up.add_argument("--private", type=Path, help="a directory of this cluster's own, removed at the end")
    up.add_argument("--flower", type=int, metavar="PORT")
    up.add_argument("--scale", action="append", default=[], type=_scaled, metavar="DEVICE=N")
    worker = roles.add_parser("worker", help="a worker that serves all devices named")
    coordinator = roles.add_parser("coordinator", help="a coordinator")
    for one in (up, worker):
        one.add_argument("--device", action="append", default=[], dest="devices")
        one.add_argument("--concurrency", type=int, default=4)
    for one in (up, worker, coordinator):
        one.add_argument("--json", action="store_true", help="say that all is ready in one line of JSON")
    return parser


def _complain(error: object, status: int) -> int:
    sys.stderr.write(f"rex: {error}\n")
    return status


# -- worker, coordinator ----------------------------------------------------------------------------------------------


def _role(given: argparse.Namespace, settings: Settings) -> int:
    if settings.broker_url is not None and settings.ledger_url is not None:
        # a process that cannot read them would be started again and again
        celery_addresses(settings.broker_url, settings.ledger_url, "client")
    state = settings.state_dir
    folder = processes.working_folder(state)
    environ = processes.child_environment(settings.broker_url, settings.ledger_url, state)
    # several on one host must not have one name
    if given.role == "worker":
        name = f"{'+'.join(given.devices)}.{os.getpid()}"
        kept = processes.worker(given.devices, given.concurrency, environ=environ, folder=folder, log=None, name=name)
    else:
        kept = processes.coordinator(environ=environ, folder=folder, log=None, name=f"coordinator.{os.getpid()}")

    def ready(pids: dict[str, int]) -> None:
        told = {"ready": True, "pids": pids}
        what = f"serving {', '.join(given.devices)}" if given.role == "worker" else "coordinating"
        _say(json.dumps(told) if given.json else f"{what} (process {next(iter(pids.values()))}); Ctrl-C ends")

    _keep([kept], settings, settings.distributed.grace.total_seconds(), ready)
    return 0


def _keep(kept: list[Kept], settings: Settings, grace_s: float, ready: Any, **more: Any) -> None:
    silence_s = settings.distributed.parent_silence.total_seconds()
    Keeper(kept, silence_s=silence_s, grace_s=grace_s, on_ready=ready, **more).run()


# -- up ---------------------------------------------------------------------------------------------------------------


def _up(given: argparse.Namespace, settings: Settings) -> int:
    private: Path | None = given.private
    state = private or settings.state_dir
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with only_one(state), _removed_at_the_end(private):
        server = prepare(state)
        try:
            cluster = LocalCluster(given, state, server)
            # a run that starts us holds our standard input; without it we end, however it ended
            lifeline = sys.stdin.fileno() if private else None

            first, distributed = True, settings.distributed

            def ready(pids: dict[str, int]) -> None:
                nonlocal first
                told = {"ready": True, "broker_url": server.url, "devices": cluster.devices, "wanted": cluster.scale,
                        "pid": os.getpid(), "pids": pids, "flower": given.flower,
                        "bounds": [distributed.scale_min, distributed.scale_max]}  # fmt: skip
                announce(state, told)
                if first:
                    _say(json.dumps(told) if given.json or private else _how_to_use(told, state))
                first = False

            grace_s = _PRIVATE_GRACE_S if private else distributed.grace.total_seconds()
            wanted = WantedProcesses(state, cluster.processes)
            _keep(cluster.processes(cluster.scale), settings, grace_s, ready, patient=False, lifeline=lifeline,
                  wanted=wanted)  # fmt: skip
        finally:
            server.remove_socket()
    return 0


class LocalCluster:
    """The processes of a cluster on this machine, by how many workers each device has."""

    def __init__(self, given: argparse.Namespace, state: Path, server: EmbeddedServer) -> None:
        self._given = given
        self._state = state
        self._environ = processes.child_environment(server.url, server.url, state)
        self._environ |= {"REX_WARM_UP": "later"} if given.private else {"REX_LOCAL_CLUSTER": "1"}
        self._folder = processes.working_folder(state)
        self._named = {device.partition(":")[0]: device for device in given.devices}
        """Devices by id, as they were named: an agent with its kind."""
        self.scale = dict.fromkeys(self._named, 1) | dict(given.scale)
        # the server's own log would stand between the lines of the workers
        self._first = [
            server.kept(state / "server.log"),
            processes.coordinator(environ=self._environ, folder=self._folder, log=self._log("coordinator")),
        ]
        self._last: list[Kept] = []
        if given.flower is not None:
            self._last.append(
                processes.flower(given.flower, environ=self._environ, folder=self._folder, log=self._log("flower"))
            )
        write_scale(state, self.scale)

    @property
    def devices(self) -> list[str]:
        """Those that are served, an agent with its kind."""
        return [self._named.get(device, device) for device, number in self.scale.items() if number]

    def processes(self, scale: Mapping[str, int]) -> list[Kept]:
        """All of them, with so many workers."""
        self.scale = dict(scale)
        workers = [self._worker(device, one) for device, number in scale.items() for one in range(1, number + 1)]
        return [*self._first, *workers, *self._last]

    def _worker(self, device: str, number: int) -> Kept:
        # no device can be called that
        name = device if number == 1 else f"{device}~{number}"
        return processes.worker(
            [self._named.get(device, device)], self._given.concurrency, environ=self._environ, folder=self._folder,
            log=self._log("workers"), name=name,
        )  # fmt: skip

    def _log(self, name: str) -> Path | None:
        return self._state / f"{name}.log" if self._given.private else None


def _scaled(text: str) -> tuple[str, int]:
    device, _, number = text.partition("=")
    try:
        check_scale(device, int(number) if number.isdecimal() else number)
    except ValueError as error:  # of which argparse would tell only that there was one
        raise argparse.ArgumentTypeError(str(error)) from None
    return device, int(number)


@contextlib.contextmanager
def _removed_at_the_end(private: Path | None) -> Iterator[None]:
    """Remove the private directory, unless what lies in it is still needed."""
    try:
        yield
    finally:
        if private is not None and not (private / KEEP).exists():
            shutil.rmtree(private, ignore_errors=True)


def _how_to_use(told: dict[str, Any], state: Path) -> str:
    """Without the address: it holds a password, and consoles are recorded."""
    lines = [
        f"Ready: {', '.join(told['devices'])}. Ctrl-C ends all of it; what is unfinished goes on at the next start."
    ]
    if told["flower"]:
        lines.append(f"Flower: http://127.0.0.1:{told['flower']}")
    lines += [
        "Other `rex` commands of this user find it by themselves. For other programs its address, with the password,",
        f"is `broker_url` in {address_file(state)}, which only this user may read; `rex up --json` prints it.",
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
