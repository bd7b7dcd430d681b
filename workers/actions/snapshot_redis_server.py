"""One Redis or Valkey server: its keys read, written and removed in bounded portions."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from executor.action import Run
from executor.model.errors import CONFIGURATION, NETWORK, PERMANENT, RESOURCE, TRANSIENT, ActionError, Classification

_PORTION_BYTES = 4 << 20
_PORTION_KEYS = 200
_SCAN = 1000
_PATIENCE_S = 30.0
"""How long one answer may take: a cancel is seen between two of them."""
_OLDEST = 7
_PASSING = ("BUSY ", "MISCONF", "TRYAGAIN", "NOREPLICAS")
"""Answers of a server that will recover."""
_KINDS: tuple[tuple[tuple[type[Exception], ...], str, Classification], ...] = (
    (
        (redis.AuthenticationError, redis.exceptions.AuthenticationWrongNumberOfArgsError),
        "it refuses us: give `password: secret://env/NAME`, and the user in the url",
        CONFIGURATION,
    ),
    ((redis.exceptions.NoPermissionError,), "the user may not do that", CONFIGURATION),
    ((redis.exceptions.ReadOnlyError,), "it is a replica: name the primary", CONFIGURATION),
    ((redis.exceptions.OutOfMemoryError,), "it has no more memory", RESOURCE),
    ((redis.exceptions.BusyLoadingError,), "it is loading its data", TRANSIENT),
    ((redis.ConnectionError, redis.TimeoutError), "it does not answer", NETWORK),
)


@dataclass(frozen=True)
class KeyValue:
    """One key as it was."""

    name: bytes
    dump: bytes
    """What DUMP said, with the version of the format and a checksum at its end."""
    expires_ms: int
    """Unix time in milliseconds; 0: never."""


class RedisServer:
    """A connection; every error names the server.

    Args:
        url: without a password.
        db: number of the database; None: what the url says.
    """

    def __init__(self, run: Run, url: str, *, db: int | None, password: str | None) -> None:
        self._run = run
        parts = urlsplit(url)
        more: dict[str, Any] = {} if db is None else {"db": db}
        with self._told_as(parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"):
            if parts.scheme != "unix":
                more["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
            patience = max(min(_PATIENCE_S, run.remaining_s()), 0.1)
            self._client = redis.Redis.from_url(
                url, password=password, socket_timeout=patience, socket_connect_timeout=min(patience, 10.0),
                retry=Retry(NoBackoff(), 0), decode_responses=False, **more,
            )  # fmt: skip
        number = self._client.connection_pool.connection_kwargs.get("db", 0)
        place = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"
        self.shown = f"{place}/{number}"

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def refuse_unfit(self) -> None:
        """Raise `ActionError` for a server that keys cannot be saved of, and restored to."""
        with self._told():
            info: dict[str, Any] = dict(self._client.info("server")) | dict(self._client.info("replication"))
        version = str(info.get("redis_version", "0"))
        if info.get("server_mode", info.get("redis_mode")) == "cluster":  # Valkey's word, and that of Redis
            reason = "is a node of a cluster and shows only its own keys: clusters are not supported"
        elif info.get("role") != "master":
            reason = "is a replica and cannot be restored to: name the primary"
        elif int(version.partition(".")[0]) < _OLDEST:
            reason = f"is of version {version}; needed is {_OLDEST}.0 or newer, or Valkey"
        else:
            return
        raise ActionError(f"the Redis server {self.shown} {reason}", CONFIGURATION)

    def refuse_unreadable(self, dump: bytes) -> None:
        """Raise `ActionError` when the server does not understand `dump`; changes nothing.

        A key that expired long ago is checked and not created.
        """
        try:
            with self._told():
                self._client.restore(f"rex:never:{secrets.token_hex(16)}", 1, dump, absttl=True)
        except ActionError as error:
            if "DUMP payload" not in str(error):
                raise
            raise ActionError(
                f"the Redis server {self.shown} cannot read what was saved, which is of a newer server; nothing was "
                "changed. Restore to a server of the version that it came from, or a newer one",
                PERMANENT,
            ) from error

    def read(self, patterns: Iterable[str]) -> Iterator[KeyValue]:
        """Every key that matches, once; one that vanishes meanwhile is left out."""
        seen: set[bytes] = set()
        for names in self._scan(patterns):
            new = [name for name in dict.fromkeys(names) if name not in seen]
            seen.update(new)
            for portion in self._portions(new):
                yield from self._dump(portion)

    def write(self, keys: Iterable[KeyValue]) -> Iterator[str]:
        """Make each key what it was; what could not be, with its reason."""
        portion: list[KeyValue] = []
        size = 0
        for key in keys:
            portion.append(key)
            size += len(key.dump)
            if size >= _PORTION_BYTES or len(portion) >= _PORTION_KEYS:
                yield from self._restore(portion)
                portion, size = [], 0
        yield from self._restore(portion)

    def remove_others(self, patterns: Iterable[str], wanted: set[bytes]) -> int:
        """Remove the keys that match and are not `wanted`; how many."""
        removed = 0
        for names in self._scan(patterns):
            others = [name for name in names if name not in wanted]
            if others:
                self._run.proceed()
                with self._told():
                    removed += int(self._client.unlink(*others))
        return removed

    def _scan(self, patterns: Iterable[str]) -> Iterator[list[bytes]]:
        for pattern in patterns:
            cursor = None
            while cursor != 0:
                self._run.proceed()
                with self._told():
                    cursor, names = self._client.scan(cursor or 0, match=pattern, count=_SCAN)
                yield [bytes(name) for name in names if not isinstance(name, str)]

    def _portions(self, names: list[bytes]) -> Iterator[list[bytes]]:
        """Small keys together, a big one by itself: an answer lies in memory whole."""
        with self._told():
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.memory_usage(name, samples=5)
            sizes = pipeline.execute() if names else []
        portion: list[bytes] = []
        total = 0
        for name, size in zip(names, sizes, strict=True):
            if portion and (total + (size or 0) > _PORTION_BYTES or len(portion) >= _PORTION_KEYS):
                yield portion
                portion, total = [], 0
            portion.append(name)
            total += size or 0
        if portion:
            yield portion

    def _dump(self, names: list[bytes]) -> Iterator[KeyValue]:
        self._run.proceed()
        with self._told():
            pipeline = self._client.pipeline(transaction=True)  # content and expiry of one moment
            for name in names:
                pipeline.dump(name)
                pipeline.pexpiretime(name)  # type: ignore[arg-type]  # typed for text only
            answers = pipeline.execute()
        for name, dump, expires_ms in zip(names, answers[::2], answers[1::2], strict=True):
            if dump is not None:
                yield KeyValue(name, dump, max(expires_ms, 0))

    def _restore(self, keys: list[KeyValue]) -> Iterator[str]:
        if not keys:
            return
        self._run.proceed()
        with self._told():
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                # one that has expired meanwhile is removed by this too
                pipeline.restore(key.name, key.expires_ms, key.dump, replace=True, absttl=bool(key.expires_ms))
            answers = pipeline.execute(raise_on_error=False)
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, redis.exceptions.OutOfMemoryError):
                with self._told():
                    raise answer  # no key that follows would fare better
            if isinstance(answer, Exception):
                yield f"{key.name[:100]!r}: {answer}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        with self._told_as(self.shown):
            yield

    @contextmanager
    def _told_as(self, shown: str) -> Iterator[None]:
        """The client's errors as ours."""
        try:
            yield
        except (redis.RedisError, OSError, ValueError) as error:
            for types, what, kind in _KINDS:
                if isinstance(error, types):
                    raise ActionError(f"the Redis server {shown}: {what} ({error})", kind) from error
            kind = TRANSIENT if str(error).startswith(_PASSING) else CONFIGURATION
            raise ActionError(f"the Redis server {shown} answered: {error}", kind) from error
