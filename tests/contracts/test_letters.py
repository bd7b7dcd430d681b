"""Messages that wait, that somebody holds and that nobody has, on each kind of broker."""

from collections.abc import Iterator

import pytest
from celery import Celery
from support.rabbitmq import RabbitNode
from support.server import Server
from support.waiting import wait_until

from config.celery import celery_config
from executor.broker.addresses import broker_options, celery_addresses
from executor.broker.looking import DeviceQueues, queued
from executor.model.errors import Unreachable
from workers.letters import FIRST_PAUSE_S, LONGEST_PAUSE_S, RabbitLetters, Sought, letters_of

OWNER = "worker:1"
WAITS = Sought("device.a", frozenset({"waits", "another"}))
GONE = Sought("device.b", frozenset({"gone"}))


@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=(pytest.mark.rabbitmq, pytest.mark.long))])
def broker_url(request: pytest.FixtureRequest) -> str:
    """An empty broker."""
    if request.param == "redis":
        server: Server = request.getfixturevalue("valkey")
        return server.url
    node: RabbitNode = request.getfixturevalue("rabbit_node")
    return node.virtual_host()


@pytest.fixture
def app(broker_url: str, valkey: Server) -> Iterator[Celery]:
    """An app as the coordinator has one."""
    made = Celery("letters", set_as_current=False)
    made.config_from_object({**celery_config(), **celery_addresses(broker_url, valkey.url, "client")})
    yield made
    made.close()


def put(app: Celery, broker_url: str, queue: str, name: str) -> None:
    app.send_task("some.task", task_id=name, queue=queue, ignore_result=True)
    wait_until(lambda: queued(broker_url, [queue])[queue] == 1, description="the message waits")


def test_what_waits_is_counted(app: Celery, broker_url: str) -> None:
    """A queue that is not there yet is empty."""
    put(app, broker_url, "device.a", "waits")
    assert queued(broker_url, ["device.a", "control"]) == {"device.a": 1, "control": 0}
    assert DeviceQueues(broker_url).queued(["a", "b"]) == {"a": 1, "b": 0}


def test_what_waits_is_not_lost_and_what_is_nowhere_is(app: Celery, broker_url: str) -> None:
    """By any of the ids that it may have."""
    put(app, broker_url, "device.a", "waits")
    assert letters_of(app, broker_url).lost([WAITS, GONE], [OWNER]) == {GONE}


def test_what_a_dead_worker_held_comes_back(app: Celery, broker_url: str) -> None:
    """By the watchdog or by the server: then it waits again."""
    put(app, broker_url, "device.a", "waits")
    letters = letters_of(app, broker_url)
    connection = app.connection_for_write()
    connection.transport_options = broker_options(broker_url, OWNER)
    channel = connection.channel()
    assert app.amqp.queues["device.a"](channel).get() is not None
    assert queued(broker_url, ["device.a"]) == {"device.a": 0}
    if letters.keeps_for_the_silent:
        connection.release()
    else:
        channel.qos.restore_at_shutdown = False  # as one that is killed
        assert letters.lost([WAITS], [OWNER]) == set()
        assert letters.restore(OWNER) == 1
        connection.release()
    wait_until(lambda: queued(broker_url, ["device.a"])["device.a"] == 1, description="it waits again")
    assert letters.lost([WAITS], [OWNER]) == set()


@pytest.mark.rabbitmq
@pytest.mark.long
def test_what_may_be_in_a_busy_hand_is_sent_again_less_and_less_often(rabbit_node: RabbitNode, valkey: Server) -> None:
    """RabbitMQ does not tell who holds what: the pauses double, up to a longest one."""
    url, now = rabbit_node.virtual_host(), [100.0]
    app = Celery("letters", set_as_current=False)
    app.config_from_object({**celery_config(), **celery_addresses(url, valkey.url, "client")})
    letters = RabbitLetters(app, clock=lambda: now[0])
    pauses, pause_s = [], FIRST_PAUSE_S
    assert letters.lost([GONE], []) == {GONE}
    for _ in range(7):
        now[0] += pause_s - 1
        assert letters.lost([GONE], []) == set()
        now[0] += 1
        assert letters.lost([GONE], []) == {GONE}
        pauses.append(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    assert pauses[-1] == LONGEST_PAUSE_S
    app.close()


def test_a_broker_that_does_not_answer_is_said(app: Celery, broker_url: str) -> None:
    """By its address, without its password."""
    away = "amqp://u:hunter2@127.0.0.1:1/v" if broker_url.startswith("amqp") else "redis://:hunter2@127.0.0.1:1/0"
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1") as caught:
        queued(away, ["control"])
    assert "hunter2" not in str(caught.value)
