"""What takes long is postponed until it is through; what is quick costs the ledger nothing."""

import time
from types import SimpleNamespace

import pytest
from support.waiting import wait_until

from executor.model.errors import Unreachable
from workers.underway import Underway


def test_what_takes_long_is_postponed_until_it_is_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.underway._POSTPONE_S", 0.01)
    told: list[str] = []

    def postpone(entry: str) -> None:
        told.append(entry)
        if len(told) == 1:
            raise Unreachable("the server is away")

    underway = Underway(postpone)
    with underway.keeping("ex:E1"):
        wait_until(lambda: told.count("ex:E1") >= 3, description="it is postponed again and again")
        with underway.keeping("rb:E2"):
            wait_until(lambda: "rb:E2" in told, description="each of several is")
    with underway.keeping("con:E3"):
        wait_until(lambda: "con:E3" in told, description="it goes on after a pause")
        after = told.index("con:E3")
        wait_until(lambda: told.count("con:E3") >= 3, description="time passes")
    assert set(told[after:]) == {"con:E3"}


def test_what_is_quick_is_not_postponed() -> None:
    told: list[str] = []
    underway = Underway(told.append)
    for number in range(100):
        with underway.keeping(f"ex:E{number}"):
            pass
    with underway.keeping("ex:long"):
        wait_until(lambda: told, description="a long one is")
    assert set(told) == {"ex:long"}


def test_what_takes_longer_than_anything_may_is_given_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an error that nobody has thought of ends nothing."""
    now = [0.0]
    monkeypatch.setattr("workers.underway._POSTPONE_S", 0.01)
    monkeypatch.setattr("workers.underway.time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))
    told: list[str] = []

    def postpone(entry: str) -> None:
        told.append(entry)
        if len(told) == 1:
            raise ValueError(entry)

    underway = Underway(postpone)
    with underway.keeping("ex:hangs"):
        now[0] = 599.0
        wait_until(lambda: told.count("ex:hangs") > 1, description="it goes on after an error")
        now[0] = 601.0
        with underway.keeping("ex:next"):
            now[0] = 602.0
            wait_until(lambda: told.count("ex:next") > 1, description="the other is postponed")
    assert "ex:hangs" not in told[told.index("ex:next") :]
