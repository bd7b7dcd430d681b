"""A cluster goes from one release to the other, process after process, under load: nothing is lost or done twice.

The release before is the real one, from the history of this repository. ``REX_ROLL_SEED`` repeats a run.
"""

import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.cluster import CELERY_WORKER, Cluster, action, strategy
from support.previous import previous_release
from support.trial import cases
from support.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

EXECUTIONS = 32
PROCESSES = ("control", "one", "two", "other")
OLD, NEW = "the release before", "this release"


@pytest.fixture(scope="module")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return previous_release(tmp_path_factory.mktemp("previous"))


class Rolling:
    """A coordinator, two workers of one device, and one of another; each of either release."""

    def __init__(self, folder: Path, old_tree: Path) -> None:
        self.cluster = Cluster(folder, program=CELERY_WORKER)
        self._old = {"PYTHONPATH": str(old_tree)}
        self.releases: dict[str, str] = {}

    def start(self, name: str, release: str) -> None:
        self.releases[name] = release
        more = self._old if release == OLD else {}
        if name == "control":
            self.cluster.coordinator(**more)
        else:
            self.cluster.worker("edge-2" if name == "other" else "edge-1", name=name, concurrency=2, **more)

    def restart(self, name: str, release: str) -> None:
        """In order, as an operator does it."""
        self.cluster.kill(name, signal.SIGTERM)
        self.cluster.gone(name)
        self.start(name, release)
        self.ready()

    def ready(self) -> None:
        wait_until(
            lambda: all(self._listens(name) for name in self.cluster.processes), description="all are ready",
            timeout_s=40,
        )  # fmt: skip

    def _listens(self, name: str) -> bool:
        text = (self.cluster.folder / f"{name}.log").read_text(errors="replace")
        return text.count(" ready.") >= text.count("transport:")


@pytest.fixture
def rolling(tmp_path: Path, old_tree: Path) -> Iterator[Rolling]:
    made = Rolling(tmp_path, old_tree)
    yield made
    made.cluster.close()


def drawn(chance: random.Random, cluster: Cluster, number: int, *, placed: bool = False) -> dict[str, Any]:
    """A sequence or a group on both devices; a third of them fail at their end. `placed`: devices are chosen."""
    name = f"e{number}"
    steps = [
        action(
            f"{name}-{step}", cluster.effects, then=f"sleep 0.{chance.randint(0, 3)}",
            device=chance.choice(["edge-1", "edge-1", "edge-2"]),
        )
        for step in range(chance.randint(3, 8))
    ]  # fmt: skip
    model = chance.choice(["sequential", "sequential", "parallel"])
    if number % 3 == 0:
        steps.append({
            "id": f"{name}-fails", "uses": "command", "with": {"run": "exit 1"}, "retry": "none", "compensate": "none",
            **({"needs": [step["id"] for step in steps]} if model == "parallel" else {}),
        })  # fmt: skip
    if placed:
        bare = [{key: value for key, value in step.items() if key != "device"} for step in steps]
        return {"name": name, "actions": bare, "model": model}
    return strategy(name, steps, model=model)


def judge(cluster: Cluster, executions: list[str]) -> None:
    reports = [cluster.result(name, timeout_s=120) for name in executions]
    wanted: Counter[str] = Counter()
    for report in reports:
        fails = int(report["strategy"][1:]) % 3 == 0
        assert report["status"] == ("failed" if fails else "completed"), report
        assert report["rollback"]["remaining"] == [], report
        done = [name for name in report["actions"] if not name.endswith("-fails")]
        wanted.update(f"do:{name}" for name in done)
        wanted.update(f"undo:{name}" for name in done if fails)
    found = Counter(cluster.effects.lines())
    assert (wanted - found, found - wanted) == (Counter(), Counter()), "lost, doubled"


ORDERS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "coordinator first": (OLD, NEW, PROCESSES),
    "workers first": (OLD, NEW, ("one", "two", "other", "control")),
    "back again": (NEW, OLD, ("two", "control", "one", "other")),
}


@pytest.mark.parametrize("order", cases(ORDERS, "coordinator first"))
def test_each_process_is_restarted_under_load(rolling: Rolling, order: str) -> None:
    """Old workers under a new coordinator, new ones under an old one, both on one device, forward and back."""
    seed = int(os.environ.get("REX_ROLL_SEED", random.SystemRandom().randrange(2**32)))
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    before, after, names = ORDERS[order]
    for name in PROCESSES:
        rolling.start(name, before)
    rolling.ready()
    cluster = rolling.cluster
    strategies = [drawn(chance, cluster, number) for number in range(EXECUTIONS)]
    executions = [cluster.client.submit(one) for one in strategies]
    work = sum(len(one["actions"]) for one in strategies)
    wait_until(lambda: len(cluster.effects.lines()) >= 12, description="all works", timeout_s=30)
    for number, name in enumerate(names):
        moved = len(cluster.effects.lines())
        rolling.restart(name, after)
        # what only this release knows is not given to a cluster that goes back to the one before
        late = drawn(chance, cluster, EXECUTIONS + number, placed=after == NEW)
        executions.append(cluster.client.submit(late))
        # the next one follows while both releases work side by side
        wait_until(
            lambda moved=moved: len(cluster.effects.lines()) >= moved + 6, description="it goes on", timeout_s=60
        )
        if number < 2:
            assert len(cluster.effects.lines()) < work, f"seed {seed}: it was over before anything was restarted"
    try:
        judge(cluster, executions)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}\n{cluster.logs()}") from None
