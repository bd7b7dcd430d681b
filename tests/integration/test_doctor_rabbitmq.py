"""`rex doctor` on RabbitMQ: what it is, whether its queues are right, and what cannot be reached."""

from pathlib import Path

import pytest
from kombu import Connection
from support.commands import Rex
from support.rabbitmq import RabbitNode
from support.server import Server

pytestmark = [pytest.mark.rabbitmq, pytest.mark.long]


def found(told: dict[str, object], check: str) -> tuple[str, str]:
    """Status and text of one finding."""
    findings: list[dict[str, str]] = told["findings"]  # type: ignore[assignment]
    return next((one["status"], one["found"]) for one in findings if one["check"] == check)


def test_an_empty_broker_is_right(tmp_path: Path, rabbit_node: RabbitNode, valkey: Server) -> None:
    """Kind, version and heartbeat are told; looking makes no queue."""
    url = rabbit_node.virtual_host()
    told = Rex(tmp_path).json("doctor", REX_BROKER_URL=url, REX_LEDGER_URL=valkey.url)
    assert found(told, "broker kind")[0] == "ok"
    assert found(told, "broker kind")[1].startswith("RabbitMQ ")
    assert found(told, "queue type") == ("ok", "quorum")
    assert "30 min by default" in found(told, "consumer timeout")[1]
    assert rabbit_node.password not in str(told)
    assert rabbit_node.evaluate(f'rabbit_amqqueue:list_names(<<"{url.rpartition("/")[2]}">>).') == "[]"


def test_a_queue_of_another_type_is_named(tmp_path: Path, rabbit_node: RabbitNode, valkey: Server) -> None:
    """A foreign producer that did not know declares classic queues; ours would be refused then."""
    url = rabbit_node.virtual_host()
    with Connection(url) as connection, connection.channel() as channel:
        channel.queue_declare("control", durable=True, auto_delete=False)
    told = Rex(tmp_path).json("doctor", REX_BROKER_URL=url, REX_LEDGER_URL=valkey.url)
    assert found(told, "queue type") == ("error", "no quorum queues: control")


def test_a_wrong_password_is_said_and_not_shown(tmp_path: Path, rabbit_node: RabbitNode, valkey: Server) -> None:
    """The address is shown, its password is not."""
    url = rabbit_node.virtual_host().replace(rabbit_node.password, "hunter2")
    shell = Rex(tmp_path)
    told = shell("doctor", REX_BROKER_URL=url, REX_LEDGER_URL=valkey.url)
    assert told.returncode == 7
    assert "refused" in told.stdout.lower()
    assert "hunter2" not in told.stdout + told.stderr
