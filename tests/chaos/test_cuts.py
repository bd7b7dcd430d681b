"""Devices that are cut off, both ways or one way, for a second, a lease, or ten of them."""

from collections.abc import Iterator

import pytest
from support.fleet import LEASE_S, Fleet
from support.network import WAYS, require_network
from support.shapes import Wish
from support.trial import Fault, endure, long_run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(0 if long_run() else 180)]

MOMENTS = ("forward", "rollback")
LENGTHS = {"a second": 1.0, "a lease": LEASE_S, "ten leases": 10 * LEASE_S}
SHORT = [("both", "a lease", "forward"), ("to", "a lease", "rollback"), ("from", "a second", "forward")]
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


@pytest.mark.parametrize(("ways", "length", "moment"), ALL if long_run() else SHORT)
def test_a_device_is_cut_off(fleet: Fleet, ways: str, length: str, moment: str) -> None:
    fleet.ready()
    wish = Wish(fleet.devices, fleet.folder / "world", naps=(0.3, 0.8, 1.5), fails=1 if moment == "rollback" else 0.3)
    endure(fleet, wish, moment, cut(ways, LENGTHS[length], "edge-1"))
