"""Addresses: which are read, and what is said of the others."""

import pytest

from executor.address import Address, Tls, masked, parse
from executor.broker.addresses import celery_addresses
from executor.ledger.connection import connect
from executor.model.errors import Unreachable


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", Address("redis", (("h", 6379),), database="0")),
        ("redis://u:p%40%2Fw@h:1/2", Address("redis", (("h", 1),), username="u", password="p@/w", database="2")),
        ("redis://[::1]:7/0", Address("redis", (("::1", 7),), database="0")),
        (
            "redis+socket://:pw@/run/v.sock?virtual_host=3",
            Address("redis+socket", socket="/run/v.sock", password="pw", database="3"),
        ),
        (
            "sentinel://:pw@h1,h2:2/1?master=rex&sentinel_password=s",
            Address(
                "sentinel",
                (("h1", 26379), ("h2", 2)),
                password="pw",
                database="1",
                master="rex",
                sentinel_password="s",
            ),
        ),
        (
            "amqp://u:p@a,b:1/v%2F1",
            Address("amqp", (("a", 5672), ("b", 1)), username="u", password="p", database="v/1"),
        ),
        (
            "rediss://h/0?ssl_ca_certs=/ca&ssl_certfile=&ssl_cert_reqs=CERT_OPTIONAL&ssl_check_hostname=false",
            Address(
                "rediss",
                (("h", 6379),),
                database="0",
                tls=Tls(ca_certs="/ca", cert_reqs="optional", check_hostname=False),
            ),
        ),
        ("amqps://h", Address("amqps", (("h", 5671),), tls=Tls())),
    ],
)
def test_every_form_is_read(url: str, address: Address) -> None:
    """Several hosts, credentials with any characters, sockets, TLS that checks unless told otherwise."""
    assert parse(url) == address


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h", "must begin with one of"),
        ("redis://:hunter2/x@h", "no readable host and port"),
        ("redis://h:port", "no readable host and port"),
        ("redis://", "names no host"),
        ("redis+socket://", "names no socket"),
        ("redis://h1,h2", "several hosts"),
        ("redis://h/hunter2", "a database that is no number"),
        ("redis://h?hunter2=3", "an option that redis:// does not know; it knows db"),
        ("redis+socket:///run/s?db=hunter2", "a database that is no number"),
        ("redis://u:12/hunter2@host:6379/0", "inside a password write / as %2F"),
        ("redis://u:1?hunter2=x@host", "inside a password write / as %2F"),
        ("amqp://u:1#hunter2@host", "inside a password write / as %2F"),
        ("redis://h?ssl_ca_certs=/ca", "TLS begins with rediss://"),
        ("amqp://h?ssl_ca_certs=/ca", "TLS begins with amqps://"),
        ("sentinel://h1,h2/0", "add ?master=NAME"),
        ("rediss://h?ssl_cert_reqs=maybe", "none of required, optional, none"),
        ("rediss://h?ssl_keyfile=/k", "without its ssl_certfile"),
    ],
)
def test_what_is_wrong_is_said_without_the_password(url: str, said: str) -> None:
    """Each mistake by its name; the address itself is never quoted."""
    with pytest.raises(ValueError, match=r".") as caught:
        parse(url)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_no_password_is_shown() -> None:
    """Neither in messages nor when the parts of an address are printed."""
    url = "sentinel://u:hunter2@h1,h2/0?master=rex&sentinel_password=hunter3"
    assert "hunter" not in masked(url)
    assert "hunter" not in repr(parse(url))


def test_celery_is_told_of_several_hosts_and_of_tls_in_its_own_way() -> None:
    """One URL for each host; options stand beside them; queues of RabbitMQ are quorum queues."""
    told = celery_addresses("amqp://u:p%2F@a,b/v%2F1", "sentinel://:pw@h1,h2/2?master=rex&sentinel_password=s", "w:1")
    assert told["broker_url"] == "amqp://u:p%2F@a:5672/v%2F1;amqp://u:p%2F@b:5672/v%2F1"
    assert told["broker_transport_options"] == {"confirm_publish": True}
    assert told["task_create_missing_queue_type"] == "quorum"
    assert told["result_backend"] == "sentinel://:pw@h1:26379/2;sentinel://:pw@h2:26379/2"
    assert told["result_backend_transport_options"]["master_name"] == "rex"
    assert told["result_backend_transport_options"]["sentinel_kwargs"]["password"] == "s"


def test_a_file_that_is_not_there_is_named() -> None:
    """OpenSSL would say that no such file exists, and not which."""
    url = "rediss://h/0?ssl_ca_certs=/no/such/ca.pem"
    with pytest.raises(Unreachable, match=r"ssl_ca_certs=/no/such/ca\.pem .*No such file"):
        connect(url, name="test", patience_s=1)
    with pytest.raises(Unreachable, match=r"ssl_ca_certs=/no/such/ca\.pem .*No such file"):
        celery_addresses(url, url, "w:1")


def test_rabbitmq_is_no_place_for_the_ledger() -> None:
    """Said by what to set."""
    with pytest.raises(Unreachable, match="set REX_LEDGER_URL"):
        connect("amqp://h", name="test", patience_s=1)
