"""Whether a process of this machine has ended is seen; of any other nothing is claimed."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from support.waiting import wait_until

from executor.model.device import Announcement
from workers.whereabouts import described, has_ended, place, started


def announced(pid: int, **more: object) -> Announcement:
    return Announcement.model_validate({"devices": (), "pid": pid, "place": place(), "started": started(pid), **more})


@contextmanager
def sleeping() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_process_lives_until_it_ends() -> None:
    """One that nobody has waited for yet has ended too."""
    with sleeping() as process:
        told = announced(process.pid)
        assert not has_ended(told, one_machine=False)
        process.kill()
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, description="it is dead")
        assert has_ended(told, one_machine=False)
    assert has_ended(told, one_machine=False)


def test_another_process_of_its_number_is_another_one() -> None:
    with sleeping() as process:
        told = announced(process.pid)
        assert has_ended(told.model_copy(update={"started": told.started - 1}), one_machine=False)


def test_a_process_that_is_hidden_from_us_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hidepid` hides other users' processes from /proc."""
    with sleeping() as process:
        told = announced(process.pid)
        monkeypatch.setattr("workers.whereabouts.started", lambda _: None)
        assert not has_ended(told, one_machine=False)
    assert has_ended(told, one_machine=False)


def test_we_are_described() -> None:
    where, began = described()
    assert where == place()
    assert where.count("/") == 1
    assert began > 0


@pytest.mark.parametrize(
    ("elsewhere", "here_alone", "ended"),
    [
        ("", True, False),
        ("another-boot/1", False, False),
        ("another-boot/1", True, True),
        ("{boot}/1", True, False),
    ],
    ids=["a release that does not say", "another machine", "this machine before it was started anew", "a container"],
)
def test_who_is_elsewhere_may_live(elsewhere: str, here_alone: bool, ended: bool) -> None:
    told = announced(1, place=elsewhere.format(boot=place().partition("/")[0]), started=0)
    assert has_ended(told, one_machine=here_alone) is ended
