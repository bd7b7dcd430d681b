"""Workers, hosts, coordinators and the server: killed, frozen, restarted, rebooted; forward and on the way back."""

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fleet import COORDINATORS, Fleet
from support.network import require_network
from support.shapes import Wish, drawn, nap
from support.trial import Fault, cases, endure, long_run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(0 if long_run() else 180)]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Shared: each test heals what it breaks, and the fleet has to be whole after it."""
    require_network()
    made = Fleet(tmp_path_factory.mktemp("f"), ["edge-1", "edge-2", "edge-3"][: 3 if long_run() else 2])
    try:
        yield made.start()
    finally:
        made.close()


def to_children(number: signal.Signals, *names: str) -> Callable[[Fleet], None]:
    def send(fleet: Fleet) -> None:
        for name in names:
            fleet.signal_child(name, number)

    return send


FAULTS = {
    "a worker is killed": Fault(to_children(signal.SIGKILL, "edge-1"), 0.0, Fleet.heal, ("edge-1",)),
    "all workers are killed": Fault(to_children(signal.SIGKILL, "edge-1", "edge-2"), 0.0, Fleet.heal, ()),
    "a worker is frozen": Fault(to_children(signal.SIGSTOP, "edge-1"), 4.0, Fleet.heal, ("edge-1",)),
    "a host is frozen and wakes up": Fault(
        lambda fleet: fleet.freeze_host("edge-1"), 5.0, lambda fleet: fleet.wake_host("edge-1"), ("edge-1",)
    ),
    "a host is frozen for a moment": Fault(
        lambda fleet: fleet.freeze_host("edge-1"), 1.0, lambda fleet: fleet.wake_host("edge-1"), ("edge-1",)
    ),
    "a host loses its power": Fault(lambda fleet: fleet.lose_host("edge-1"), 3.0, Fleet.heal, ("edge-1",)),
    "a coordinator is killed": Fault(to_children(signal.SIGKILL, COORDINATORS[0]), 0.0, Fleet.heal),
    "both coordinators are killed": Fault(to_children(signal.SIGKILL, *COORDINATORS), 0.0, Fleet.heal),
    "a coordinator is frozen": Fault(to_children(signal.SIGSTOP, COORDINATORS[0]), 4.0, Fleet.heal),
    "the server is restarted": Fault(lambda fleet: fleet.server.kill(), 1.0, Fleet.heal),
    "the server is away for long": Fault(lambda fleet: fleet.server.kill(), 6.0, Fleet.heal),
    "the server is frozen": Fault(
        lambda fleet: fleet.server.kill(signal.SIGSTOP), 4.0, lambda fleet: fleet.server.kill(signal.SIGCONT)
    ),
}  # fmt: skip
ALL = [(name, moment) for moment in ("forward", "rollback") for name in FAULTS]


@pytest.mark.parametrize(("name", "moment"), cases(ALL, ("a host is frozen and wakes up", "rollback")))
def test_something_dies_or_stands_still(fleet: Fleet, name: str, moment: str) -> None:
    fleet.ready()
    wish = Wish(fleet.devices, fleet.folder / "world", naps=(0.3, 0.8, 1.5), fails=1 if moment == "rollback" else 0.3)
    endure(fleet, drawn(wish), moment, FAULTS[name])


def test_a_host_is_rebooted_with_an_empty_disk(fleet: Fleet) -> None:
    """What it had saved for taking back is gone: the change is listed, never silently kept."""
    fleet.ready()
    changed: dict[str, Path] = {}

    def edited(chance: random.Random, number: int) -> Json:
        path = fleet.folder / "conf" / f"{number}.conf"
        path.parent.mkdir(exist_ok=True)
        path.write_text("port=80\n" * 40)
        changed[f"edited-{number}"] = path
        edit = {"id": "edit", "uses": "file.edit", "device": "edge-1", "with": {"path": str(path), "content": "short"}}
        actions = [edit, nap(number, "long", "edge-1", 2.0), nap(number, "bad", "edge-2", 0.0, fails=True)]
        return {"name": f"edited-{number}", "model": "sequential", "actions": actions}

    def listed(report: Json) -> list[str]:
        now = changed[report["strategy"]].read_text()
        left = {entry["action"] for entry in report["rollback"]["remaining"]}
        if now != "port=80\n" * 40 and "edit" not in left:
            return [f"7: the file holds {now[:20]!r}, and is not listed: {sorted(left)}"]
        return []

    reboot = Fault(lambda fleet: fleet.reboot("edge-1", wiped=True), 0.0, Fleet.heal, ("edge-1",))
    outcome = endure(fleet, edited, "forward", reboot, count=2, also=listed)
    assert all(report["status"] == "failed" for report in outcome.reports)
    left = [{entry["action"] for entry in report["rollback"]["remaining"]} for report in outcome.reports]
    assert all("edit" in names for names in left), left
