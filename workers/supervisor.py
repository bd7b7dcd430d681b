"""The parent of one command: it ends the command's whole process tree when the command may not go on.

Started once per command, isolated from site-packages and the environment, so it must start fast: only modules
that cost little are imported. It is the subreaper of all that the command starts: a child that calls setsid or
forks twice becomes our child, never init's, so "no child left" means "no descendant left".

Talk with the worker:

- stdin, first: 8 bytes length, a marshalled header (same interpreter on both sides), the command's stdin
- stdin, then: frames of 9 bytes; ``b`` and the milliseconds until the deadline is a beat, ``k`` asks to kill
- stdout: one marshalled report, then the end of the file
- the end of our stdin means that the worker is dead

What a command leaves running after it ended with an accepted exit code stays: ``./ctl restart`` must be able to
start a daemon. In every other case the tree dies. A daemon that still writes into our pipes would be killed by
SIGPIPE when we go, so a copy of us stays and reads what it says until it is silent for good.
"""

# ruff: noqa: SIM105, S302, S606 - contextlib costs start time; marshal is read from our own pipe; exec is the job

import _signal  # type: ignore[import-not-found]  # the enums of `signal` cost 5 ms
import ctypes
import marshal
import os
import select
import time
from typing import Any

TICK_S = 0.25
SILENCE_S = 2.0
KILL_S = 5.0
TAIL = 4096
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PIPE_BYTES = 1 << 16


class Output:
    """What the command writes: the first `keep` bytes and the last few, the rest is read and dropped."""

    def __init__(self, fd: int, keep: int) -> None:
        self.fd = fd
        self.keep = keep
        self.head = bytearray()
        self.tail = bytearray()
        self.cut = False
        self.open = True
        os.set_blocking(fd, False)

    def read(self) -> int:
        """Read once; the number of bytes, 0 when there is nothing now or never again."""
        try:
            block = os.read(self.fd, _PIPE_BYTES)
        except BlockingIOError:
            return 0
        if not block:
            self.open = False
            return 0
        room = self.keep - len(self.head)
        self.head += block[:room]
        if len(block) > room:
            self.cut = True
            self.tail = (self.tail + block[max(room, 0) :])[-TAIL:]
        return len(block)

    def drain(self) -> None:
        """Read what a process that has ended left in the pipe; no more, for others may write for ever."""
        left = 2 * _PIPE_BYTES
        while self.open and left > 0 and (size := self.read()):
            left -= size


def prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(option, value, 0, 0, 0)


def read_exactly(size: int) -> bytes:
    blocks = bytearray()
    while len(blocks) < size:
        block = os.read(0, min(size - len(blocks), 1 << 20))
        if not block:
            os._exit(0)  # the worker died before anything was started
        blocks += block
    return bytes(blocks)


class Tree:
    """The command and everything that descends from it."""

    def __init__(self, main: int) -> None:
        self.main = main
        self.status: int | None = None

    def reap(self) -> bool:
        """Collect who has ended; False when no child, so no descendant, is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.main:
                self.status = status

    def kill(self) -> list[int]:
        """Kill until nobody is left; the pids of those that would not die within `KILL_S`."""
        try:  # a fork bomb must not outrun us
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        except OSError:
            pass  # only root may; the loop converges all the same
        until = time.monotonic() + KILL_S
        if self.status is None:  # not reaped, so the group is still its own
            try:
                os.killpg(self.main, _signal.SIGKILL)
            except OSError:
                pass  # it had not reached setsid, or is gone: the loop below finds it
        while self.reap():
            found = descendants()
            for pid in found:
                kill(pid, found)
            if time.monotonic() > until:
                return sorted(found)
            time.sleep(0.002)
        return []


def parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib would double our start
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def descendants() -> set[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            children.setdefault(parent_of(int(name)), []).append(int(name))
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        for pid in children.get(todo.pop(), ()):
            if pid not in found:
                found.add(pid)
                todo.append(pid)
    return found


def kill(pid: int, family: set[int]) -> None:
    """Kill `pid` if it is still one of us: since the listing the number may have gone to a stranger."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        if parent_of(pid) == os.getpid():  # a child of ours keeps its number until we reap it
            try:
                os.kill(pid, _signal.SIGKILL)
            except OSError:
                pass  # ended by itself, or belongs to another user: then it is reported
        return
    try:
        if parent_of(pid) in family or parent_of(pid) == os.getpid():
            _signal.pidfd_send_signal(handle, _signal.SIGKILL)
    except OSError:
        pass  # as above
    finally:
        os.close(handle)


def become_command(header: dict[str, Any], pipes: tuple[int, int, int], trouble: int) -> None:
    """In the forked child: never returns."""
    stage = "start"
    try:
        os.setsid()  # `kill 0` in a command must not reach us
        prctl(_PR_SET_PDEATHSIG, _signal.SIGKILL)
        for number in range(1, _signal.NSIG):
            try:
                _signal.signal(number, _signal.SIG_DFL)
            except (OSError, ValueError):
                pass  # SIGKILL, SIGSTOP and the C library's own
        _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
        for target, pipe in enumerate(pipes):
            os.dup2(pipe, target)
        stage = "cwd"
        os.chdir(header["cwd"])
        stage = "exec"
        os.execvpe(header["argv"][0], header["argv"], header["env"])
    except (OSError, ValueError) as error:
        os.write(trouble, marshal.dumps((stage, getattr(error, "errno", 0) or 0, str(error))))
    finally:
        os._exit(127)


class Supervisor:
    """One command from its start to its report."""

    def __init__(self) -> None:
        self.header: dict[str, Any] = marshal.loads(read_exactly(int.from_bytes(read_exactly(8), "big")))
        self.payload = memoryview(read_exactly(self.header["payload"]))
        self.deadline = time.monotonic() + self.header["remaining_s"]
        self.silent_s = 0.0
        self.frames = b""
        self.end = ""

    def start(self) -> tuple[str, int, str] | None:
        """Fork the command; what went wrong, if it could not be started."""
        (in_r, self.stdin), (out_r, out_w), (err_r, err_w) = os.pipe(), os.pipe(), os.pipe()
        trouble_r, trouble_w = os.pipe()
        pid = os.fork()
        if pid == 0:
            become_command(self.header, (in_r, out_w, err_w), trouble_w)
        for fd in (in_r, out_w, err_w, trouble_w, *self.header["pass_fds"]):
            os.close(fd)
        self.tree = Tree(pid)
        self.outputs = (Output(out_r, self.header["keep"]), Output(err_r, self.header["keep"]))
        os.set_blocking(self.stdin, False)
        os.set_blocking(0, False)
        trouble = os.read(trouble_r, 65536)
        os.close(trouble_r)
        return marshal.loads(trouble) if trouble else None

    def watch(self) -> None:
        """Until the command has ended, or must end; says which in `end`."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        tick = TICK_S
        try:
            poll.register(os.pidfd_open(self.tree.main), select.POLLIN)
        except OSError:
            tick = 0.01  # no pidfd here: look often
        for output in self.outputs:
            poll.register(output.fd, select.POLLIN)
        poll.register(self.stdin, select.POLLOUT)
        while not self.end:
            before = time.monotonic()
            wait = min(tick, max(self.deadline - before, 0))
            for fd, _ in poll.poll(int(wait * 1000) + 1):
                self.serve(fd, poll)
            # at most one tick: when the whole machine stood still the worker is not to blame
            self.silent_s += min(time.monotonic() - before, TICK_S)
            self.tree.reap()
            if self.tree.status is not None:
                self.end = "exited"
            elif not self.end and time.monotonic() >= self.deadline:
                self.end = "deadline"
            elif not self.end and self.silent_s > SILENCE_S:
                self.end = "silence"

    def serve(self, fd: int, poll: "select.poll") -> None:
        if fd == 0:
            self.listen()
        elif fd == self.stdin:
            self.feed(poll)
        for output in self.outputs:
            if fd == output.fd and not output.read() and not output.open:
                poll.unregister(fd)

    def listen(self) -> None:
        try:
            block = os.read(0, 4096)
        except BlockingIOError:
            return
        if not block:
            self.end = "closed"
        self.frames += block
        while len(self.frames) >= 9:
            frame, self.frames = self.frames[:9], self.frames[9:]
            self.silent_s = 0.0
            self.deadline = time.monotonic() + int.from_bytes(frame[1:], "big") / 1000
            if frame[:1] == b"k":
                self.end = "killed"

    def feed(self, poll: "select.poll") -> None:
        try:
            written = os.write(self.stdin, self.payload[:_PIPE_BYTES]) if self.payload else 0
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self.payload)  # the command does not read its input: that is its affair
        self.payload = self.payload[written:]
        if not self.payload:
            poll.unregister(self.stdin)
            os.close(self.stdin)

    def report(self) -> None:
        status = self.tree.status
        kept = self.end == "exited" and status is not None and exit_code(status) in self.header["keep_tree_on"]
        left = [] if kept else self.tree.kill()
        for output in self.outputs:
            output.drain()
        if self.end == "closed":
            return
        out, err = self.outputs
        answer = {
            "end": self.end,
            "exit": None if status is None else exit_code(status),
            "out": (bytes(out.head), bytes(out.tail), out.cut),
            "err": (bytes(err.head), bytes(err.tail), err.cut),
            "left": left,
        }
        send(answer)
        if kept and (out.open or err.open) and os.fork() == 0:
            self.stay()

    def stay(self) -> None:
        """Read and drop what a daemon still says; ends with it."""
        os.close(0)
        os.close(1)
        poll = select.poll()
        for output in self.outputs:
            output.keep = 0
            if output.open:
                poll.register(output.fd, select.POLLIN)
        while any(output.open for output in self.outputs):
            for fd, _ in poll.poll():
                self.serve(fd, poll)


def exit_code(status: int) -> int:
    """As a shell says it: 128 + signal for one that was killed."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def send(answer: dict[str, Any]) -> None:
    block = memoryview(marshal.dumps(answer))
    try:
        while block:
            block = block[os.write(1, block) :]
    except BrokenPipeError:
        pass  # the worker is gone; nobody wants to know


def main() -> None:
    for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT):
        _signal.signal(number, _signal.SIG_IGN)  # the pipe alone says when to end: `kill $PPID` must not
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    supervisor = Supervisor()
    trouble = supervisor.start()
    try:
        if trouble is not None:
            send({"end": "trouble", "trouble": trouble})
        else:
            supervisor.watch()
            supervisor.report()
    except Exception as error:  # noqa: BLE001 - told to the worker; the tree must not outlive us
        supervisor.tree.kill()
        send({"end": "trouble", "trouble": ("supervisor", 0, f"{type(error).__name__}: {error}")})
    os._exit(0)  # skips the interpreter's slow farewell
