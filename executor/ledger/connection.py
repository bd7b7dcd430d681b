"""Connecting to Valkey or Redis: one way for everybody, so that traps are stepped around once."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from executor.model.errors import AccessRefused, LedgerFull, Unreachable

if TYPE_CHECKING:
    import redis
    from redis.retry import Retry

_MINUTES_S = 60.0
REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "unix")


def redis_url(url: str) -> str:
    """`url` as redis-py reads it; kombu writes sockets as ``redis+socket:///path?virtual_host=0``.

    Raises:
        Unreachable: another scheme.
    """
    parts = urlsplit(url)
    if parts.scheme not in REDIS_SCHEMES:
        raise Unreachable(
            f"the ledger needs a redis://, rediss:// or redis+socket:// address, not {parts.scheme or url!r}: "
            "set REX_LEDGER_URL"
        )
    if parts.scheme != "redis+socket":
        return url
    query = parse_qs(parts.query)
    database = query.get("virtual_host", query.get("db", ["0"]))[0]
    # urlunsplit writes unix:/path, which redis-py refuses
    return f"unix://{parts.netloc}{parts.path}?db={quote(database)}"


def masked(url: str) -> str:
    """`url` without its password, for messages."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{name}:***@{host}"))


def connect(url: str, *, name: str, patience_s: float, blocking: bool = False) -> "redis.Redis":
    """A client that tries again for about `patience_s` seconds when the server is away.

    Args:
        url: address of the server.
        name: shown in ``CLIENT LIST``; the watchdog tells the living from the dead by it.
        patience_s: how long one call outlives a lost server. Who has minutes for that waits as well for one that has
            no memory left; others are told at once. Nothing was done of a script that it refuses for that.
        blocking: for reads that wait on the server; without a timeout of their own.
    """
    import redis
    from redis.maint_notifications import MaintNotificationsConfig

    return redis.Redis.from_url(
        redis_url(url),
        decode_responses=True,
        encoding_errors="surrogatepass",  # names of files may hold bytes that are no text; Python shows them as these
        client_name=name,
        socket_timeout=None if blocking else 5,
        socket_connect_timeout=5,
        retry=_patient(patience_s),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


def _patient(patience_s: float) -> "Retry":
    """Tries again for about so long; not what a wrong password has refused, which will be refused again."""
    from redis.backoff import ExponentialBackoff
    from redis.exceptions import AuthenticationError, ConnectionError, OutOfMemoryError, TimeoutError  # noqa: A004
    from redis.retry import Retry

    class Patient(Retry):
        def call_with_retry(
            self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False
        ) -> Any:
            def worth_it(error: Exception) -> bool:
                return not isinstance(error, AuthenticationError) and (is_retryable is None or is_retryable(error))

            return super().call_with_retry(do, fail, worth_it, with_failure_count)

    cap_s = 0.25
    return Patient(
        ExponentialBackoff(cap=cap_s, base=0.01),
        retries=max(1, round(patience_s / cap_s)),
        supported_errors=(ConnectionError, TimeoutError, *([OutOfMemoryError] if patience_s >= _MINUTES_S else [])),
    )


@contextlib.contextmanager
def reachable(url: str) -> Iterator[None]:
    """Turn every error of redis-py into one of ours.

    Raises:
        Unreachable: the server does not answer, or refuses.
        AccessRefused: our password or rights are wrong.
        LedgerFull: it has no memory for more.
    """
    import redis

    try:
        yield
    except redis.exceptions.OutOfMemoryError as error:
        raise LedgerFull(f"the server at {masked(url)} has no memory left: {error}") from error
    except redis.exceptions.AuthenticationError as error:
        raise AccessRefused(
            f"the server at {masked(url)} refuses our password: {str(error).rstrip('.')}. Correct the one in "
            "REX_BROKER_URL / REX_LEDGER_URL"
        ) from error
    except redis.exceptions.NoPermissionError as error:
        raise AccessRefused(f"the server at {masked(url)} does not give us the rights that we need: {error}") from error
    except redis.exceptions.ResponseError as error:
        if "maxmemory" in str(error):
            raise LedgerFull(f"the server at {masked(url)} has no memory left: {error}") from error
        raise Unreachable(f"the server at {masked(url)} refuses: {error}") from error
    except (redis.exceptions.RedisError, OSError) as error:
        raise Unreachable(
            f"no answer from the server at {masked(url)}: {str(error).rstrip('.')}. "
            "Is it running? `rex doctor` looks closer"
        ) from error


def text(value: Any) -> str:
    """A reply of the server as text; missing is empty."""
    return "" if value is None else str(value)
