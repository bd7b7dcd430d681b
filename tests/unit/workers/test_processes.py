"""A command never outlives its action, its deadline or its worker; what it says is bounded."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.waiting import wait_until
from support.worlds import Tree, is_alive

from executor.model.errors import ActionCancelled, ActionError, ActionTimedOut, Interrupted
from workers.actions import processes
from workers.actions.processes import Finished, run_process


def shell(command: str, seconds: float = 20.0, **more: object) -> Finished:
    deadline = time.monotonic() + seconds
    return run_process(["sh", "-c", command], remaining_s=lambda: deadline - time.monotonic(), **more)  # type: ignore[arg-type]


def every(pattern: str) -> list[Path]:
    try:
        return list(Path("/proc").glob(pattern))
    except FileNotFoundError:  # a process ended while we looked
        return every(pattern)


def points_to(link: Path, target: Path) -> bool:
    try:
        return link.readlink() == target
    except OSError:
        return False


def test_what_a_command_says_and_how_it_ends() -> None:
    finished = shell("cat; echo oops >&2; exit 7", stdin=b"hello")
    assert (finished.exit_code, finished.stdout, finished.stderr) == (7, b"hello", b"oops\n")


def test_a_large_input_reaches_the_command() -> None:
    assert shell("wc -c", stdin=b"x" * 3_000_000).stdout.strip() == b"3000000"


def test_input_that_is_not_read_does_no_harm() -> None:
    assert shell("exit 0", stdin=b"x" * 3_000_000).exit_code == 0


def test_a_killed_command_is_reported_as_a_shell_does() -> None:
    assert shell("kill -9 $$").exit_code == 137


def test_a_command_cannot_kill_its_supervisor() -> None:
    """`kill 0` and `kill $PPID` reach the command alone."""
    assert shell("trap '' TERM; kill $PPID; kill -TERM 0; echo still here").stdout == b"still here\n"


def test_signals_have_their_default_meaning() -> None:
    """Python ignores SIGPIPE; a command that inherited that would never end here."""
    assert shell("yes | head -1").stdout == b"y\n"


def test_no_descriptor_of_the_worker_leaks() -> None:
    with Path("/dev/null").open() as _, Path("/dev/null").open() as _:
        names = shell("ls /proc/self/fd").stdout.split()
    assert len(names) == 4, "stdin, stdout, stderr and the directory itself"


def test_the_whole_tree_is_gone_at_the_deadline(tree: Tree) -> None:
    deadline = [60.0]
    waiter = threading.Thread(
        target=lambda: (wait_until(tree.is_up, description="the tree stands"), deadline.__setitem__(0, 0.0))
    )
    waiter.start()
    with pytest.raises(ActionTimedOut, match="deadline"):
        run_process(["sh", "-c", tree.command], remaining_s=lambda: deadline[0])
    waiter.join()
    assert tree.is_gone(), "when the error is raised nothing is left"


def test_the_whole_tree_is_gone_on_cancel(tree: Tree) -> None:
    with pytest.raises(ActionCancelled):
        run_process(["sh", "-c", tree.command], remaining_s=lambda: 60.0, cancelled=tree.is_up)
    assert tree.is_gone()


def test_the_whole_tree_is_gone_when_the_command_fails(tree: Tree) -> None:
    """A failed command leaves nothing behind, whatever it had started."""
    up = " && ".join(f"[ -e {tree.folder}/{name}.pid ]" for name in tree.names if name != "main")
    command = tree.command.rpartition("&")[0]
    touch = f"touch {tree.folder}/main.pid; echo $$ > {tree.folder}/main.pid"
    assert shell(f"{command}& until {up}; do sleep 0.01; done; {touch}; exit 3").exit_code == 3
    assert tree.is_gone()


def test_the_whole_tree_is_gone_when_the_worker_is_killed(
    tree: Tree, start_worker: Callable[[], subprocess.Popen[bytes]]
) -> None:
    worker = start_worker()
    wait_until(tree.is_up, description="the tree stands")
    worker.send_signal(signal.SIGKILL)
    wait_until(tree.is_gone, description="the tree is gone", timeout_s=2.0)


def test_the_whole_tree_is_gone_when_the_worker_stands_still(
    tree: Tree, start_worker: Callable[[], subprocess.Popen[bytes]]
) -> None:
    worker = start_worker()
    wait_until(tree.is_up, description="the tree stands")
    worker.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    wait_until(tree.is_gone, description="the tree is gone", timeout_s=4.0)
    assert time.monotonic() - begun > 1.5, "a short pause of the worker is forgiven"


def test_a_daemon_survives_success_and_may_go_on_talking(tmp_path) -> None:
    """`nohup server &` keeps our pipe as its stdout: it must neither hold the action nor die of SIGPIPE."""
    beats = tmp_path / "beats"
    begun = time.monotonic()
    finished = shell(f"setsid sh -c 'while :; do echo talk; echo x >> {beats}; sleep 0.01; done' & echo $!")
    assert time.monotonic() - begun < 5
    pid = int(next(line for line in finished.stdout.splitlines() if line.isdigit()))
    try:
        size = beats.stat().st_size if beats.exists() else 0
        wait_until(lambda: beats.exists() and beats.stat().st_size > size + 20, description="the daemon goes on")
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_the_reader_of_a_daemon_ends_with_it() -> None:
    finished = shell("setsid sleep 60 & echo $!")
    pid = int(finished.stdout)
    pipe = Path(f"/proc/{pid}/fd/1").readlink()

    def readers() -> list[Path]:
        return [fd for fd in every("[0-9]*/fd/*") if fd.parts[2] != str(pid) and points_to(fd, pipe)]

    wait_until(readers, description="someone reads what the daemon says")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not readers(), description="nobody is left")


def test_a_gigabyte_of_output_stays_flat_in_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    finished = shell("head -c 1000000000 /dev/zero; echo end >&2", 60.0)
    assert (len(finished.stdout), finished.stdout_cut, finished.stderr) == (65536, True, b"end\n")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 400_000


def test_the_last_words_survive_a_flood() -> None:
    finished = shell("head -c 300000 /dev/zero >&2; echo the reason >&2; exit 1")
    assert finished.stderr_cut
    assert finished.last_words.endswith(b"the reason\n")


def test_a_fork_bomb_is_put_out() -> None:
    bomb = "f() { f & f & sleep 0.2; }; f"
    limited = f"ulimit -u 400 2>/dev/null; {bomb}; sleep 30"
    begun = time.monotonic()
    with pytest.raises(ActionTimedOut):
        shell(limited, 0.3, env={"PATH": os.environ["PATH"], "BOMB": "test"})
    assert time.monotonic() - begun < 8


@pytest.mark.parametrize(
    ("argv", "cwd", "said"),
    [
        (["no-such-program"], None, "cannot run 'no-such-program' in '/': No such file"),
        (["/etc/passwd"], None, "Permission denied"),
        (["true"], "/no/such/dir", "cwd '/no/such/dir': No such file"),
        (["echo", "a\0b"], None, "NUL"),
    ],
)
def test_what_cannot_be_started_says_why_and_is_not_tried_again(argv: list[str], cwd: str | None, said: str) -> None:
    with pytest.raises(ActionError, match=said) as caught:
        run_process(argv, cwd=cwd, remaining_s=lambda: 10.0)
    assert not caught.value.classification.retryable


def test_a_deadline_may_move_while_it_runs() -> None:
    begun = time.monotonic()
    ends = [begun + 0.3]
    late = threading.Timer(0.1, lambda: ends.__setitem__(0, begun + 30))
    late.start()
    finished = run_process(["sleep", "0.6"], remaining_s=lambda: ends[0] - time.monotonic())
    assert finished.exit_code == 0


def test_a_worker_that_stood_still_cancelled_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its silence had the command killed: nobody asked for that, so the action was interrupted."""
    monkeypatch.setattr(processes, "_BEAT_S", 60.0)
    with pytest.raises(Interrupted, match="stood still"):
        shell("sleep 30")


def test_secrets_do_not_show_in_the_process_list(tmp_path) -> None:
    flag = tmp_path / "go"
    seen: list[bytes] = []

    def look() -> bool:
        for line in every("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                seen.append(line.read_bytes())
        flag.touch()
        return False

    finished = shell(
        f"until [ -e {flag} ]; do sleep 0.01; done; cat; echo $TOKEN",
        stdin=b"swordfish-1",
        env={"PATH": os.environ["PATH"], "TOKEN": "swordfish-2"},
        cancelled=look,
    )
    assert finished.stdout == b"swordfish-1swordfish-2\n"
    assert not any(b"swordfish" in line for line in seen)


def test_it_starts_fast() -> None:
    """A bound ten times what is usual, of processor time: it catches a supervisor that begins to import the world."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(3):
        run_process(["true"], remaining_s=lambda: 10.0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 3 < 0.3


def test_the_supervisor_runs_without_our_packages() -> None:
    source = "import sys; sys.path.append('workers'); import supervisor; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", source], capture_output=True, text=True, check=True)
    assert not {"executor", "pydantic", "signal", "json", "subprocess"} & set(done.stdout.split())
