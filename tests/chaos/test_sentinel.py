"""A primary that dies while a strategy runs: its replica takes over, and nothing is lost or done twice."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import Cluster, action, strategy
from support.commands import Rex
from support.rabbitmq import RabbitNode
from support.sentinels import Watched
from support.waiting import wait_until

from executor import ResolutionClient

pytestmark = pytest.mark.cluster


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A primary, a replica, three sentinels."""
    made = Watched(tmp_path_factory.mktemp("w"))
    try:
        yield made.start()
    finally:
        made.stop()


def cluster_on(folder: Path, watched: Watched, rabbit: RabbitNode | None, **settings: str) -> Cluster:
    cluster = Cluster(folder, rabbit=rabbit, REX_LEDGER_URL=watched.url, **settings)
    if rabbit is None:
        cluster.broker_url = watched.url
    cluster.client.close()
    cluster.client = ResolutionClient(watched.url, patience_s=30)
    return cluster


@pytest.mark.parametrize("broker", ["redis", pytest.param("rabbitmq", marks=(pytest.mark.rabbitmq, pytest.mark.long))])
@pytest.mark.parametrize("moment", ["running", pytest.param("rollback", marks=pytest.mark.long)])
def test_the_primary_is_killed(
    tmp_path_factory: pytest.TempPathFactory, watched: Watched, rabbit: RabbitNode | None, moment: str
) -> None:
    cluster = cluster_on(tmp_path_factory.mktemp("k"), watched, rabbit)
    try:
        cluster.coordinator()
        cluster.worker("edge-1")
        cluster.ready()
        workers = {worker["incarnation"] for worker in cluster.client.workers()}
        slow = [action(f"a{n}", cluster.effects, then="sleep 0.5", retry="none") for n in range(4)]
        for made in slow:
            made["compensate"]["with"] = cluster.effects.command(f"undo:{made['id']}", then="sleep 0.5")
        bad = action("bad", cluster.effects, then="false", retry="none")
        execution = cluster.client.submit(strategy("failover", [*slow, bad]))
        seen = "do:a1" if moment == "running" else "undo:a3"
        wait_until(lambda: seen in cluster.effects.lines(), description=f"{seen} is in the effect log")
        first = watched.primary()
        watched.kill(first)
        wait_until(lambda: watched.primary() != first, description="the replica is primary")
        report = cluster.result(execution)
        assert report["status"] == "failed"
        assert max(Counter(cluster.effects.lines()).values()) == 1, cluster.effects.lines()
        assert report["rollback"]["remaining"] == []
        assert [line for line in cluster.effects.lines() if "undo" in line] == [f"undo:a{n}" for n in (3, 2, 1, 0)]
        # nobody was taken for dead, and the names of connections are those of the new primary
        assert {worker["incarnation"] for worker in cluster.client.workers()} == workers
        names = {entry["name"] for entry in watched.client(watched.primary()).client_list()}
        assert {f"rex:{worker}" for worker in workers} <= names
        watched.start_server(watched.ports.index(first))
        assert cluster.run(strategy("after", [action("z", cluster.effects)]))["status"] == "completed"
        assert "hunter" not in cluster.logs()
    finally:
        cluster.close()


def test_doctor_says_what_the_sentinels_say(tmp_path: Path, watched: Watched) -> None:
    """Who answers, who is primary, and what a failover may cost."""
    shell = Rex(tmp_path)
    told = shell("doctor", REX_BROKER_URL=watched.url)
    assert f"3 of 3 answer; primary 127.0.0.1:{watched.ports[0]}" in told.stdout
    assert "min-replicas-to-write 1" in told.stdout
    watched.kill(watched.sentinel_ports[1])
    told = shell("doctor", REX_BROKER_URL=watched.url)
    assert "2 of 3 answer" in told.stdout
    assert "hunter" not in told.stdout + told.stderr
