"""The parent of processes: it starts again what dies or stands still, and nothing outlives it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.waiting import wait_until

KEEPER = """
import sys
from pathlib import Path
from workers.keeper import Keeper, Kept
import os
folder = Path(sys.argv[1])
kept = [
    Kept(name, (sys.executable, "-c", Path(sys.argv[2]).read_text(), name, str(folder)), os.environ, folder,
         beats=True, outlives=name == "last")
    for name in sys.argv[3:]
]

def wanted():
    text = (folder / "wanted").read_text() if (folder / "wanted").exists() else ""
    if text == wanted.seen: return None
    wanted.seen = text
    made = {one.name: one for one in kept}
    new = lambda name: Kept(name, (*kept[0].argv[:3], name, str(folder)), os.environ, folder)
    return [made.get(name) or new(name) for name in text.split()]
wanted.seen = ""
Keeper(kept, silence_s=1.0, grace_s=1.5, lifeline=0, wanted=wanted,
       on_ready=lambda pids: print("ready", *sorted(pids), flush=True)).run()
"""
CHILD = """
import os, signal, sys, time
from pathlib import Path
name, folder = sys.argv[1], Path(sys.argv[2])
def note(text):
    with open(folder / "log", "a") as log: log.write(f"{name} {text}\\n")
def end(*_):
    note("ended")
    sys.exit(0)
if "stubborn" in name: signal.signal(signal.SIGTERM, signal.SIG_IGN)
else: signal.signal(signal.SIGTERM, end)
note(f"started {os.getpid()}")
if "refused" in name: sys.exit(os.EX_CONFIG)
while True:
    os.write(int(os.environ["REX_BEAT_FD"]), b".")
    time.sleep(0.1)
"""


class Kept:
    """A keeper as a process, and what its children wrote."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.log = folder / "log"
        script = folder / "child.py"
        script.write_text(CHILD)
        self.process = subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(folder), str(script), *names],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def starts(self, name: str) -> list[int]:
        return [int(line.split()[2]) for line in self.lines() if line.startswith(f"{name} started")]

    def wait_ready(self) -> "Kept":
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith(b"ready")
        return self

    def want(self, *names: str) -> list[str]:
        """From now on these; returns those that it says to run when all is so."""
        assert self.process.stdout is not None
        new = self.log.with_name("wanted.new")
        new.write_text(" ".join(names))
        new.replace(self.log.with_name("wanted"))
        return self.process.stdout.readline().decode().split()[1:]

    def nobody_left(self) -> bool:
        pids = [int(line.split()[2]) for line in self.lines() if " started " in line]
        return not any(psutil.pid_exists(pid) for pid in pids)


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Callable[..., Kept]]:
    made: list[Kept] = []

    def keep(*names: str) -> Kept:
        made.append(Kept(tmp_path, *names))
        return made[-1].wait_ready()

    yield keep
    for keeper in made:
        keeper.process.kill()
        keeper.process.communicate()
    wait_until(lambda: all(keeper.nobody_left() for keeper in made), description="all children are gone", timeout_s=5)


def end(keeper: Kept) -> None:
    keeper.process.send_signal(signal.SIGTERM)
    keeper.process.wait(timeout=20)  # `communicate` would cut the lifeline


def test_what_dies_is_started_again(keep: Callable[..., Kept]) -> None:
    """Twice, and the other child is left alone."""
    keeper = keep("one", "two")
    for count in (1, 2):
        os.kill(keeper.starts("one")[-1], signal.SIGKILL)
        wait_until(lambda count=count: len(keeper.starts("one")) > count, description="it is started again")
    assert len(keeper.starts("two")) == 1
    end(keeper)
    assert keeper.process.returncode == 0


def test_what_stands_still_is_killed_and_started_again(keep: Callable[..., Kept]) -> None:
    """A stopped process never wakes up again."""
    keeper = keep("one")
    frozen = keeper.starts("one")[0]
    os.kill(frozen, signal.SIGSTOP)
    wait_until(lambda: len(keeper.starts("one")) == 2, description="another one is started", timeout_s=5)
    assert not psutil.pid_exists(frozen)
    end(keeper)


def test_a_frozen_parent_kills_nobody_when_it_wakes_up(keep: Callable[..., Kept]) -> None:
    """Its own freeze is nobody's death."""
    keeper = keep("one")
    keeper.process.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        keeper.process.wait(timeout=2.5)
    keeper.process.send_signal(signal.SIGCONT)
    with pytest.raises(subprocess.TimeoutExpired):
        keeper.process.wait(timeout=1.0)
    assert len(keeper.starts("one")) == 1
    end(keeper)


def test_the_end_is_in_order(keep: Callable[..., Kept]) -> None:
    """SIGTERM reaches all children, and last those that the others need."""
    keeper = keep("one", "last", "two")
    end(keeper)
    assert sorted(keeper.lines()[-3:-1]) == ["one ended", "two ended"]
    assert keeper.lines()[-1] == "last ended"


def test_who_does_not_end_is_killed(keep: Callable[..., Kept]) -> None:
    """After the grace, or at once with a second signal."""
    keeper = keep("stubborn")
    keeper.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        keeper.process.wait(timeout=0.5)
    keeper.process.send_signal(signal.SIGTERM)
    keeper.process.wait(timeout=2)
    assert keeper.nobody_left()


def test_it_follows_what_is_wanted(keep: Callable[..., Kept]) -> None:
    """More are started, fewer are told to end, and the others are left alone."""
    keeper = keep("one", "two")
    assert keeper.want("one", "two", "three") == ["one", "three", "two"]
    assert keeper.want("three") == ["three"]
    assert {"one ended", "two ended"} <= set(keeper.lines())
    assert keeper.want("three", "one") == ["one", "three"]
    assert [len(keeper.starts(name)) for name in ("one", "two", "three")] == [2, 1, 1]
    os.kill(keeper.starts("one")[-1], signal.SIGKILL)
    wait_until(lambda: len(keeper.starts("one")) == 3, description="what is wanted is still kept alive")
    end(keeper)
    assert keeper.nobody_left()


def test_one_that_is_refused_silences_nobody(keep: Callable[..., Kept]) -> None:
    """It is not started again; changes of what is wanted are still told."""
    keeper = keep("one")
    assert keeper.want("one", "refused") == ["one"]
    assert keeper.want("one", "refused", "two") == ["one", "two"]
    assert len(keeper.starts("refused")) == 1
    end(keeper)


def test_one_that_is_not_wanted_and_does_not_end_is_killed(keep: Callable[..., Kept]) -> None:
    """After the grace; another of its name waits for that."""
    keeper = keep("one", "stubborn")
    keeper.log.with_name("wanted").write_text("one")
    first = keeper.starts("stubborn")[0]
    with pytest.raises(subprocess.TimeoutExpired):
        keeper.process.wait(timeout=0.7)
    assert psutil.pid_exists(first)
    assert keeper.want("one", "stubborn") == ["one", "stubborn"]
    assert not psutil.pid_exists(first)
    assert len(keeper.starts("stubborn")) == 2


@pytest.mark.parametrize("how", ["kill", "lifeline"])
def test_nothing_outlives_it(keep: Callable[..., Kept], how: str) -> None:
    """Neither its own SIGKILL nor the end of who started it leaves a child."""
    keeper = keep("one", "stubborn")
    if how == "kill":
        keeper.process.kill()
    else:
        assert keeper.process.stdin is not None
        keeper.process.stdin.close()
        keeper.process.stdin = None
    keeper.process.wait(timeout=10)
    wait_until(keeper.nobody_left, description="all children are gone", timeout_s=5)
