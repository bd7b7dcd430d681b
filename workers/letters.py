"""Messages that are stuck: of workers that are gone, and those that nobody has any more; for each kind of broker."""

import json
import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from celery import Celery
from kombu.exceptions import OperationalError

from config.celery import transport_options
from executor.broker.addresses import broker_address, broker_options
from executor.broker.looking import ready_in
from executor.model.errors import Unreachable

_log = logging.getLogger("rex.letters")

FIRST_PAUSE_S = 20.0
LONGEST_PAUSE_S = 600.0
"""RabbitMQ does not tell what a worker holds: what it may hold is published again less and less often."""


@dataclass(frozen=True)
class Sought:
    """A message that should have been claimed long ago."""

    queue: str
    ids: frozenset[str]
    """Task ids of which it may have any."""


class Letters(Protocol):
    """What the watchdog needs of a broker."""

    keeps_for_the_silent: bool
    """Whether a worker that is silent keeps its messages as long as its connection stands."""

    def restore(self, owner: str) -> int:
        """Put the messages that a dead worker held back into their queues; returns how many."""

    def lost(self, sought: Collection[Sought], owners: Iterable[str]) -> set[Sought]:
        """Which of `sought` are to be published again, as far as can be known; `owners` are the living workers.

        Raises:
            Unreachable: the broker does not answer.
        """


def letters_of(app: Celery, broker_url: str) -> Letters:
    """Those of the broker at this address."""
    return RabbitLetters(app) if broker_address(broker_url).is_rabbitmq else RedisLetters(app, broker_url)


class RedisLetters:
    """Messages lie in lists, and those that a worker has taken in a hash of its own."""

    keeps_for_the_silent = False

    def __init__(self, app: Celery, broker_url: str) -> None:
        self._app = app
        self._broker_url = broker_url

    def restore(self, owner: str) -> int:
        """Put the messages that a dead worker held back into their queues; returns how many."""
        with self._connection(owner) as connection, connection.channel() as channel:
            tags = [_text(tag) for tag in channel.client.hkeys(channel.unacked_key)]
            for tag in tags:
                channel.qos.restore_by_tag(tag, channel.client)
            return len(tags)

    def lost(self, sought: Collection[Sought], owners: Iterable[str]) -> set[Sought]:
        """Which of `sought` stand neither in their queue nor in anybody's hands.

        One that still lies in another queue counts for nothing: its actions were moved away from there.
        """
        waiting: dict[str, set[str]] = {}
        present: set[str] = set()
        with self._connection("watchdog") as connection, connection.channel() as channel:
            for queue in {one.queue for one in sought}:
                waiting[queue] = {_task_id(raw) for raw in channel.client.lrange(queue, 0, -1)}
            for owner in owners:
                held = transport_options(owner)["unacked_key"]
                present.update(_task_id(raw, held=True) for raw in channel.client.hvals(held))
        return {one for one in sought if not one.ids & (waiting[one.queue] | present)}

    def _connection(self, owner: str) -> Any:
        connection = self._app.connection_for_write()
        connection.transport_options = {**broker_options(self._broker_url, owner), "client_name": "w:watchdog"}
        return connection


class RabbitLetters:
    """The server puts back what a worker held when its connection is gone, and tells only how many messages wait.

    So a message may be lost when none waits in its queue; or a worker has fetched it and is busy. It is published again
    after growing pauses: claims make the second harmless, and while one waits in the queue no third is added.
    """

    keeps_for_the_silent = True

    def __init__(self, app: Celery, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        self._asked: dict[Sought, tuple[float, float]] = {}

    def restore(self, owner: str) -> int:  # noqa: ARG002 - the port's name
        """Nothing: the server has done it."""
        return 0

    def lost(self, sought: Collection[Sought], owners: Iterable[str]) -> set[Sought]:  # noqa: ARG002 - not told here
        """Which of `sought` may be lost, and were not published again lately."""
        now = self._clock()
        self._asked = {
            one: (pause_s, due) for one, (pause_s, due) in self._asked.items() if now < due + 2 * LONGEST_PAUSE_S
        }
        empty = self._empty({one.queue for one in sought})
        found = {one for one in sought if one.queue in empty and now >= self._asked.get(one, (0.0, 0.0))[1]}
        for one in found:
            pause_s = min(2 * self._asked[one][0], LONGEST_PAUSE_S) if one in self._asked else FIRST_PAUSE_S
            self._asked[one] = (pause_s, now + pause_s)
        return found

    def _empty(self, queues: Collection[str]) -> set[str]:
        """Those in which nothing waits; one that was removed is made anew."""
        empty = set()
        with self._app.connection_for_write() as connection:
            try:
                for queue in queues:
                    ready = ready_in(connection, queue)
                    if ready is None:
                        with connection.channel() as channel:
                            self._app.amqp.queues[queue](channel).declare()
                    if not ready:
                        empty.add(queue)
            except (OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
                raise Unreachable(f"cannot look for messages in RabbitMQ: {error}") from error
        return empty


def _task_id(raw: Any, *, held: bool = False) -> str:
    """The id in a message as it lies in the server; empty for what a stranger has put there."""
    try:
        message = json.loads(raw)
        return str((message[0] if held else message)["headers"]["id"])
    except (ValueError, TypeError, KeyError, IndexError):
        return ""


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
