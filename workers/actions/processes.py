"""Running a command under a supervisor of its own (`workers/supervisor.py`), seen from the worker.

A command never outlives a failed, timed out or cancelled action, nor a dead worker: the whole tree is killed.
What it leaves running after an accepted exit code stays, so that an operator's restart can start a daemon.
"""

import marshal
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.model.errors import CONFIGURATION, RESOURCE, ActionCancelled, ActionError, ActionTimedOut, Interrupted

_START = "import sys; sys.path.append(sys.argv[1]); import supervisor; supervisor.main()"
"""An import finds the compiled file: running supervisor.py by its path would compile it for every command."""
_SUPERVISOR = [sys.executable, "-I", "-S", "-c", _START, str(Path(__file__).resolve().parent.parent)]
KEEP = 64 * 1024
_POLL_S = 0.05
_BEAT_S = 0.4
_PATIENCE_S = 8.0
"""How long a supervisor may take to kill a tree before it is killed itself."""


@dataclass(frozen=True)
class Finished:
    """How a command ended by itself, and what it said."""

    exit_code: int
    """As a shell says it: 128 + signal for a command that was killed by one."""
    stdout: bytes
    stderr: bytes
    stdout_cut: bool = False
    stderr_cut: bool = False
    last_words: bytes = b""
    """The end of stderr, also when the middle was dropped."""

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        return self.stderr.decode("utf-8", "replace")


def run_process(
    argv: Sequence[str],
    *,
    name: str = "",
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    remaining_s: Callable[[], float],
    cancelled: Callable[[], bool] = lambda: False,
    keep: int = KEEP,
    keep_tree_on: Collection[int] = (0,),
    pass_fds: Sequence[int] = (),
) -> Finished:
    """Run `argv` and wait for it.

    Args:
        name: what errors call it; argv[0] when empty.
        cwd: where it runs; None is ``/``.
        env: its whole environment; None gives it `inherited_environment`.
        stdin: what it reads; written while it runs.
        remaining_s: seconds until the deadline, asked again and again, for a deadline may move.
        cancelled: asked every 50 ms.
        keep: bytes kept of stdout and of stderr each; what comes after is read and dropped.
        keep_tree_on: exit codes after which processes that it left behind may stay.
        pass_fds: descriptors that it inherits under the same numbers.

    Raises:
        ActionTimedOut: the deadline passed; nothing of its tree is left.
        ActionCancelled: it was cancelled; nothing of its tree is left.
        Interrupted: this worker stood still for too long; nothing of its tree is left.
        ActionError: it could not be started, or its tree could not be killed.
    """
    name = name or argv[0]
    header = marshal.dumps(
        {
            "argv": [_encoded(part, name) for part in argv],
            "cwd": _encoded(cwd or "/", name),
            "env": {
                _encoded(k, name): _encoded(v, name)
                for k, v in (inherited_environment() if env is None else env).items()
            },
            "payload": len(stdin),
            "remaining_s": max(remaining_s(), 0.0),
            "keep": keep,
            "keep_tree_on": [int(code) for code in keep_tree_on],
            "pass_fds": list(pass_fds),
        }
    )
    conversation = _Conversation(name, remaining_s, cancelled, pass_fds)
    with conversation:
        report = conversation.hold(len(header).to_bytes(8, "big") + header + stdin)
    return conversation.judge(report, cwd or "/")


def inherited_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The worker's environment without its own settings, which hold addresses with passwords, and `extra`."""
    return {k: v for k, v in os.environ.items() if not k.startswith("REX_")} | dict(extra or {})


class _Conversation:
    """The worker's end of the talk with one supervisor."""

    def __init__(
        self,
        name: str,
        remaining_s: Callable[[], float],
        cancelled: Callable[[], bool],
        pass_fds: Sequence[int],
    ) -> None:
        self.name = name
        self.remaining_s = remaining_s
        self.cancelled = cancelled
        self.stopped_by = ""
        self.told_end = 0.0
        try:
            self.process = subprocess.Popen(
                _SUPERVISOR,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH")},
                start_new_session=True,
                pass_fds=tuple(pass_fds),
                bufsize=0,
            )
        except OSError as error:
            raise ActionError(f"cannot start a process for {name!r}: {error.strerror}", RESOURCE) from error
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.to, self.back = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.to, False)
        os.set_blocking(self.back, False)

    def __enter__(self) -> "_Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        """Closing the pipe is the order to kill the tree, whatever happened to us."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def hold(self, opening: bytes) -> dict[str, Any] | None:
        """Send `opening`, then beat and listen until the report is there; None when the supervisor died."""
        poll = select.poll()
        poll.register(self.back, select.POLLIN)
        poll.register(self.to, select.POLLOUT)
        unsent = memoryview(opening)
        report = bytearray()
        next_beat, give_up = 0.0, None
        while True:
            for fd, _ in poll.poll(int(_POLL_S * 1000)):
                if fd == self.to:
                    unsent = self._send(unsent)
                    if not unsent:
                        poll.unregister(self.to)
                elif block := os.read(self.back, 1 << 20):
                    report += block
                else:
                    return marshal.loads(bytes(report)) if report else None  # noqa: S302 - our own supervisor's
            now = time.monotonic()
            if give_up is None and self._must_stop():
                give_up = now + _PATIENCE_S
                next_beat = 0.0
            if give_up is not None and now > give_up:
                return None
            if not unsent and (now >= next_beat or self._deadline_moved(now)):
                self._beat()
                next_beat = now + _BEAT_S

    def _must_stop(self) -> bool:
        if self.remaining_s() <= 0:
            self.stopped_by = "deadline"
        elif self.cancelled():
            self.stopped_by = "cancelled"
        return bool(self.stopped_by)

    def _deadline_moved(self, now: float) -> bool:
        return abs(now + self.remaining_s() - self.told_end) > _POLL_S and not self.stopped_by

    def _beat(self) -> None:
        order = b"k" if self.stopped_by else b"b"
        left = min(max(self.remaining_s(), 0.0), 1e9)
        self.told_end = time.monotonic() + left
        milliseconds = int(left * 1000)
        self._send(memoryview(order + milliseconds.to_bytes(8, "big")))

    def _send(self, block: memoryview) -> memoryview:
        try:
            return block[os.write(self.to, block[:65536]) :]
        except BlockingIOError:
            return block
        except BrokenPipeError:
            return block[len(block) :]  # it has ended: its report is on the way

    def judge(self, report: dict[str, Any] | None, cwd: str) -> Finished:
        if report is None:
            if self.stopped_by != "":
                raise ActionError(f"{self.name!r} was to be stopped ({self.stopped_by}), but would not die")
            code = self.process.returncode
            raise ActionError(f"the supervisor of {self.name!r} died (exit {code}), and the command with it")
        if report["end"] == "trouble":
            raise _not_started(self.name, cwd, *report["trouble"])
        left = f"; still alive: process {', '.join(map(str, report['left']))}" if report["left"] else ""
        said = _excerpt(report["err"]) or _excerpt(report["out"])
        said = f"; it had said: {said}" if said else ""
        if report["end"] == "exited":
            (out, _, out_cut), (err, err_tail, err_cut) = report["out"], report["err"]
            if left:
                raise ActionError(f"{self.name!r} ended with {report['exit']}{left}")
            return Finished(report["exit"], out, err, out_cut, err_cut, (err + err_tail)[-4096:])
        if report["end"] == "killed" and self.stopped_by == "cancelled":
            raise ActionCancelled(f"{self.name!r} was cancelled{left}{said}")
        if report["end"] == "silence":
            raise Interrupted(f"{self.name!r} was stopped: its worker stood still{left}{said}")
        raise ActionTimedOut(f"{self.name!r} did not end before its deadline{left}{said}")


def _excerpt(output: tuple[bytes, bytes, bool]) -> str:
    head, tail, _ = output
    return (head + tail)[-500:].decode("utf-8", "replace").strip()


def _not_started(name: str, cwd: str, stage: str, number: int, text: str) -> ActionError:
    reason = os.strerror(number) if number else text
    if stage == "cwd":
        return ActionError(f"cannot run {name!r} in cwd {cwd!r}: {reason}", CONFIGURATION)
    if stage == "supervisor":
        return ActionError(f"the supervisor of {name!r} failed, and killed it: {reason}")
    kind = CONFIGURATION if stage == "exec" else RESOURCE
    return ActionError(f"cannot run {name!r} in {cwd!r}: {reason}", kind)


def _encoded(text: str, name: str) -> bytes:
    if "\0" in text:
        raise ActionError(f"cannot run {name!r}: an argument or variable holds a NUL character", CONFIGURATION)
    return os.fsencode(text)
