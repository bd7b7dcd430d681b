"""Clocks that are an hour off, memory that is exhausted, and a disk that is full, on one device or at the server."""

import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.clock import moved_clock
from support.fleet import Fleet
from support.network import require_network
from support.shapes import Wish, drawn, nap
from support.trial import Fault, cases, endure, long_run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(0 if long_run() else 180)]

Json = dict[str, Any]
MOMENTS = ("forward", "rollback")
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    require_network()
    made = Fleet(tmp_path_factory.mktemp("f"), ["edge-1", "edge-2"])
    try:
        yield made.start()
    finally:
        made.close()


def wish(fleet: Fleet, moment: str) -> Wish:
    return Wish(fleet.devices, fleet.folder / "world", naps=(0.3, 0.8), fails=1 if moment == "rollback" else 0.3)


@pytest.mark.parametrize("moment", cases(MOMENTS))
def test_the_server_has_no_memory_left(fleet: Fleet, moment: str) -> None:
    fleet.ready()
    server = fleet.redis()

    def limit(_: Fleet) -> None:
        server.config_set("maxmemory", int(server.info("memory")["used_memory"]) - MEGABYTE)

    def lift(_: Fleet) -> None:
        server.config_set("maxmemory", 0)

    try:
        endure(fleet, drawn(wish(fleet, moment)), moment, Fault(limit, 4.0, lift))
    finally:
        server.close()


@pytest.mark.parametrize("moment", cases(MOMENTS))
def test_a_worker_has_no_memory_left(fleet: Fleet, moment: str) -> None:
    """It may have no more address space than it has now."""
    fleet.ready()

    def limit(_: Fleet) -> None:
        child = fleet.child("edge-1")
        assert child is not None
        _, hard = child.rlimit(psutil.RLIMIT_AS)
        child.rlimit(psutil.RLIMIT_AS, (child.memory_info().vms + MEGABYTE, hard))

    def lift(_: Fleet) -> None:
        child = fleet.child("edge-1")
        if child is not None:
            _, hard = child.rlimit(psutil.RLIMIT_AS)
            child.rlimit(psutil.RLIMIT_AS, (hard, hard))

    endure(fleet, drawn(wish(fleet, moment)), moment, Fault(limit, 4.0, lift, ("edge-1",)))


@pytest.mark.long
def test_the_disk_of_a_device_is_full(fleet: Fleet) -> None:
    """What cannot be saved for taking back is not changed."""
    fleet.ready()
    fleet.lose_host("edge-1")
    fleet.worker("edge-1", disk_bytes=2 * MEGABYTE)
    fleet.ready()
    ballast = fleet.disk_inside("edge-1") / "ballast"
    before = os.urandom(200_000)
    changed: dict[str, Path] = {}

    def edited(chance: random.Random, number: int) -> Json:
        path = fleet.folder / "conf" / f"{number}.conf"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(before)
        changed[f"edited-{number}"] = path
        edit = {"id": "edit", "uses": "file.edit", "device": "edge-1", "retry": "none",
                "with": {"path": str(path), "content": "short"}}  # fmt: skip
        actions = [nap(number, "first", "edge-1", chance.choice([0.5, 1.5])), edit, nap(number, "last", "edge-2", 0.1)]
        return {"name": f"edited-{number}", "model": "sequential", "actions": actions}

    def all_or_nothing(report: Json) -> list[str]:
        now, edit = changed[report["strategy"]].read_bytes(), report["actions"]["edit"]
        whole = now == b"short" if report["status"] == "completed" else now == before
        return [] if whole else [f"7: the file has {len(now)} bytes, and its edit is {edit['status']}"]

    def fill(_: Fleet) -> None:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    full = Fault(fill, 3.0, lambda _: ballast.unlink(), ("edge-1",))
    try:
        outcome = endure(fleet, edited, "forward", full, also=all_or_nothing)
    finally:
        fleet.lose_host("edge-1")
        fleet.worker("edge-1")
    assert any(report["status"] == "failed" for report in outcome.reports), "no edit met the full disk"


@pytest.mark.parametrize("hours", cases((1, -1), 1))
def test_the_clock_of_a_device_is_an_hour_off(fleet: Fleet, hours: int) -> None:
    """Nothing of ours goes by a device's time of day: what runs there goes on, and its death is noticed as ever."""
    fleet.ready()
    off = moved_clock(fleet.folder, hours * 3600)
    fleet.lose_host("edge-2")
    fleet.worker("edge-2", **off)
    fleet.ready()
    try:
        lost = Fault(
            lambda _: fleet.lose_host("edge-2"), 3.0, lambda _: fleet.worker("edge-2", **off), ("edge-2",)
        )  # fmt: skip
        outcome = endure(fleet, drawn(wish(fleet, "forward")), "forward", lost)
        assert all(report["duration_s"] < 60 for report in outcome.reports)
        quiet = Fault(lambda _: None, 0.0, lambda _: None, ("edge-2",))
        outcome = endure(fleet, drawn(wish(fleet, "rollback")), "rollback", quiet)
        assert all(report["duration_s"] < 60 for report in outcome.reports)
    finally:
        fleet.lose_host("edge-2")
        fleet.worker("edge-2")
