"""A local cluster that scales by itself: load makes it grow to its bound, quiet shrinks it, and nothing is lost."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import Cluster, Effects, action, strategy
from support.commands import Rex
from support.waiting import wait_until

from executor import ResolutionClient

pytestmark = pytest.mark.cluster

SETTINGS = {
    "REX_DISTRIBUTED__SCALE_MAX": "3",
    "REX_DISTRIBUTED__SCALE_WAIT": "400ms",
    "REX_DISTRIBUTED__SCALE_IDLE": "2s",
}


@pytest.fixture
def rex(tmp_path: Path) -> Iterator[Rex]:
    made = Rex(tmp_path)
    yield made
    made.close()


def workers(client: ResolutionClient) -> int:
    return sum("edge-1" in worker["devices"] for worker in client.workers())


def test_load_makes_it_grow_and_quiet_shrinks_it(rex: Rex) -> None:
    """To three and back to one; a device that was taken out by a person stays out."""
    effects = Effects(rex.folder / "effects")
    arguments = ("--device", "edge-1", "--device", "edge-2", "--concurrency", "2")
    with rex.up(*arguments, EFFECTS=str(effects.path), **SETTINGS) as told:
        client = ResolutionClient(told["broker_url"], patience_s=10)
        assert rex("scale", "edge-2", "0").returncode == 0
        wide = [action(f"a{n}", effects, then="sleep 0.5") for n in range(90)]
        execution = client.submit(strategy("wide", wide, model="parallel", limits={"parallel": 90}))
        wait_until(lambda: workers(client) == 3, description="it has grown to its bound", timeout_s=30)
        assert client.status(execution)["finished_at"] is None, "it was over before it had grown"
        report = client.result(execution, timeout_s=60)
        assert report["status"] == "completed"
        assert Counter(effects.lines()) == {f"do:a{n}": 1 for n in range(90)}
        assert {row["attempts"] for row in report["actions"].values()} == {1}
        wait_until(lambda: workers(client) == 1, description="it has shrunk again", timeout_s=40)
        assert client.submit(strategy("after", [action("after", effects)]))
        wait_until(lambda: "do:after" in effects.lines(), description="the one that is left works")
        assert not [worker for worker in client.workers() if "edge-2" in worker["devices"]]
        client.close()


SLOW = """
import os, time
from pathlib import Path
from executor import ActionType

time.sleep(1)
Path(os.environ["LOADED"]).touch()

class Slow(ActionType):
    uses = "slow.type"
    def execute(self, run):
        return {}
"""


def test_a_worker_is_announced_when_its_action_types_are_loaded(tmp_path: Path) -> None:
    """However long one of them takes: the first action does not pay for it."""
    site, loaded = tmp_path / "site", tmp_path / "loaded"
    (site / "slow_type-1.dist-info").mkdir(parents=True)
    (site / "slow_type.py").write_text(SLOW)
    (site / "slow_type-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-type\nVersion: 1\n")
    (site / "slow_type-1.dist-info" / "entry_points.txt").write_text("[rex.actions]\nslow.type = slow_type:Slow\n")
    cluster = Cluster(tmp_path, PYTHONPATH=str(site), LOADED=str(loaded))
    try:
        cluster.worker("edge-1")
        wait_until(lambda: cluster.client.workers() != [] or loaded.exists(), description="it does something")
        assert loaded.exists()
        cluster.ready()
    finally:
        cluster.close()
