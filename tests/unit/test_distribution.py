"""The choice of the least loaded device."""

import time
from typing import Any

import pytest

from executor.distribution import Fleet, NoDevice
from executor.model.device import Announcement


def worker(*devices: str, actions: tuple[str, ...] = ("wait",), concurrency: int = 1, **more: Any) -> Announcement:
    return Announcement(devices=devices, actions=actions, concurrency=concurrency, **more)


def test_the_least_loaded_device_is_chosen_by_its_share() -> None:
    fleet = Fleet({"w1": worker("a", concurrency=4), "w2": worker("b"), "w3": worker("c")}, {"w2": 1})
    assert [fleet.place("wait", None) for _ in range(6)] == ["a", "c", "a", "a", "a", "a"]
    assert [fleet.place("wait", None) for _ in range(3)] == ["b", "c", "a"]


def test_what_one_type_was_given_counts_for_the_others() -> None:
    fleet = Fleet({"w1": worker("a", actions=("wait", "file.write")), "w2": worker("b")}, {})
    assert fleet.place("wait", None) == "a"
    assert [fleet.place("file.write", None) for _ in range(2)] == ["a", "a"]
    assert [fleet.place("wait", None) for _ in range(4)] == ["b", "b", "b", "a"]


def test_neighbours_stay_together_where_they_can() -> None:
    fleet = Fleet({"w1": worker("a"), "w2": worker("b", actions=("file.write",))}, {})
    assert fleet.place("wait", "a") == "a"
    assert fleet.place("file.write", "a") == "b"
    with pytest.raises(NoDevice, match=r"2 living devices"):
        fleet.place("http.request", "a")


def test_many_actions_on_many_devices() -> None:
    fleet = Fleet({f"w{number}": worker(f"d{number:03}") for number in range(500)}, {})
    began = time.monotonic()
    chosen = [fleet.place("wait", None) for _ in range(10_000)]
    took_s = time.monotonic() - began
    assert chosen == [f"d{number:03}" for number in range(500)] * 20
    assert took_s < 0.5, f"{took_s:.2f} s"  # 0.03 s on a quiet machine


def test_an_agent_is_only_what_says_so() -> None:
    """An action for a kind of agent goes to no other device, however free that is."""
    fleet = Fleet({"w1": worker("a"), "w2": worker("b", "c", agents={"b": "coder"})}, {"w2": 5})
    assert fleet.place("wait", "a", "coder") == "b"
    assert fleet.place("wait", "b", "coder") == "b"
    assert fleet.place("wait", "a", None) == "a"
    with pytest.raises(NoDevice, match=r"of the agent kind 'tester' offers wait: .* --agent tester"):
        fleet.place("wait", None, "tester")
