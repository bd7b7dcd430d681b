"""One connection to the ledger's server for as long as this process lives; the watchdog takes it for a sign of life."""

import logging
import threading

import redis

from executor.ledger.connection import connect
from executor.ledger.reading import PREFIX

_log = logging.getLogger("rex.presence")

_AGAIN_S = 0.2


class Presence:
    """Holds a connection with this worker's name.

    All the others give up when the server does not answer for a while, and close; but who cannot hear it may still be
    at work. This one waits without end and sends nothing meanwhile, so it ends with the process, or is reset. With a
    Redis broker Celery's own connection is like that; with RabbitMQ there is none but this.
    """

    def __init__(self, url: str, incarnation: str) -> None:
        """
        Args:
            url: address of the ledger's server.
            incarnation: whose presence it is.
        """
        self._client = connect(url, name=f"w:{incarnation}", patience_s=0.5, blocking=True)
        self._key = f"{PREFIX}here:{incarnation}"
        self._done = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="rex-presence", daemon=True).start()

    def stop(self) -> None:
        """Connect no more when it is lost; it stays until the process ends, which may still be at work."""
        self._done.set()

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._client.blpop([self._key], timeout=0)  # nobody ever puts anything there
            except (redis.RedisError, OSError) as error:
                _log.debug("not connected: %s", error)
                self._client.connection_pool.disconnect()
                self._done.wait(_AGAIN_S)
