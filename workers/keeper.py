"""The parent that keeps processes alive: what dies is started again, what stands still is killed first.

One thread and one loop, standard library alone: this is the process that must not fail. A child shows that it is alive
by writing to a pipe; so a frozen process ends, rather than waking up later between a check and its effect. Children end
with their parent, however that ends.
"""

import contextlib
import ctypes
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_log = logging.getLogger("rex.keeper")

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
STEADY_S = 10.0
"""A child that lived so long is started again without a delay's history."""
START_GRACE_S = 60.0
"""The longest start: imports on a busy machine, a server that is still away."""
LATE_S = 0.5
"""A turn that comes later than this was ours to blame: our own freeze is nobody's death."""
REFUSED, NO_ACCESS = os.EX_CONFIG, os.EX_NOPERM
"""A child that ends with one of these has said why, and would be refused again: it is not started again."""
_TICK_S = 0.2
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Kept:
    """One process to be kept alive."""

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    """The whole environment; passwords stand here, never among the arguments."""
    folder: Path
    """Where it works; nothing importable may lie there."""
    beats: bool = True
    """Whether it shows that it is alive."""
    outlives: bool = False
    """Ends after all the others: they need it for their own end."""
    log: Path | None = None
    """Where its output goes; None: to our standard error."""


class GaveUp(Exception):
    """A process could not be started; `kept` is which."""

    def __init__(self, kept: Kept, status: int) -> None:
        self.kept = kept
        ended = f"by signal {-status}" if status < 0 else f"with status {status}"
        said = _last_words(kept.log)
        super().__init__(
            f"{kept.name} cannot be started: it ended {ended} again and again{': ' + said if said else ''}"
        )


class TurnedAway(GaveUp):
    """A process was refused, for good; why it has said itself, where our standard error is its own."""

    def __init__(self, kept: Kept, status: int) -> None:
        self.kept = kept
        self.status = status
        self.said = kept.log is None
        Exception.__init__(self, f"{kept.name} cannot be started: {_last_words(kept.log).removeprefix('rex: ')}")


class _Child:
    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.process: subprocess.Popen[bytes] | None = None
        self.beat_fd: int | None = None
        self.beaten_at: float | None = None
        self.started_at = 0.0
        self.start_at = 0.0
        self.delay_s = FIRST_DELAY_S
        self.deaths = 0
        self.killed = False
        self.end_by: float | None = None
        """It is no longer wanted, and was told to end; by then it must have."""
        self.given_up = False

    @property
    def ready(self) -> bool:
        return self.process is not None and (self.beaten_at is not None or not self.kept.beats)

    def kill(self, how: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, how)


class Keeper:
    """Keeps its processes alive until it is told to end."""

    def __init__(
        self,
        kept: Sequence[Kept],
        *,
        silence_s: float,
        grace_s: float,
        patient: bool = True,
        lifeline: int | None = None,
        on_ready: Callable[[dict[str, int]], None] = lambda _: None,
        wanted: Callable[[], Sequence[Kept] | None] = lambda: None,
    ) -> None:
        """
        Args:
            kept: the processes.
            silence_s: one that has beaten and was then silent for so long is killed.
            grace_s: how long running actions may take to finish once we are told to end.
            patient: False gives up on a process that dies five times before all were ready.
            lifeline: read end of a pipe; when its other end is closed everything ends at once.
            on_ready: called when all are up, with their process ids, and again after each change of what is wanted.
            wanted: asked in each turn: all processes that are to be kept from now on; None: nothing has changed. Must
                not raise.
        """
        self._children = [_Child(one) for one in kept]
        self._silence_s = silence_s
        self._grace_s = grace_s
        self._patient = patient
        self._lifeline = lifeline
        self._on_ready = on_ready
        self._wanted = wanted
        self._announced = False
        self._changed = False
        self._signals = 0
        self._hard = False
        self._end_by: float | None = None
        self._selector = selectors.DefaultSelector()
        self._tend_to_parent = _end_with(os.getpid())

    def run(self) -> None:
        """Until SIGTERM or SIGINT (twice: at once), or the end of the lifeline.

        Raises:
            GaveUp: a process cannot be started.
            TurnedAway: one was refused, for good.
        """
        with self._handlers():
            if self._lifeline is not None:
                self._selector.register(self._lifeline, selectors.EVENT_READ, "lifeline")
            try:
                self._keep()
            finally:
                self._end_at_once()
                self._selector.close()

    def _keep(self) -> None:
        last_turn = time.monotonic()
        while not (self._hard or self._stopped()):
            now = time.monotonic()
            self._reap(now)
            if self._end_by is None:
                self._follow_wishes(now)
                self._start_due(now)
                self._announce()
            self._listen(now)
            now = time.monotonic()
            if now - last_turn > _TICK_S + LATE_S:
                for child in self._children:
                    child.beaten_at = child.beaten_at and now
            last_turn = now
            self._kill_the_frozen(now)
            if self._signals:
                self._stop(now)

    # -- wishes -------------------------------------------------------------------------------------------------------

    def _follow_wishes(self, now: float) -> None:
        """Start what is newly wanted; tell to end what is not wanted any more, as all are told at the end."""
        wanted = self._wanted()
        if wanted is None:
            return
        self._changed = True
        names = {kept.name: kept for kept in wanted}
        staying = [child for child in self._children if child.end_by is None]
        for child in staying:
            if child.kept.name not in names:
                child.end_by = now + self._grace_s
                child.kill(signal.SIGTERM)
        known = {child.kept.name for child in staying}
        self._children += [_Child(kept) for name, kept in names.items() if name not in known]
        self._children = [child for child in self._children if child.end_by is None or child.process is not None]

    def _is_due(self, child: _Child) -> bool:
        """It does not run, was not refused, and no former one of its name is still ending."""
        return (
            child.process is None
            and not child.given_up
            and not any(other.end_by is not None and other.kept.name == child.kept.name for other in self._children)
        )

    # -- life ---------------------------------------------------------------------------------------------------------

    def _start_due(self, now: float) -> None:
        for child in self._children:
            if now >= child.start_at and self._is_due(child):
                self._start(child)

    def _start(self, child: _Child) -> None:
        kept = child.kept
        environ, passed, writing = dict(kept.environ), [], None
        if kept.beats:
            child.beat_fd, writing = os.pipe()
            os.set_blocking(child.beat_fd, False)
            environ["REX_BEAT_FD"] = str(writing)
            passed.append(writing)
            self._selector.register(child.beat_fd, selectors.EVENT_READ, child)
        output: Any = sys.stderr if kept.log is None else kept.log.open("ab")
        try:
            child.process = subprocess.Popen(
                list(kept.argv), env=environ, cwd=kept.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                pass_fds=passed, process_group=0, preexec_fn=self._tend_to_parent,  # noqa: PLW1509 - we have one thread
            )  # fmt: skip
        finally:
            if kept.log is not None:
                output.close()
            if writing is not None:
                os.close(writing)
        child.started_at = time.monotonic()
        child.beaten_at = None
        child.killed = False

    def _reap(self, now: float) -> None:
        for child in self._children:
            if child.process is None or (status := child.process.poll()) is None:
                continue
            # what it started in its own group goes with it
            child.kill(signal.SIGKILL)
            self._forget(child)
            if self._end_by is not None or child.end_by is not None:
                continue
            if status in (REFUSED, NO_ACCESS):
                self._give_up(child, status)
                continue
            if now - child.started_at > STEADY_S:
                child.delay_s = FIRST_DELAY_S
            child.deaths += 1
            _log.warning("%s ended (%s); starting it again in %.1f s", child.kept.name, status, child.delay_s)
            if not (self._patient or self._announced) and child.deaths >= 5:
                raise GaveUp(child.kept, status)
            child.start_at = now + child.delay_s
            child.delay_s = min(child.delay_s * 2, LONGEST_DELAY_S)
        self._children = [child for child in self._children if child.end_by is None or child.process is not None]

    def _give_up(self, child: _Child, status: int) -> None:
        """A child would be refused again; the others go on, where there are any that had begun."""
        child.given_up = True
        if not self._announced or all(one.given_up for one in self._children):
            raise TurnedAway(child.kept, status)
        _log.error("%s was refused, and is not started again", child.kept.name)

    def _forget(self, child: _Child) -> None:
        child.process = None
        if child.beat_fd is not None:
            self._selector.unregister(child.beat_fd)
            os.close(child.beat_fd)
            child.beat_fd = None

    def _announce(self) -> None:
        told = self._announced and not self._changed
        if not told and all((child.ready or child.given_up) and child.end_by is None for child in self._children):
            self._announced, self._changed = True, False
            self._on_ready({child.kept.name: child.process.pid for child in self._children if child.process})

    # -- beats --------------------------------------------------------------------------------------------------------

    def _listen(self, now: float) -> None:
        due = [child.start_at - now for child in self._children if self._end_by is None and self._is_due(child)]
        for key, _ in self._selector.select(max(0.0, min([_TICK_S, *due]))):
            if key.data == "lifeline":
                self._hard = self._hard or not os.read(key.fd, 4096)
            elif key.data == "wake":
                os.read(key.fd, 4096)
            else:
                self._hear(key.data)

    def _hear(self, child: _Child) -> None:
        assert child.beat_fd is not None
        if os.read(child.beat_fd, 65536):
            child.beaten_at = time.monotonic()
        else:  # it ends, or closed it; its death comes by itself
            self._selector.unregister(child.beat_fd)
            os.close(child.beat_fd)
            child.beat_fd = None

    def _kill_the_frozen(self, now: float) -> None:
        for child in self._children:
            if child.process is None or child.killed:  # it may take a while to die
                continue
            if child.end_by is not None and now > child.end_by:
                child.kill(signal.SIGKILL)
                child.killed = True
            if not child.kept.beats:
                continue
            since, allowed_s = child.started_at, START_GRACE_S
            if child.beaten_at is not None:
                since, allowed_s = child.beaten_at, self._silence_s
            if now - since > allowed_s:
                _log.error("%s stands still for %.1f s: killing it", child.kept.name, now - since)
                child.kill(signal.SIGKILL)
                child.killed = True

    # -- end ----------------------------------------------------------------------------------------------------------

    def _stop(self, now: float) -> None:
        """Let running actions finish; a second signal, or the end of the grace, ends everything at once."""
        if self._end_by is None:
            self._end_by = now + self._grace_s
            for child in self._children:
                if not child.kept.outlives:
                    child.kill(signal.SIGTERM)
        if self._signals > 1 or now > self._end_by:
            self._hard = True

    def _stopped(self) -> bool:
        """Whether all have ended; the last ones are told to when the others have."""
        if self._end_by is None or any(c.process is not None for c in self._children if not c.kept.outlives):
            return False
        last = [child for child in self._children if child.process is not None]
        for child in last:
            child.kill(signal.SIGTERM)
        return not last

    def _end_at_once(self) -> None:
        for child in self._children:
            child.kill(signal.SIGKILL)
        for child in self._children:
            if child.process is not None:
                child.process.wait()
                self._forget(child)

    @contextlib.contextmanager
    def _handlers(self) -> Iterator[None]:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._selector.register(reading, selectors.EVENT_READ, "wake")

        def count(*_: object) -> None:
            self._signals += 1

        ends = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        former = {which: signal.signal(which, count) for which in ends}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)  # who started us may have held them back until now
        former[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        waker = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(waker)
            for which, handler in former.items():
                signal.signal(which, handler)
            os.close(reading)
            os.close(writing)


def _last_words(log: Path | None) -> str:
    if log is None:
        return ""
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""
    return ""


def _end_with(parent: int) -> Callable[[], None]:
    """What a child does between fork and exec so that the kernel ends it together with us."""
    libc = ctypes.CDLL(None)

    def tend() -> None:
        if hasattr(libc, "prctl"):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # we died before the kernel was asked
            os._exit(1)

    return tend
