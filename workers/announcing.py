"""What a worker says of itself, before it consumes and while it lives."""

import logging
import os
import platform
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil

import executor
from config.queues import device_of
from executor.model.device import PROTOCOL, Announcement, Vitals, parse_capabilities, parse_labels
from executor.model.errors import DeviceTaken, SettingsInvalid
from executor.parameters import Here
from workers.whereabouts import described

_log = logging.getLogger("rex.worker")

STORE_ID = "store-id"
MEASURE_S = 1.0
_HOLDER_S = 15.0
"""So long the watchdogs take at most to bury whoever held a device of ours, also after a restart of the server."""
_ASK_AGAIN_S = 0.1
_LAST_ATTEMPTS = 20
_RECENT_S = 300.0
"""What failed longer ago says nothing about a device: it may have got no work since."""


def store_id(state_dir: Path) -> str:
    """The id of the device's store of saved bytes; made when it is first asked for.

    Raises:
        SettingsInvalid: what stands there is no id.
    """
    path = state_dir / STORE_ID
    if not path.exists():
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_store_id(path)
    text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise SettingsInvalid(
            f"{path} should hold the id of this device's store, and holds {text[:40]!r}: remove it, and what other "
            "workers of the device saved is theirs no more"
        ) from None


def _make_store_id(path: Path) -> None:
    """Of two processes that do this at once one wins, and nobody reads half an id."""
    mine = path.with_name(f"{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    with mine.open("x", encoding="ascii") as file:
        file.write(f"{uuid.uuid4()}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(mine)
    except FileExistsError:
        pass
    finally:
        mine.unlink()


def announcement(
    *,
    queues: Sequence[str],
    concurrency: int,
    actions: Sequence[str],
    state_dir: Path,
    environ: Mapping[str, str],
    incarnation: str,
    now_ms: int,
) -> Announcement:
    """What this process says of itself.

    Args:
        queues: what it consumes.
        concurrency: how many actions it runs at once.
        actions: types that are installed here.
        state_dir: its private directory.
        environ: where its parent, or a compose file, wrote its agents, labels and capabilities.
        incarnation: id of this start.
        now_ms: the server's clock.

    Raises:
        SettingsInvalid: labels, capabilities or the store's id are nonsense.
    """
    devices = tuple(device for queue in queues if (device := device_of(queue)) is not None)
    agents = {device: kind for device, kind in agents_of(environ).items() if device in devices}
    here = here_of(environ)
    where, began = described()
    return Announcement(
        devices=devices,
        agents=agents,
        labels=here.labels,
        capabilities=here.capabilities,
        actions=tuple(sorted(actions)) if devices else (),
        queues=tuple(queues),
        concurrency=concurrency,
        host=platform.node(),
        pid=os.getpid(),
        place=where,
        started=began,
        store=store_id(state_dir) if devices else "",
        version=str(executor.__version__),
        protocol=PROTOCOL,
        cpu_count=psutil.cpu_count() or 0,
        memory_bytes=psutil.virtual_memory().total,
        disk_bytes=psutil.disk_usage(str(state_dir)).total if devices else 0,
        clients=(f"rex:{incarnation}", f"w:{incarnation}"),
        since_ms=now_ms,
    )


def here_of(environ: Mapping[str, str]) -> Here:
    """Labels and capabilities of our devices.

    Raises:
        SettingsInvalid: they are nonsense.
    """
    try:
        return Here(
            parse_labels(_listed(environ, "REX_LABELS")), parse_capabilities(_listed(environ, "REX_CAPABILITIES"))
        )
    except ValueError as error:
        raise SettingsInvalid(f"REX_LABELS, REX_CAPABILITIES: {error}") from None


def agents_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Which devices are agents, and of which kind."""
    listed = [pair.partition(":") for pair in _listed(environ, "REX_AGENTS")]
    return {device: kind for device, _, kind in listed}


def _listed(environ: Mapping[str, str], name: str) -> list[str]:
    return [part.strip() for part in environ.get(name, "").split(",") if part.strip()]


class Registry(Protocol):
    def register(self, incarnation: str, announced: Announcement) -> None: ...


def join(registry: Registry, incarnation: str, announced: Announcement) -> None:
    """Register. A holder of our device that is silent may be dead: that is for the watchdogs to say, and is waited for.

    Raises:
        DeviceTaken: its holder lives.
        JoinRefused: whatever else forbids it.
    """
    began, held_by = time.monotonic(), ("", 0)
    while True:
        try:
            registry.register(incarnation, announced)
            return
        except DeviceTaken as taken:
            heard = (taken.worker, taken.heard_ms)
            lives = held_by[0] == heard[0] and held_by[1] != heard[1]
            if lives or time.monotonic() - began > _HOLDER_S:
                raise
            held_by = heard
        time.sleep(_ASK_AGAIN_S)


class Tally:
    """Counts how attempts end here."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last: deque[tuple[float, bool]] = deque(maxlen=_LAST_ATTEMPTS)
        self.succeeded = 0
        self.failed = 0

    def count(self, *, succeeded: bool) -> None:
        """One attempt has ended."""
        with self._lock:
            self._last.append((self._clock(), succeeded))
            if succeeded:
                self.succeeded += 1
            else:
                self.failed += 1

    def recent(self) -> tuple[int, int]:
        """The last attempts that are not long ago, and how many of them failed."""
        with self._lock:
            recent = [succeeded for when, succeeded in self._last if self._clock() - when <= _RECENT_S]
        return len(recent), recent.count(False)


class Gauge:
    """A thread that measures how this worker fares; a disk that does not answer holds up nothing but it."""

    def __init__(self, state_dir: Path, tally: Tally) -> None:
        self._state_dir = state_dir
        self._tally = tally
        self._broken: dict[str, str] = {}
        self._number = 0
        self._fresh: Vitals | None = None
        self._done = threading.Event()

    def start(self) -> None:
        psutil.cpu_percent()  # the first answer has nothing to compare with
        threading.Thread(target=self._run, name="rex-gauge", daemon=True).start()

    def stop(self) -> None:
        self._done.set()

    def cannot_load(self, uses: str, reason: str) -> None:
        """An action type that was announced is not there."""
        self._broken = {**self._broken, uses: reason[:255]}

    def fresh(self, answer_s: float) -> Vitals | None:
        """The newest measurement, once; None where it was told before.

        Args:
            answer_s: how long the last renewal took.
        """
        found, self._fresh = self._fresh, None
        return None if found is None else found.model_copy(update={"answer_ms": round(answer_s * 1000, 1)})

    def measure(self) -> Vitals:
        """Look at host, disk and tally now."""
        self._number += 1
        recent, recent_failed = self._tally.recent()
        return Vitals(
            cpu_percent=_percent(psutil.cpu_percent()),
            memory_percent=_percent(psutil.virtual_memory().percent),
            disk_percent=_percent(psutil.disk_usage(str(_there(self._state_dir))).percent),
            succeeded=self._tally.succeeded,
            failed=self._tally.failed,
            recent=recent,
            recent_failed=recent_failed,
            broken=self._broken,
            number=self._number,
        )

    def _run(self) -> None:
        said = ""
        while not self._done.wait(MEASURE_S):
            try:
                self._fresh = self.measure()
            except (OSError, psutil.Error) as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("cannot measure how this worker fares: %s", error)


def _there(folder: Path) -> Path:
    """The disk of a folder that nobody has needed so far is that of where it will be."""
    return next(one for one in (folder, *folder.parents) if one.exists())


def _percent(value: float) -> float:
    return min(100.0, max(0.0, round(float(value), 1)))
