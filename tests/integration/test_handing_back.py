"""What a worker has fetched and not begun goes back, to the front of its queue; what waits there can be looked at."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from kombu import Connection, Consumer, Producer, Queue, transport
from support.server import Server

from config.celery import transport_options
from executor.model.errors import Unreachable
from workers.autoscale import BrokerQueues, Waiting
from workers.broker import install_surviving_transport, stop_fetching
from workers.publisher import BatchingCelery

QUEUE = Queue("device.edge-1", routing_key="device.edge-1")


@pytest.fixture
def connection(valkey: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """As a worker has it; kombu remembers which transport it took for an address before."""
    monkeypatch.setattr(transport, "_transport_cache", {})
    for scheme in ("redis", "rediss"):
        monkeypatch.setitem(transport.TRANSPORT_ALIASES, scheme, transport.TRANSPORT_ALIASES[scheme])
    install_surviving_transport()
    with Connection(valkey.url, transport_options={**transport_options("test"), "polling_interval": 5}) as made:
        yield made


def send(server: Server, *bodies: int) -> None:
    with Connection(server.url, transport_options=transport_options("sender")) as other:
        producer = Producer(other.channel(), routing_key=QUEUE.routing_key)
        for body in bodies:
            producer.publish({"n": body}, declare=[QUEUE], headers={"id": str(body)})


def order(server: Server) -> list[str]:
    """Ids of what waits, first what is fetched first."""
    with server.client() as client:
        raw: Any = client.lrange("device.edge-1", 0, -1)
        assert client.hlen("unacked:test") == 0
    return [json.loads(one)["headers"]["id"] for one in reversed(raw)]


def test_what_goes_back_is_first_again(valkey: Server, connection: Connection) -> None:
    """Not behind everything that came after it, where kombu would put it."""
    send(valkey, 1, 2, 3)
    got: list[Any] = []
    with connection.channel() as channel:
        consumer = Consumer(channel, [QUEUE], callbacks=[lambda _, message: got.append(message)])
        consumer.qos(prefetch_count=1)
        consumer.consume()
        connection.drain_events(timeout=5)
        consumer.cancel()
        got[0].reject(requeue=True)
        assert order(valkey) == ["1", "2", "3"]


def test_a_message_that_comes_while_fetching_is_stopped_goes_back(valkey: Server, connection: Connection) -> None:
    """The server has handed it out already; nobody would read it before the last task of the worker has ended."""
    got: list[Any] = []
    with connection.channel() as channel:
        consumer = Consumer(channel, [QUEUE], callbacks=[lambda _, message: got.append(message)])
        consumer.consume()
        with suppress(TimeoutError):  # nothing is there yet; the server goes on looking for us
            connection.drain_events(timeout=0.05)
        send(valkey, 1)
        with valkey.client() as client:
            assert client.llen("device.edge-1") == 0  # it is on its way to us
        stop_fetching(consumer)
        assert got == []
        assert order(valkey) == ["1"]
        send(valkey, 2)
        assert order(valkey) == ["1", "2"]  # nothing is fetched any more


def test_stopping_where_nothing_is_on_its_way(valkey: Server, connection: Connection) -> None:
    """Twice, and without a fetch that is under way; nothing is fetched afterwards."""
    with connection.channel() as channel:
        consumer = Consumer(channel, [QUEUE])
        consumer.consume()
        stop_fetching(consumer)
        stop_fetching(consumer)
        send(valkey, 1)
        assert order(valkey) == ["1"]


def test_what_waits_in_a_queue(valkey: Server) -> None:
    """How many messages, and which actions the next one is for; what a stranger put there is counted and not read."""
    app = BatchingCelery("test", broker=valkey.url)
    app.conf.broker_transport_options = transport_options("client")
    queues = BrokerQueues(app)
    assert queues.waiting(["edge-1"]) == {"edge-1": Waiting()}
    for number in range(3):
        app.send_task("workers.run", ("E1", 0, [f"a{number}", "b"]), queue="device.edge-1", ignore_result=True)
    found = queues.waiting(["edge-1", "edge-2"])
    assert found == {"edge-1": Waiting(3, ("E1", 0, ("a0", "b"))), "edge-2": Waiting()}
    for nonsense in ("[]", "nonsense", '{"body": "%%%"}', '{"body": "W10="}', '{"body": "WzFd"}'):
        with valkey.client() as client:
            client.rpush("device.edge-2", nonsense)
        assert queues.waiting(["edge-2"])["edge-2"].first is None
    with valkey.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    with suppress(Unreachable):  # the connection was lost; the next look makes another
        queues.waiting(["edge-1"])
    assert queues.waiting(["edge-1"])["edge-1"].messages == 3
    app.close()
