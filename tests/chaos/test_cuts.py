"""Devices that are cut off, both ways or one way, for a second, a lease, or ten of them."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fleet import LEASE_S, Fleet
from support.network import WAYS, require_network
from support.shapes import TIMEOUT_S, Wish, drawn, nap
from support.trial import Fault, cases, endure, long_run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(0 if long_run() else 180)]

Json = dict[str, Any]
MOMENTS = ("forward", "rollback")
LENGTHS = {"a second": 1.0, "a lease": LEASE_S, "ten leases": 10 * LEASE_S}
ALL = [(ways, length, moment) for moment in MOMENTS for length in LENGTHS for ways in WAYS]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Shared: each test heals what it breaks, and the fleet has to be whole after it."""
    require_network()
    made = Fleet(tmp_path_factory.mktemp("f"), [f"edge-{n}" for n in range(1, 5 if long_run() else 3)])
    try:
        yield made.start()
    finally:
        made.close()


def cut(ways: str, lasts_s: float, *hosts: str) -> Fault:
    def begin(fleet: Fleet) -> None:
        for host in hosts:
            fleet.network.cut(host, ways)

    return Fault(begin, lasts_s, Fleet.heal, hosts)


@pytest.mark.parametrize(("ways", "length", "moment"), cases(ALL, ("to", "a lease", "rollback")))
def test_a_device_is_cut_off(fleet: Fleet, ways: str, length: str, moment: str) -> None:
    fleet.ready()
    wish = Wish(fleet.devices, fleet.folder / "world", naps=(0.3, 0.8, 1.5), fails=1 if moment == "rollback" else 0.3)
    endure(fleet, drawn(wish), moment, cut(ways, LENGTHS[length], "edge-1"))


@pytest.mark.parametrize("length", cases(["a lease", "ten leases"], "a lease"))
def test_half_of_the_devices_are_cut_off_where_a_phase_waits_for_all(fleet: Fleet, length: str) -> None:
    """The first phase has ended on some devices, and the second may not begin before it has on all."""
    fleet.ready()
    half = fleet.devices[: len(fleet.devices) // 2]

    def synchronized(chance: random.Random, number: int) -> Json:
        first = [nap(number, f"a{n}", d, 1.5 if d in half else 0.1) for n, d in enumerate(fleet.devices)]
        second = [nap(number, f"b{n}", d, chance.choice([0.05, 0.3])) for n, d in enumerate(fleet.devices)]
        phases = [{"name": "first", "actions": first}, {"name": "second", "actions": second}]
        return {"name": f"half-{number}", "model": "phased", "limits": {"parallel": 8}, "phases": phases}

    endure(fleet, synchronized, "forward", cut("both", LENGTHS[length], *half), count=2)


@pytest.mark.parametrize(("ways", "length"), cases((w, n) for n in LENGTHS for w in WAYS))
def test_a_device_is_cut_off_while_it_takes_a_snapshot(fleet: Fleet, ways: str, length: str) -> None:
    """It is taken or not; where it is said to be restored, all is as it was."""
    fleet.ready()
    trees = {device: lay_out(fleet.folder / "trees" / device) for device in fleet.devices[:2]}

    def saving(chance: random.Random, number: int) -> Json:
        saved = [{"uses": "snapshot.files", "device": d, "with": {"path": str(tree)}} for d, tree in trees.items()]
        changes = [
            {"id": f"c{n}", "uses": "command", "device": d, "timeout": f"{TIMEOUT_S:g}s", "retry": "none",
             "with": {"run": f"echo {number} >> {tree}/f{chance.randrange(FILES)}"}}
            for n, (d, tree) in enumerate(trees.items())
        ]  # fmt: skip
        bad = nap(number, "bad", fleet.devices[-1], 0.1, fails=True)
        return {"name": f"saving-{number}", "model": "sequential", "snapshot": saved, "actions": [*changes, bad]}

    before = {device: contents(tree) for device, tree in trees.items()}

    def restored(report: Json) -> list[str]:
        listed = {entry["action"] for entry in report["rollback"]["remaining"]}
        changed = {f"snapshot/{n}" for n, d in enumerate(trees, 1) if contents(trees[d]) != before[d]}
        lost = {name for name in changed if name not in listed and f"c{int(name[-1]) - 1}" not in listed}
        return [f"7: {name} was not restored, and is not listed" for name in lost]

    endure(fleet, saving, "snapshot", cut(ways, LENGTHS[length], "edge-1"), count=1, also=restored)


@pytest.mark.long
@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("restarted", [False, True])
def test_nothing_is_taken_back_while_a_host_that_is_cut_off_still_works(
    fleet: Fleet, idempotent: bool, restarted: bool
) -> None:
    """Something else fails meanwhile; where the server starts anew too, it has no connection to that host any more."""
    fleet.ready()

    def failing(_: random.Random, number: int) -> Json:
        bound = {**nap(number, "a", "edge-1", 6.0), "idempotent": idempotent, "timeout": "8s"}
        actions = [bound, nap(number, "b", "edge-2", 0.1), nap(number, "c", "edge-2", 3.5, fails=True)]
        return {"name": f"failing-{number}", "model": "parallel", "actions": actions}

    def begin(fleet: Fleet) -> None:
        fleet.network.cut("edge-1", "both")
        if restarted:
            fleet.server.kill()
            fleet.server.start()

    endure(fleet, failing, "forward", Fault(begin, 7.5, Fleet.heal, ("edge-1",)), count=1)


FILES = 8000


def lay_out(tree: Path) -> Path:
    """A tree that takes a while to save."""
    tree.mkdir(parents=True, exist_ok=True)
    for n in range(FILES):
        (tree / f"f{n}").write_bytes(f"{n}\n".encode() * 20)
    return tree


def contents(tree: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(tree.iterdir()))).hexdigest()
