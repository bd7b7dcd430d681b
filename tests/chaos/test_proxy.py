"""The proxy of fault tests does what it is told to."""

import socket
import time
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from support.proxy import Proxy
from support.server import Server


@pytest.fixture
def proxy(valkey: Server) -> Iterator[Proxy]:
    made = Proxy(socket.create_server(("127.0.0.1", 0)), valkey.socket)
    yield made
    made.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[redis.Redis]:
    """It does not try again by itself."""
    made = redis.Redis(port=proxy.port, decode_responses=True, retry=Retry(NoBackoff(), 0), socket_timeout=5)
    made.ping()
    yield made
    made.close()


def test_an_answer_is_lost_after_the_server_did_it(proxy: Proxy, client: redis.Redis) -> None:
    proxy.lose_answers("INCR", first=2)
    assert client.incr("n") == 1
    with pytest.raises(redis.exceptions.ConnectionError):
        client.incr("n")
    assert client.get("n") == "2"
    assert client.incr("n") == 3
    assert proxy.lost_answers == 1


def test_everything_comes_late(proxy: Proxy, client: redis.Redis) -> None:
    proxy.delay(0.1)
    began = time.monotonic()
    client.ping()
    assert time.monotonic() - began >= 0.2


def test_connections_are_cut_and_new_ones_let_in(proxy: Proxy, client: redis.Redis) -> None:
    before = client.client_id()
    assert proxy.cut() == 1
    assert client.client_id() != before
