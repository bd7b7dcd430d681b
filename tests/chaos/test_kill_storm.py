"""Many executions under many kills: none is lost, none is doubled, none is stuck; and how fast others take over.

``REX_KILL_EXECUTIONS`` and ``REX_KILL_FAULTS`` say how many; ``REX_CHAOS_SEED`` repeats a run.
"""

import os
import sys
from collections.abc import Iterator

import pytest
from support.figures import as_json, table, write
from support.fleet import COORDINATORS, Fleet
from support.kill_storm import KillStorm
from support.network import require_network
from support.trial import healthy_after, long_run, seed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(0 if long_run() else 180)]

EXECUTIONS = int(os.environ.get("REX_KILL_EXECUTIONS", "2000" if long_run() else "30"))
FAULTS = int(os.environ.get("REX_KILL_FAULTS", "300" if long_run() else "6"))


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two workers for each of three devices, each under a parent of its own."""
    require_network()
    made = Fleet(tmp_path_factory.mktemp("f"), ["edge-1", "edge-2", "edge-3"])
    try:
        for name in COORDINATORS:
            made.coordinator(name)
        for device in made.devices:
            made.worker(device)
            made.worker(device, name=f"{device}.2")
        yield made.ready()
    finally:
        made.close()


def test_nothing_is_lost_or_doubled_while_everything_is_killed(fleet: Fleet) -> None:
    storm = KillStorm(fleet, seed(), executions=EXECUTIONS, faults=FAULTS)
    figures = storm.run()
    fleet.ready()
    if not figures.stuck:
        figures.healthy = 100 if long_run() else 10
        healthy_after(fleet, figures.healthy)
    found = as_json(figures)
    sys.stdout.write(f"{table(found)}\nwritten to {write(found)}\n")
    assert not figures.wrong, "\n".join([f"seed {figures.seed}", *figures.wrong[:20]])
    assert any(figures.takeovers_s.values()), f"seed {figures.seed}: no fault hit work in flight"
