"""An address that nothing can read ends what uses it in one line, at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from executor.broker.addresses import broker_options, celery_addresses
from executor.broker.looking import DeviceQueues
from executor.cli.connecting import Cluster
from executor.cli.doctor_broker import look_at_broker
from executor.model.errors import Unreachable
from workers.letters import letters_of

WRONG = "amqp://u:hunter2@h/v?x=1"
SAID = "the address of the broker has an option that amqp:// does not know; it knows none: set REX_BROKER_URL"


@pytest.mark.parametrize(
    "use",
    [
        lambda: DeviceQueues(WRONG).queued(["edge-1"]),
        lambda: broker_options(WRONG, "w:1"),
        lambda: celery_addresses(WRONG, "redis://l", "w:1"),
        lambda: letters_of(None, WRONG),  # type: ignore[arg-type]
    ],
    ids=["queues", "options", "celery", "letters"],
)
def test_whoever_reads_the_address_of_the_broker_says_what_to_set(use: object) -> None:
    with pytest.raises(Unreachable) as caught:
        use()  # type: ignore[operator]
    assert str(caught.value) == SAID


def test_the_doctor_finds_it() -> None:
    """Instead of ending in it."""
    (found,) = look_at_broker(Cluster(WRONG, "redis://l"), [])
    assert (found.check, found.found) == ("broker", SAID)


@pytest.mark.parametrize("role", [["worker", "--device", "edge-1"], ["coordinator"]], ids=["worker", "coordinator"])
@pytest.mark.parametrize(
    ("broker", "said"),
    [(WRONG, SAID), ("amqps://h/v?ssl_ca_certs=/no/ca.pem", "ssl_ca_certs=/no/ca.pem in the address of a server")],
    ids=["option", "file"],
)
def test_no_process_is_started_again_and_again(tmp_path: Path, role: list[str], broker: str, said: str) -> None:
    """The keeper says it once; a restart would not make the address another one."""
    environ = {"REX_BROKER_URL": broker, "REX_LEDGER_URL": "redis://l", "REX_STATE_DIR": str(tmp_path), "HOME": "/"}
    argv = [sys.executable, "-P", "-m", "workers.cluster", *role]
    ended = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=15, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"rex: {said}")
    assert ended.stderr.count("\n") == 1
