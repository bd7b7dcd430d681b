"""Connecting to Valkey or Redis: one way for everybody, so that traps are stepped around once."""

import contextlib
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from executor.address import Address, masked, parse
from executor.ledger.sentinels import primary_of, redis_tls
from executor.model.errors import AccessRefused, LedgerFull, Unreachable

if TYPE_CHECKING:
    import redis
    from redis.retry import Retry

__all__ = ["connect", "ledger_address", "masked", "reachable", "text"]

_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
_REFUSED = ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_UNKNOWN_CA")
_TIMEOUT_S = 5
_CAP_S = 0.25
_MINUTES_S = 60.0


def ledger_address(url: str) -> Address:
    """Where the ledger is.

    Raises:
        Unreachable: it cannot be there.
    """
    try:
        address = parse(url)
    except ValueError as error:
        raise Unreachable(f"the address of the ledger {error}: set REX_LEDGER_URL") from None
    if address.is_rabbitmq:
        raise Unreachable("the ledger needs a Valkey or Redis, and its address is that of RabbitMQ: set REX_LEDGER_URL")
    return address


def connect(url: str, *, name: str, patience_s: float, blocking: bool = False) -> "redis.Redis":
    """A client that tries again for about `patience_s` seconds when the server is away.

    Through sentinels every new connection goes to the server that is the primary by then.

    Args:
        url: address of the server.
        name: shown in ``CLIENT LIST``; the watchdog tells the living from the dead by it.
        patience_s: how long one call outlives a lost server. Who has minutes for that waits as well for one that has
            no memory left; others are told at once. Nothing was done of a script that it refuses for that.
        blocking: for reads that wait on the server; without a timeout of their own.

    Raises:
        Unreachable: the address, or a file that it names, cannot be read.
    """
    import redis
    from redis.maint_notifications import MaintNotificationsConfig

    address = ledger_address(url)
    options: dict[str, Any] = {
        "db": int(address.database),
        "username": address.username,
        "password": address.password,
        "decode_responses": True,
        # names of files may hold bytes that are no text; Python shows them as these
        "encoding_errors": "surrogatepass",
        "client_name": name,
        "socket_timeout": None if blocking else _TIMEOUT_S,
        "socket_connect_timeout": _TIMEOUT_S,
        "retry": _patient(patience_s),
        **redis_tls(address.tls),
    }
    if address.is_sentinel:
        return primary_of(address, options)
    options["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    if address.socket is not None:
        return redis.Redis(unix_socket_path=address.socket, **options)
    (host, port), *_ = address.hosts
    return redis.Redis(host=host, port=port, **options)


def _patient(patience_s: float) -> "Retry":
    """Tries again for about so long; not where a password or a certificate is refused, which will be refused again."""
    from redis.backoff import ExponentialBackoff
    from redis.exceptions import AuthenticationError, ConnectionError, OutOfMemoryError, TimeoutError  # noqa: A004
    from redis.retry import Retry

    class Patient(Retry):
        def call_with_retry(
            self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False
        ) -> Any:
            def worth_it(error: Exception) -> bool:
                for_good = isinstance(error, AuthenticationError) or _tls_trouble(error) is not None
                return not for_good and (is_retryable is None or is_retryable(error))

            return super().call_with_retry(do, fail, worth_it, with_failure_count)

    return Patient(
        ExponentialBackoff(cap=_CAP_S, base=0.01),
        retries=max(1, round(patience_s / _CAP_S)),
        supported_errors=(ConnectionError, TimeoutError, *([OutOfMemoryError] if patience_s >= _MINUTES_S else [])),
    )


def _tls_trouble(error: BaseException | None) -> str | None:
    """Why TLS with this server can never be; None where it may have been the network."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({error.verify_message}); name its authority with ssl_ca_certs"
        if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
            return "it does not speak TLS on this port; without TLS the address begins with redis:// or sentinel://"
        if isinstance(error, ssl.SSLError) and error.reason in _REFUSED:
            return "it asks for a certificate of ours that it accepts: give ssl_certfile and ssl_keyfile"
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def reachable(url: str) -> Iterator[None]:
    """Turn every error of redis-py into one of ours.

    Raises:
        Unreachable: the server does not answer, or refuses.
        AccessRefused: our password or rights are wrong, or there is no TLS with it.
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
        if (trouble := _tls_trouble(error)) is not None:
            raise AccessRefused(f"no connection to the server at {masked(url)}: {trouble}") from error
        # one without TLS waits for the end of a line that a handshake does not have
        secured = isinstance(error, redis.exceptions.TimeoutError) and parse(url).tls is not None
        asked = "Is it running, and does this port speak TLS?" if secured else "Is it running?"
        raise Unreachable(
            f"no answer from the server at {masked(url)}: {str(error).rstrip('.')}. {asked} `rex doctor` looks closer"
        ) from error


def text(value: Any) -> str:
    """A reply of the server as text; missing is empty."""
    return "" if value is None else str(value)
