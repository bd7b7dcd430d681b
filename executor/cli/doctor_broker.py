"""What `rex doctor` finds about the server that carries the messages, and about ways to a server: TLS, Sentinel."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from executor.cli.connecting import Cluster
from executor.cli.findings import NO_ANSWER, Finding
from executor.model.errors import Unreachable

if TYPE_CHECKING:
    from executor.address import Address

_LEAST_RABBITMQ = (3, 8)
"""The first with quorum queues."""
_LEAST_SENTINELS = 3


def look_at_broker(cluster: Cluster, queues: Iterable[str]) -> Iterator[Finding]:
    """The broker itself; `queues` are those that workers serve."""
    from executor.address import masked
    from executor.broker.addresses import broker_address

    shown = masked(cluster.broker_url)
    try:
        address = broker_address(cluster.broker_url)
        if address.is_rabbitmq:
            yield from _look_at_rabbitmq(cluster.broker_url, address, ["control", *queues])
        elif cluster.broker_url != cluster.ledger_url:  # the ledger's server has just answered
            from executor.broker.looking import queued

            queued(cluster.broker_url, [])
    except Unreachable as error:
        yield Finding("broker", NO_ANSWER, str(error), "start it, or correct REX_BROKER_URL")
        return
    yield Finding("broker", "ok", shown)
    if cluster.broker_url != cluster.ledger_url:
        yield from look_at_way("broker", cluster.broker_url)


def look_at_way(name: str, url: str) -> Iterator[Finding]:
    """How `url` leads to its server."""
    from executor.address import parse

    address = parse(url)
    if address.tls is not None:
        checked = address.tls.cert_reqs == "required"
        whose = (
            f" against {address.tls.ca_certs}" if address.tls.ca_certs else " against the authorities of this machine"
        )
        found = f"the certificate is checked{whose}" if checked else "the certificate is not checked"
        remedy = "" if checked else "anybody in between can read along: ssl_cert_reqs=required, and ssl_ca_certs"
        yield Finding(f"{name}: TLS", "ok" if checked else "warning", found, remedy)
    if address.is_sentinel:
        yield from _look_at_sentinels(name, url, address)


def _look_at_rabbitmq(url: str, address: "Address", queues: list[str]) -> Iterator[Finding]:
    from config.celery import HEARTBEAT_S
    from executor.broker.looking import rabbitmq

    with rabbitmq(url, address) as connection:
        told = connection.connection.server_properties
        version = str(told.get("version", "unknown"))
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
        enough = numbers >= _LEAST_RABBITMQ
        remedy = "" if enough else "quorum queues need RabbitMQ >= 3.8"
        yield Finding("broker kind", "ok" if enough else "error", f"{told.get('product', 'AMQP')} {version}", remedy)
        other = [queue for queue in dict.fromkeys(queues) if not _is_quorum(connection, queue)]
        found = f"no quorum queues: {', '.join(other)}" if other else "quorum"
        remedy = "delete them while nothing runs; rex declares them anew" if other else ""
        yield Finding("queue type", "error" if other else "ok", found, remedy)
        yield Finding("heartbeat", "ok", f"{HEARTBEAT_S} s: what a lost host held comes back after about twice that")
        found = "not told over AMQP, 30 min by default: a longer action is delivered again, and the ledger says it runs"
        yield Finding("consumer timeout", "ok", found)


def _is_quorum(connection: Any, queue: str) -> bool:
    """Also True where there is none yet."""
    from executor.broker.looking import ready_in

    if ready_in(connection, queue) is None:
        return True
    with connection.channel() as channel:
        try:
            # the same declaration again changes nothing; another one is refused
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        except connection.channel_errors as error:
            if getattr(error, "reply_code", None) == 406:
                return False
            raise
    return True


def _look_at_sentinels(name: str, url: str, address: "Address") -> Iterator[Finding]:
    from executor.ledger.sentinels import look

    seen = list(look(address))
    answering = [one for one in seen if not one.trouble]
    for one in seen:
        if one.trouble:
            yield Finding(f"{name}: sentinel", "warning", f"{one.sentinel}: {one.trouble}", "start it")
    primaries = sorted({one.primary for one in answering})
    agreed = len(primaries) == 1
    found = f"{len(answering)} of {len(seen)} answer; primary {' and '.join(primaries) or 'unknown'}"
    remedy = "" if agreed else "they do not agree: let them see one another"
    yield Finding(f"{name}: sentinels", "ok" if agreed else "error", found, remedy)
    if len(seen) < _LEAST_SENTINELS:
        yield Finding(
            f"{name}: sentinels", "warning", f"{len(seen)}", "three on different hosts outlive the loss of one"
        )
    replicas = max((one.replicas for one in answering), default=0)
    remedy = "" if replicas else "without one nothing takes over: start a replica"
    yield Finding(f"{name}: replicas", "ok" if replicas else "warning", str(replicas), remedy)
    yield from _look_at_replication(name, url)


def _look_at_replication(name: str, url: str) -> Iterator[Finding]:
    from executor.ledger.valkey import ValkeyLedger

    server = ValkeyLedger(url, name="rex:doctor", patience_s=1.0)
    try:
        least = server.server_setting("min-replicas-to-write")
    finally:
        server.close()
    if least == "0":
        remedy = "set `min-replicas-to-write 1`: a primary that is cut off would go on and lose what it accepts"
        yield Finding(f"{name}: min-replicas-to-write", "warning", least, remedy)
