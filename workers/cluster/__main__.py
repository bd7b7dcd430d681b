"""``python -m workers.cluster``: the parent of the processes of one role; `rex up` and `rex worker` become it."""

import argparse
import contextlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.settings import Settings, SettingsInvalid, load_settings
from executor.cli.running import AlreadyRunning, address_file, announce, only_one
from workers.cluster import processes
from workers.cluster.server import EmbeddedServer, NoServer, prepare
from workers.keeper import GaveUp, Keeper, Kept

GRACE_S = 25.0
"""How long actions that run may take to finish when a worker is told to end."""
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
    except (SettingsInvalid, AlreadyRunning, processes.PortTaken) as error:
        return _complain(error, _WRONG)
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

    _keep([kept], settings, GRACE_S, ready)
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
            kept = _processes(given, state, server)
            # a run that starts us holds our standard input; without it we end, however it ended
            lifeline = sys.stdin.fileno() if private else None

            def ready(pids: dict[str, int]) -> None:
                told = {"ready": True, "broker_url": server.url, "devices": given.devices, "pid": os.getpid(),
                        "pids": pids, "flower": given.flower}  # fmt: skip
                announce(state, told)
                _say(json.dumps(told) if given.json or private else _how_to_use(told, state))

            grace_s = _PRIVATE_GRACE_S if private else GRACE_S
            _keep(kept, settings, grace_s, ready, patient=False, lifeline=lifeline)
        finally:
            server.remove_socket()
    return 0


def _processes(given: argparse.Namespace, state: Path, server: EmbeddedServer) -> list[Kept]:
    folder = processes.working_folder(state)
    environ = processes.child_environment(server.url, server.url, state)

    def log(name: str) -> Path | None:
        return state / f"{name}.log" if given.private else None

    # the server's own log would stand between the lines of the workers
    kept = [
        server.kept(state / "server.log"),
        processes.coordinator(environ=environ, folder=folder, log=log("coordinator")),
    ]
    for device in given.devices:
        kept.append(
            processes.worker(
                [device], given.concurrency, environ=environ, folder=folder, log=log("workers"), name=device
            )
        )
    if given.flower is not None:
        kept.append(processes.flower(given.flower, environ=environ, folder=folder, log=log("flower")))
    return kept


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
