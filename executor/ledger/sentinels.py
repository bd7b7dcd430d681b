"""Sentinels: which server is the primary now, and what they know of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from executor.address import Address, Tls

if TYPE_CHECKING:
    import redis

TIMEOUT_S = 1.0
"""A sentinel that is gone with its host must not hold up the search for long: the next one is asked."""


@dataclass(frozen=True)
class Seen:
    """What one sentinel says."""

    sentinel: str
    trouble: str = ""
    """Why it says nothing; all else is empty then."""
    primary: str = ""
    replicas: int = 0
    quorum: int = 0
    state: str = ""
    """Flags of the primary: ``master`` alone when all is well."""


def primary_of(address: Address, options: dict[str, Any]) -> "redis.Redis":
    """A client whose every new connection goes to the server that is the primary by then."""
    client: redis.Redis = _sentinels(address).master_for(str(address.master), **options)
    return client


def look(address: Address) -> Iterator[Seen]:
    """Ask each sentinel."""
    import redis

    for (host, port), client in zip(address.hosts, _sentinels(address).sentinels, strict=True):
        name = f"{host}:{port}"
        try:
            told = client.sentinel_master(address.master)
        except (redis.exceptions.RedisError, OSError) as error:
            yield Seen(name, trouble=str(error) or type(error).__name__)
        else:
            yield Seen(
                name,
                primary=f"{told['ip']}:{told['port']}",
                replicas=int(told["num-slaves"]),
                quorum=int(told["quorum"]),
                state=str(told["flags"]) if isinstance(told["flags"], str) else ",".join(sorted(told["flags"])),
            )
        finally:
            client.close()


def redis_tls(tls: Tls | None) -> dict[str, Any]:
    """Options of redis-py.

    Raises:
        Unreachable: a file cannot be read.
    """
    if tls is None:
        return {}
    tls.check_files()
    return {
        "ssl": True,
        "ssl_ca_certs": tls.ca_certs,
        "ssl_certfile": tls.certfile,
        "ssl_keyfile": tls.keyfile,
        "ssl_cert_reqs": tls.cert_reqs,
        "ssl_check_hostname": tls.check_hostname,
    }


def _sentinels(address: Address) -> Any:
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from redis.sentinel import Sentinel

    asking = {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "decode_responses": True,
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        **redis_tls(address.tls),
    }
    return Sentinel(list(address.hosts), sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
