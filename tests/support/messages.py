"""Messages as they lie in a broker: counted, doubled, lost, and written by strangers, on each kind of broker alike."""

import json
from typing import Protocol

import amqp
import redis
from kombu import Connection


class Messages(Protocol):
    """The queues of one cluster."""

    def count(self, queue: str) -> int:
        """How many wait."""

    def double(self, queue: str, seen: set[str]) -> None:
        """Put every waiting message whose id is not in `seen` there once more."""

    def lose(self, queue: str) -> None:
        """Remove all that wait."""

    def write(self, queue: str, text: str) -> None:
        """Put `text` there as it is."""

    def close(self) -> None: ...


class RedisMessages:
    """Lists of a server."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def count(self, queue: str) -> int:
        return int(self._client.llen(queue))

    def double(self, queue: str, seen: set[str]) -> None:
        for raw in self._client.lrange(queue, 0, -1):
            name = json.loads(raw)["headers"]["id"]
            if name not in seen:
                seen.add(name)
                self._client.lpush(queue, raw)

    def lose(self, queue: str) -> None:
        assert self._client.delete(queue) == 1

    def write(self, queue: str, text: str) -> None:
        self._client.lpush(queue, text)

    def close(self) -> None:
        self._client.close()


class RabbitMessages:
    """Queues of a virtual host."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(url)
        self._channel = self._connection.channel()

    def count(self, queue: str) -> int:
        try:
            return int(self._channel.queue_declare(queue, passive=True).message_count)
        except amqp.NotFound:
            self._channel = self._connection.channel()
            return 0

    def double(self, queue: str, seen: set[str]) -> None:
        if not self.count(queue):
            return
        taken = []
        while (message := self._channel.basic_get(queue)) is not None:
            taken.append(message)
        for message in taken:
            name = message.headers["id"]
            for _ in range(1 if name in seen else 2):
                copy = amqp.Message(message.body, **message.properties)
                self._channel.basic_publish(copy, exchange="", routing_key=queue)
            seen.add(name)
            self._channel.basic_ack(message.delivery_tag)

    def lose(self, queue: str) -> None:
        assert self._channel.queue_purge(queue) > 0

    def write(self, queue: str, text: str) -> None:
        self._channel.basic_publish(amqp.Message(text), exchange="", routing_key=queue)

    def close(self) -> None:
        self._connection.release()
