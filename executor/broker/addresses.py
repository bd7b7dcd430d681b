"""Addresses as Celery and kombu want them: for the broker, for the results, each with its TLS and Sentinel options.

The three libraries write the same thing in three ways; this is the one place that knows them.
"""

import ssl
from typing import Any
from urllib.parse import quote

from config.celery import transport_options
from executor.address import Address, Tls, parse
from executor.ledger.connection import ledger_address
from executor.ledger.sentinels import TIMEOUT_S
from executor.model.errors import Unreachable

_CERT_REQS = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


def broker_address(url: str) -> Address:
    """Where the broker is.

    Raises:
        Unreachable: it cannot be there.
    """
    try:
        return parse(url)
    except ValueError as error:
        raise Unreachable(f"the address of the broker {error}: set REX_BROKER_URL") from None


def celery_addresses(broker_url: str, ledger_url: str, owner: str) -> dict[str, Any]:
    """Celery's settings for where messages go, and where chords are counted.

    Args:
        broker_url: where messages go.
        ledger_url: where the results of chords lie: on the ledger's server.
        owner: ``worker:incarnation``, as for `broker_options`.

    Raises:
        Unreachable: an address, or a file of its TLS options, cannot be read.
    """
    broker, ledger = broker_address(broker_url), ledger_address(ledger_url)
    settings: dict[str, Any] = {
        "broker_url": kombu_url(broker, broker_url),
        "broker_transport_options": broker_options(broker_url, owner),
        "result_backend": kombu_url(ledger, ledger_url),
        "result_backend_transport_options": {"client_name": "rex:results", **_sentinel_options(ledger)},
    }
    if (secured := broker_tls(broker)) is not None:
        settings["broker_use_ssl"] = secured
    if ledger.tls is not None:
        ledger.tls.check_files()
        settings["redis_backend_use_ssl"] = _redis_tls(ledger.tls)
    if broker.is_rabbitmq:
        # a queue that a foreign producer declares first has to be of the same type
        settings |= {"task_default_queue_type": "quorum", "task_create_missing_queue_type": "quorum"}
    return settings


def broker_tls(address: Address) -> dict[str, Any] | None:
    """What kombu is told of TLS; None without it.

    Raises:
        Unreachable: a file of its options cannot be read.
    """
    if address.tls is None:
        return None
    address.tls.check_files()
    return _amqp_tls(address, address.tls) if address.is_rabbitmq else _redis_tls(address.tls)


def broker_options(url: str, owner: str) -> dict[str, Any]:
    """Options of the transport for one process.

    Args:
        url: of the broker.
        owner: ``worker:incarnation``; on Redis its unacknowledged messages lie under its name.

    Raises:
        Unreachable: the address cannot be read.
    """
    address = broker_address(url)
    if address.is_rabbitmq:
        # without a confirmation a message that the server did not take would be lost with its outbox entry
        return {"confirm_publish": True}
    return {**transport_options(owner), **_sentinel_options(address)}


def kombu_url(address: Address, written: str) -> str:
    """The address with credentials and without options; of several hosts one URL for each, as kombu has it."""
    if address.socket is not None:
        return written
    user = quote(address.username or "", safe="")
    if address.password is not None:
        user += f":{quote(address.password, safe='')}"
    user += "@" if user else ""
    # kombu and Celery know TLS with Sentinel by the options alone
    scheme = "sentinel" if address.is_sentinel else address.scheme
    database = quote(address.database, safe="")
    return ";".join(f"{scheme}://{user}{_bracketed(host)}:{port}/{database}" for host, port in address.hosts)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _sentinel_options(address: Address) -> dict[str, Any]:
    if not address.is_sentinel:
        return {}
    own = {"username": address.sentinel_username, "password": address.sentinel_password}
    asking: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    asking |= {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    if address.tls is not None:
        asking |= {"ssl": True, **_redis_tls(address.tls)}
    return {"master_name": address.master, "sentinel_kwargs": asking}


def _redis_tls(tls: Tls) -> dict[str, Any]:
    named = {"ssl_ca_certs": tls.ca_certs, "ssl_certfile": tls.certfile, "ssl_keyfile": tls.keyfile}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    return {**given, "ssl_cert_reqs": _CERT_REQS[tls.cert_reqs], "ssl_check_hostname": tls.check_hostname}


def _amqp_tls(address: Address, tls: Tls) -> dict[str, Any]:
    named = {"ca_certs": tls.ca_certs, "certfile": tls.certfile, "keyfile": tls.keyfile}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if tls.check_hostname:
        # None: kombu puts in that of the several which is connected to
        given["server_hostname"] = address.hosts[0][0] if len(address.hosts) == 1 else None
    return {**given, "cert_reqs": _CERT_REQS[tls.cert_reqs]}
