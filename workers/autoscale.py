"""Has the devices of a local cluster served by as many processes as their work asks for, between the bounds set."""

import base64
import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from celery import Celery

from config.groups import DistributedSettings
from config.queues import device_queue
from executor.cli.scale_file import change_scale, read_scale
from executor.model.device import Announcement
from executor.model.errors import RexError, Unreachable
from executor.policies.scaling import Bounds, Load, Past, decide

_log = logging.getLogger("rex.autoscale")

LOOK_S = 0.5


@dataclass(frozen=True)
class Waiting:
    """What stands in the queue of one device."""

    messages: int = 0
    first: tuple[str, int, tuple[str, ...]] | None = None
    """Execution, generation and actions of the message that comes next; None: there is none, or it is not ours."""


class Queues(Protocol):
    def waiting(self, devices: Iterable[str]) -> dict[str, Waiting]: ...


class ScalingLedger(Protocol):
    def workers(self) -> Mapping[str, Announcement]: ...
    def busy(self) -> Mapping[str, int]: ...
    def drained(self) -> Mapping[str, object]: ...
    def head(self, execution: str) -> Mapping[str, str]: ...
    def actions(self, execution: str, generation: int, ids: Iterable[str]) -> dict[str, dict[str, str]]: ...
    def now_ms(self) -> int: ...


class BrokerQueues:
    """The queues of a Redis or Valkey broker, as a local cluster has it."""

    def __init__(self, app: Celery) -> None:
        self._connection = app.connection_for_read()

    def waiting(self, devices: Iterable[str]) -> dict[str, Waiting]:
        """What stands in the queue of each device.

        Raises:
            Unreachable: the server does not answer.
        """
        listed = list(devices)
        try:
            pipe = self._connection.default_channel.client.pipeline(transaction=False)
            for device in listed:
                pipe.llen(device_queue(device))
                pipe.lindex(device_queue(device), -1)
            rows = pipe.execute()
        except (*self._connection.connection_errors, *self._connection.channel_errors) as error:
            self._connection.release()  # the next look connects anew
            raise Unreachable(f"the queues cannot be read: {error}") from error
        return {device: Waiting(rows[2 * n], _actions_in(rows[2 * n + 1])) for n, device in enumerate(listed)}


def _actions_in(raw: Any) -> tuple[str, int, tuple[str, ...]] | None:
    """Which actions a message as it lies in the server is for; None for what a stranger has put there."""
    try:
        (execution, generation, actions), *_ = json.loads(base64.b64decode(json.loads(raw)["body"]))
        return str(execution), int(generation), tuple(map(str, actions))
    except (ValueError, TypeError, KeyError):
        return None


class Autoscaler:
    """A thread of the coordinator of a local cluster."""

    def __init__(self, ledger: ScalingLedger, queues: Queues, state_dir: Path, settings: DistributedSettings) -> None:
        self._ledger = ledger
        self._queues = queues
        self._state_dir = state_dir
        self._bounds = Bounds(
            least=settings.scale_min,
            most=settings.scale_max,
            depth=settings.scale_depth,
            wait_s=settings.scale_wait.total_seconds(),
            idle_s=settings.scale_idle.total_seconds(),
        )
        self._past: dict[str, Past] = {}
        self._done = threading.Event()

    def start(self) -> None:
        if not self._bounds.fixed:
            threading.Thread(target=self._run, name="rex-autoscale", daemon=True).start()

    def stop(self) -> None:
        self._done.set()

    def _run(self) -> None:
        while not self._done.wait(LOOK_S):
            try:
                self.look(time.monotonic())
            except (RexError, OSError, ValueError) as error:
                _log.warning("cannot see how many workers are needed: %s", error)
            except Exception:  # noqa: BLE001
                # whatever it is, the next look tries again
                _log.exception("a look at the queues failed")

    def look(self, now: float) -> None:
        """Look at every device of the cluster once, and have the number changed where that is called for."""
        scale = read_scale(self._state_dir)
        workers, busy = self._ledger.workers(), self._ledger.busy()
        waiting, drained = self._queues.waiting(scale), self._ledger.drained()
        for device, wanted in scale.items():
            if device in drained:  # what waits there waits for a person
                continue
            mine = {name: worker for name, worker in workers.items() if device in worker.devices}
            load = Load(
                wanted=wanted,
                registered=len(mine),
                room=max((worker.concurrency for worker in mine.values()), default=1),
                running=sum(busy.get(name, 0) for name in mine),
                waiting=waiting[device].messages,
                oldest_s=self._age_s(waiting[device]),
            )
            number, self._past[device] = decide(load, self._bounds, self._past.get(device, Past()), now)
            if number != wanted:
                _log.warning("%s: from %d to %d worker processes (%s)", device, wanted, number, _why(load))
                change_scale(self._state_dir, device, number, expected=wanted)

    def _age_s(self, waiting: Waiting) -> float:
        """For how long the first action of the next message could have been claimed."""
        if waiting.first is None:
            return 0.0
        execution, generation, actions = waiting.first
        try:
            head = self._ledger.head(execution)
        except RexError:  # it was forgotten, or never was
            return 0.0
        rows = self._ledger.actions(execution, generation, actions)
        since = [
            row.get("since", head.get("opened", "")) for row in rows.values() if row.get("status", "ready") == "ready"
        ]
        return max(0.0, (self._ledger.now_ms() - int(since[0])) / 1000) if since and since[0] else 0.0


def _why(load: Load) -> str:
    return f"{load.waiting} messages wait, the first for {load.oldest_s:.1f} s; {load.running} actions run"
