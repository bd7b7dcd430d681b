"""Random strategies while processes are killed and frozen at random: everything ends, and the effect log agrees.

``REX_STORM_SEED`` repeats a run, ``REX_STORM_ROUNDS`` makes it longer.
"""

import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.commands import Rex
from support.storm import DEVICES, autopsy, judge, random_strategy, shown
from support.waiting import wait_until

from executor import ResolutionClient, Unreachable
from executor.ledger.valkey import ValkeyLedger
from workers.keeper import START_GRACE_S

pytestmark = [pytest.mark.cluster, pytest.mark.thorough, pytest.mark.timeout(0)]

EXECUTIONS = 12


@pytest.fixture
def rex(tmp_path: Path) -> Iterator[Rex]:
    made = Rex(tmp_path)
    yield made
    made.close()


def victims(parent: int) -> list[tuple[psutil.Process, str]]:
    """Celery workers, the coordinator, and the server, with their queues or names; never their parent."""
    found = []
    for child in psutil.Process(parent).children(recursive=True):
        with suppress(psutil.Error):
            if child.name() == "valkey-server":
                found.append((child, "server"))
            elif "workers" in (words := child.cmdline()):
                found.append((child, words[words.index("--queues") + 1]))
    return found


def hit(parent: int, chance: random.Random) -> str:
    process, name = chance.choice(victims(parent))
    number = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
    if name == "server":
        number = signal.SIGKILL  # a frozen server is only slow
    with suppress(psutil.Error):
        process.send_signal(number)
    return f"{number.name} {name}"


def frozen_s(hits: list[str]) -> float:
    """How much longer it may take: who is frozen before its first sign of life is ended only after its grace."""
    return START_GRACE_S if any("SIGSTOP" in one for one in hits) else 0.0


def ended(client: ResolutionClient, executions: list[str]) -> bool:
    try:
        return all(client.status(name)["finished_at"] for name in executions)
    except Unreachable:
        return False


@pytest.mark.parametrize("turn", range(int(os.environ.get("REX_STORM_ROUNDS", "2"))))
def test_everything_ends_and_nothing_is_doubled(rex: Rex, turn: int) -> None:
    seed = int(os.environ.get("REX_STORM_SEED", random.SystemRandom().randrange(2**32))) + turn
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    effects = rex.folder / "effects"
    effects.touch()
    arguments = [part for device in DEVICES for part in ("--device", device)]
    with rex.up(*arguments, "--concurrency", "4", EFFECTS=str(effects)) as told:
        client = ResolutionClient(told["broker_url"], patience_s=30)
        strategies = [random_strategy(chance, number) for number in range(EXECUTIONS)]
        executions = [client.submit(strategy) for strategy in strategies]
        hits: list[str] = []
        try:
            for _ in range(6):
                before = len(effects.read_text())
                moved = chance.randint(20, 120)
                wait_until(
                    lambda before=before, moved=moved: len(effects.read_text()) > before + moved
                    or ended(client, executions),
                    description="work goes on", timeout_s=60 + frozen_s(hits),
                )  # fmt: skip
                if ended(client, executions):
                    break
                hits.append(hit(told["pid"], chance))
            wait_until(lambda: ended(client, executions), description=f"all have ended; {hits}",
                       timeout_s=90 + frozen_s(hits))  # fmt: skip
        except AssertionError as error:
            found = autopsy(ValkeyLedger(told["broker_url"]), executions)
            raise AssertionError(f"seed {seed}: {error} {hits}\n{found}") from None
        reports = [client.status(name) for name in executions]
        after = client.submit({"name": "after", "actions": [{"id": "w", "uses": "wait", "with": {"for": "1ms"}}]})
        assert client.result(after, timeout_s=60)["status"] == "completed"
        client.close()
    lines = effects.read_text().split()
    for strategy, report in zip(strategies, reports, strict=True):
        wrong = judge(strategy, report, lines)
        assert not wrong, f"seed {seed}, {hits}: {wrong}\n{shown(strategy, report)}\n{lines}"
    assert hits, f"seed {seed}: no fault hit work in flight"
