"""Looks at a broker without a Celery app: how many messages wait, and what kind of server it is."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from config.queues import device_queue
from executor.address import Address, masked
from executor.broker.addresses import broker_address, broker_options, broker_tls, kombu_url
from executor.ledger.connection import connect, reachable
from executor.model.errors import AccessRefused, Unreachable

_PATIENCE_S = 1.0
_CONNECT_S = 5
_ACCESS_REFUSED = 403


def queued(broker_url: str, queues: Iterable[str]) -> dict[str, int]:
    """How many messages wait in each of `queues`; those that a worker has taken are not counted.

    Raises:
        Unreachable: the broker does not answer.
    """
    address, names = broker_address(broker_url), list(queues)
    if not address.is_rabbitmq:
        client = connect(broker_url, name="rex:queues", patience_s=_PATIENCE_S)
        try:
            with reachable(broker_url):
                pipe = client.pipeline(transaction=False)
                for name in names:
                    pipe.llen(name)
                return dict(zip(names, (int(length) for length in pipe.execute()), strict=True))
        finally:
            client.close()
    with rabbitmq(broker_url, address) as connection:
        return {name: ready_in(connection, name) or 0 for name in names}


class DeviceQueues:
    """The port `Queues` on any broker."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url

    def queued(self, devices: Iterable[str]) -> dict[str, int]:
        """How many messages wait for each of these devices.

        Raises:
            Unreachable: the broker does not answer.
        """
        names = list(devices)
        found = queued(self._broker_url, [device_queue(name) for name in names])
        return {name: found[device_queue(name)] for name in names}


def ready_in(connection: Any, queue: str) -> int | None:
    """How many messages of a RabbitMQ queue no consumer has; None where there is no such queue."""
    # a queue that is not there closes the channel that asked
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors as error:
            if getattr(error, "reply_code", None) == 404:
                return None
            raise


@contextmanager
def rabbitmq(broker_url: str, address: Address | None = None) -> Iterator[Any]:
    """A connection of kombu.

    Raises:
        Unreachable: no answer; also what goes wrong later on the connection.
        AccessRefused: our password or rights are wrong.
    """
    from kombu.connection import Connection
    from kombu.exceptions import OperationalError

    found = address or broker_address(broker_url)
    connection: Any = Connection(
        kombu_url(found, broker_url), connect_timeout=_CONNECT_S, ssl=broker_tls(found) or False,
        transport_options=broker_options(broker_url, "looking"),
    )  # type: ignore[no-untyped-call]  # fmt: skip
    try:
        connection.ensure_connection(max_retries=1, timeout=_CONNECT_S)
        yield connection
    except (OperationalError, *connection.connection_errors, *connection.channel_errors, OSError) as error:
        if _is_refusal(error):
            raise AccessRefused(
                f"RabbitMQ at {masked(broker_url)} refuses our password or rights: {_said(error)}. Correct "
                "REX_BROKER_URL"
            ) from error
        raise Unreachable(f"no answer from RabbitMQ at {masked(broker_url)}: {_said(error)}") from error
    finally:
        connection.release()


def _is_refusal(error: BaseException | None) -> bool:
    """Whether the server knows us and lets us not in, or not there; kombu wraps what AMQP says."""
    while error is not None:
        if getattr(error, "reply_code", None) == _ACCESS_REFUSED:
            return True
        error = error.__cause__
    return False


def _said(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__
