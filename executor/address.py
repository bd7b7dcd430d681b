"""Addresses of servers, read in one place: Valkey and Redis, Sentinel, RabbitMQ, each with or without TLS.

``SCHEME://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/DATABASE][?OPTION=VALUE&...]``
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from executor.model.errors import Unreachable

REDIS = ("redis", "rediss", "redis+socket", "unix", "sentinel", "sentinels")
RABBITMQ = ("amqp", "amqps")
_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379, "sentinels": 26379, "amqp": 5672, "amqps": 5671}
_SECURE = ("rediss", "sentinels", "amqps")
_SOCKETS = ("redis+socket", "unix")
_SEVERAL = ("sentinel", "sentinels", "amqp", "amqps")
_CHECKS = ("required", "optional", "none")
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL_OPTIONS = ("master", "sentinel_username", "sentinel_password")
_SOCKET_OPTIONS = ("virtual_host", "db", "username", "password")
_UNREADABLE = "has no readable host and port (inside a password write / as %2F, # as %23, @ as %40)"


@dataclass(frozen=True)
class Tls:
    """How a server proves who it is, and we to it; paths are files of this machine."""

    ca_certs: str | None = None
    """None: the authorities that this machine trusts."""
    certfile: str | None = None
    keyfile: str | None = None
    cert_reqs: str = "required"
    """``required``, ``optional`` or ``none``."""
    check_hostname: bool = True

    def check_files(self) -> None:
        """Raises Unreachable for a file that cannot be read; OpenSSL would not say which."""
        for option in ("ca_certs", "certfile", "keyfile"):
            path = getattr(self, option)
            if path is None:
                continue
            try:
                Path(path).open("rb").close()
            except OSError as error:
                raise Unreachable(f"ssl_{option}={path} in the address of a server: {error.strerror}") from None


@dataclass(frozen=True)
class Address:
    """One server, or several that stand for one."""

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    socket: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str = ""
    """Number of the database; of RabbitMQ the virtual host."""
    tls: Tls | None = None
    master: str | None = None
    """Name by which sentinels know the servers."""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)

    @property
    def is_rabbitmq(self) -> bool:
        return self.scheme in RABBITMQ

    @property
    def is_sentinel(self) -> bool:
        return self.master is not None


def parse(url: str) -> Address:
    """Read an address.

    Raises:
        ValueError: it cannot be read; says what is wrong and never quotes it, for its password's sake.
    """
    scheme, found, rest = url.partition("://")
    if not found or scheme not in REDIS + RABBITMQ:
        raise ValueError(f"must begin with one of {', '.join(f'{known}://' for known in REDIS + RABBITMQ)}")
    try:
        parts = urlsplit(f"//{rest}")
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    if scheme not in _SOCKETS and "@" in rest[len(parts.netloc) :]:
        # what stands before it is the rest of a password, not a path or an option
        raise ValueError(_UNREADABLE)
    options = _options(scheme, parts.query)
    user, _, hosts = parts.netloc.rpartition("@")
    username, _, password = user.partition(":")
    path = unquote(parts.path)
    if scheme in _SOCKETS:
        return _socket(scheme, hosts + path, username, password, options)
    listed = tuple(_host(one, _PORTS[scheme]) for one in hosts.split(","))
    if len(listed) > 1 and scheme not in _SEVERAL:
        raise ValueError(f"names several hosts, and {scheme}:// takes one; Sentinel's address is sentinel://")
    database = path.removeprefix("/")
    if scheme not in RABBITMQ:
        database = _number(database or options.get("db", "0"))
    if scheme.startswith("sentinel") and not options.get("master"):
        raise ValueError("does not name the master: add ?master=NAME, as the sentinels' `sentinel monitor NAME` has it")
    return Address(
        scheme=scheme,
        hosts=listed,
        username=unquote(username) or None,
        password=unquote(password) or None,
        database=database,
        tls=_tls(options) if scheme in _SECURE else None,
        master=options.get("master"),
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def masked(url: str) -> str:
    """`url` without its passwords, for messages. Works on text: a wrong address is what ends up in messages."""
    hidden = re.sub(r"(://[^:@/?#]*:).*@", r"\1***@", url)
    return re.sub(r"([?&;][^=&;]*password[^=&;]*=)[^&;#]*", r"\1***", hidden, flags=re.IGNORECASE)


def _options(scheme: str, query: str) -> dict[str, str]:
    """What stands behind the question mark; an empty value counts as left out."""
    known: tuple[str, ...] = _SOCKET_OPTIONS if scheme in _SOCKETS else () if scheme in RABBITMQ else ("db",)
    if scheme in _SECURE:
        known += _TLS_OPTIONS
    if scheme.startswith("sentinel"):
        known += _SENTINEL_OPTIONS
    options = {name: value for name, value in parse_qsl(query, keep_blank_values=True) if value}
    if unknown := sorted(options.keys() - set(known)):
        if set(unknown) <= set(_TLS_OPTIONS):
            secure = {"redis": "rediss", "sentinel": "sentinels", "amqp": "amqps"}.get(scheme)
            remedy = f"; TLS begins with {secure}://" if secure else ""
            raise ValueError(f"has the option {unknown[0]}, and {scheme}:// is without TLS{remedy}")
        raise ValueError(f"has an option that {scheme}:// does not know; it knows {', '.join(known) or 'none'}")
    return options


def _socket(scheme: str, path: str, username: str, password: str, options: dict[str, str]) -> Address:
    if not path.strip("/"):
        raise ValueError("names no socket")
    return Address(
        scheme=scheme,
        socket=path,
        username=unquote(username) or options.get("username"),
        password=unquote(password) or options.get("password"),
        database=_number(options.get("virtual_host", options.get("db", "0"))),
    )


def _host(text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or port
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    if not host:
        raise ValueError("names no host")
    return host, port


def _number(text: str) -> str:
    number = text.strip("/")
    if not number.isdecimal():
        raise ValueError("has a database that is no number")
    return number


def _tls(options: dict[str, str]) -> Tls:
    asked = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if asked not in _CHECKS:
        raise ValueError("has an ssl_cert_reqs that is none of required, optional, none")
    hostname = options.get("ssl_check_hostname", "true").lower()
    if hostname not in ("true", "false"):
        raise ValueError("has an ssl_check_hostname that is neither true nor false")
    if ("ssl_keyfile" in options) and "ssl_certfile" not in options:
        raise ValueError("has an ssl_keyfile without its ssl_certfile")
    return Tls(
        ca_certs=options.get("ssl_ca_certs"),
        certfile=options.get("ssl_certfile"),
        keyfile=options.get("ssl_keyfile"),
        cert_reqs=asked,
        check_hostname=hostname == "true" and asked != "none",
    )
