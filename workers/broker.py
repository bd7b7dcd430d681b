"""What kombu's Redis transports lack: surviving a lost server."""

import contextlib
import logging
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as transport
from redis.exceptions import OutOfMemoryError

_log = logging.getLogger("rex.broker")

PINNED_KOMBU = "5.7"
"""The version whose internals are overridden here; a test holds it."""

_LOST: tuple[type[BaseException], ...] = (
    *transport.get_redis_error_classes().connection_errors,  # type: ignore[no-untyped-call]
    AttributeError,
)
"""What an acknowledgement raises when its server is gone; AttributeError is kombu's, of a closed channel."""


class SurvivingQoS(transport.QoS):
    """Acknowledges also when the channel that delivered is gone with its server.

    Without this a worker dies of a server restart exactly when it holds an unacknowledged message and has room to
    fetch another.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a delivered message, and the client by which it can be acknowledged later."""
        super().append(message, delivery_tag)  # type: ignore[no-untyped-call]
        self._spare = self.channel.client

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge; on a closed channel over another connection, in this process's own unacked hash."""
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]
            return
        except _LOST as error:
            _log.warning("acknowledging over another connection: %s", error)
        try:
            self._spare.pipeline().zrem(self.unacked_index_key, delivery_tag).hdel(
                self.unacked_key, delivery_tag
            ).execute()
        except _LOST as error:
            # it comes again, and the ledger knows that it was done
            _log.warning("message %s stays unacknowledged: %s", delivery_tag, error)
        super(transport.QoS, self).ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put a message back where it was: first in its queue, for whoever fetches next."""
        if not requeue:
            super().reject(delivery_tag)  # type: ignore[no-untyped-call]
            return
        self.restore_by_tag(delivery_tag)  # type: ignore[no-untyped-call]
        super(transport.QoS, self).ack(delivery_tag)  # type: ignore[no-untyped-call]

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Put messages back at the end of a channel; what fails here the watchdog does."""
        try:
            super().restore_unacked_once(stderr)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - at this point every error means the same: the server is gone
            _log.warning("messages stay unacknowledged until the watchdog puts them back: %s", error)


class _Surviving:
    """Drops what is no message: strangers write to queues too, and kombu would end the worker for it."""

    QoS = SurvivingQoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except ValueError as error:
            _log.warning("dropped from a queue what is no JSON: %s", error)
            raise Empty from None


class SurvivingChannel(_Surviving, transport.Channel):
    """For one server."""


class SurvivingSentinelChannel(_Surviving, transport.SentinelChannel):
    """For the server that sentinels name."""


class _Delivering:
    connection_errors = (*transport.Transport.connection_errors, OutOfMemoryError)
    """A server that has no memory left is waited for, as one that is away: otherwise it ends the worker, and all that
    it runs."""

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            message["properties"]["delivery_tag"], message["headers"]["id"], message["body"]
        except (TypeError, KeyError) as error:
            _log.warning("dropped from %s what is no message of Celery: it lacks %s", queue, error)
            return
        super()._deliver(message, queue)  # type: ignore[misc]


class SurvivingTransport(_Delivering, transport.Transport):
    """kombu's Redis transport with the overrides of this module."""

    Channel = SurvivingChannel


class SurvivingSentinelTransport(_Delivering, transport.SentinelTransport):
    """kombu's Sentinel transport with the overrides of this module."""

    Channel = SurvivingSentinelChannel


def stop_fetching(consumer: Any) -> None:
    """Let a consumer fetch nothing any more; what the server has handed out already goes back at once.

    Celery reads that only when its last task has ended, which may take a while.
    """
    consumer.cancel()
    channel = consumer.channel
    if getattr(channel, "_in_poll", None):
        with contextlib.suppress(Empty, *_LOST):
            channel._brpop_read()


def install_surviving_transport() -> None:
    """Make every Redis connection of this process survive."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:SurvivingTransport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SurvivingSentinelTransport"
