"""RabbitMQ that dies, closes connections, gives up on messages and on slow consumers: nothing is lost or done twice."""

from collections import Counter
from collections.abc import Iterator

import pytest
from support.cluster import Cluster, action, strategy
from support.rabbitmq import RabbitNode, running_node
from support.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.rabbitmq, pytest.mark.long]


@pytest.fixture(scope="module")
def own_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A node that these tests may kill."""
    with running_node(tmp_path_factory.mktemp("r")) as node:
        yield node


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, own_node: RabbitNode) -> Iterator[Cluster]:
    """A coordinator and a worker on it."""
    made = Cluster(tmp_path_factory.mktemp("k"), rabbit=own_node)
    try:
        yield made
    finally:
        made.close()


def failing(cluster: Cluster, **fields: object) -> dict[str, object]:
    """Four slow actions and one that fails, all taken back slowly."""
    slow = [action(f"a{n}", cluster.effects, then="sleep 0.4", retry="none") for n in range(4)]
    for made in slow:
        made["compensate"]["with"] = cluster.effects.command(f"undo:{made['id']}", then="sleep 0.4")
    return strategy("tried", [*slow, action("bad", cluster.effects, then="false", retry="none")], **fields)


def is_taken_back_once(cluster: Cluster, report: dict[str, object]) -> bool:
    lines = cluster.effects.lines()
    assert report["status"] == "failed"
    assert max(Counter(lines).values()) == 1, lines
    return [line for line in lines if "undo" in line] == ["undo:a3", "undo:a2", "undo:a1", "undo:a0"]


@pytest.mark.parametrize("moment", ["do:a1", "undo:a2"])
def test_the_node_is_killed_and_comes_back(cluster: Cluster, own_node: RabbitNode, moment: str) -> None:
    """What runs goes on meanwhile; no worker ends, and what was not acknowledged comes again and is known."""
    cluster.coordinator(REX_EXECUTION__FUSE="false")
    cluster.worker("edge-1")
    cluster.ready()
    execution = cluster.client.submit(failing(cluster))
    wait_until(lambda: moment in cluster.effects.lines(), description=f"{moment} is in the effect log")
    own_node.kill()
    own_node.start()
    assert is_taken_back_once(cluster, cluster.result(execution, timeout_s=90))
    assert all(process.poll() is None for process in cluster.processes.values())
    assert cluster.run(strategy("after", [action("z", cluster.effects)]))["status"] == "completed"


def test_the_server_closes_all_connections_again_and_again(cluster: Cluster, own_node: RabbitNode) -> None:
    """As an operator may; unacknowledged messages come back each time."""
    cluster.coordinator()
    cluster.worker("edge-1")
    cluster.ready()
    execution = cluster.client.submit(failing(cluster))
    for n in range(4):
        wait_until(lambda n=n: f"do:a{n}" in cluster.effects.lines(), description=f"a{n} has begun")
        own_node.close_connections()
    assert is_taken_back_once(cluster, cluster.result(execution))
    assert all(process.poll() is None for process in cluster.processes.values())


def test_a_consumer_that_is_too_slow_for_the_server(cluster: Cluster, own_node: RabbitNode) -> None:
    """Its channel is closed under it, and the message delivered once more while the action runs: it runs once."""
    own_node.end_consumers_after(1000)
    try:
        cluster.coordinator()
        cluster.worker("edge-1")
        cluster.ready()
        report = cluster.run(strategy("slow", [action("long", cluster.effects, then="sleep 5", timeout="60s")]))
        assert report["status"] == "completed"
        assert cluster.effects.lines() == ["do:long"]
        assert "PRECONDITION_FAILED" in cluster.logs()
        assert cluster.run(strategy("after", [action("z", cluster.effects)]))["status"] == "completed"
    finally:
        own_node.end_consumers_after(1_800_000)


def test_a_message_that_the_server_drops_after_too_many_deliveries(cluster: Cluster, own_node: RabbitNode) -> None:
    """The ledger finds that it is gone, and sends it again: a delivery limit ends no execution."""
    own_node.limit_deliveries(cluster.broker_url, 0)
    cluster.coordinator()
    crash = cluster.crash_at("claim", "a1")
    cluster.worker("edge-1", **crash)
    cluster.ready()
    made = [action(f"a{n}", cluster.effects, retry="none", idempotent=True) for n in range(3)]
    execution = cluster.client.submit(strategy("dropped", made, model="parallel"))
    cluster.again("edge-1")
    report = cluster.result(execution)
    assert cluster.crashed
    assert report["status"] == "completed"
    assert {"do:a0", "do:a1", "do:a2"} == set(cluster.effects.lines())
    assert "has lost its message" in (cluster.folder / "control.log").read_text()
