"""The runbooks under examples/runbooks, failing at every step: the world is as it was, or what is left is listed.

Judged by the fake cloud's own world and effect log, never by what the executor says of itself.
"""

import os
import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from support.cloud import Cloud, Fault, World, differing, resting, start
from support.cluster import Cluster
from support.waiting import wait_until

from executor.catalogue import InstalledCatalogue
from executor.documents import load_file
from executor.validation import check

pytestmark = pytest.mark.cluster

FOLDER = Path(__file__).parents[2] / "examples" / "runbooks"
FILES = sorted(FOLDER.glob("*.yaml"))
WANTED: dict[str, dict[str, dict[str, Any]]] = {
    "encrypt-volume": {
        "instances/i-1": {"state": "running"},
        "volumes/vol-1": {"state": "available", "instance": None, "key": "old-key"},
        "volumes/volu-0003": {"state": "in-use", "instance": "i-1", "device": "/dev/sda1", "key": "new-key"},
        "snapshots/snap-0001": {"state": "completed", "key": "old-key"},
        "snapshots/snap-0002": {"state": "completed", "key": "new-key"},
    },
    "promote-replica": {
        "nodes/db-2": {"role": "primary", "upstream": None, "read_only": False},
        **{f"nodes/db-{n}": {"role": "replica", "upstream": "db-2", "read_only": True} for n in (1, 3, 4)},
        "dns/writer": {"target": "db-2"},
    },
    "rolling-update": {
        **{f"servers/web-{n}": {"state": "ready", "version": "2.0"} for n in (1, 2, 3)},
        **{f"targets/web-{n}": {"state": "in-service"} for n in (1, 2, 3)},
    },
}
"""What a runbook makes of the world; nothing else is changed."""

START = resting(start())
NOT_FOUND_AGAIN = {"copy"}
"""Steps whose effect can only be found by what they answer."""

each_runbook = pytest.mark.parametrize("name", [file.stem for file in FILES])


def groups_of(document: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """The actions of a strategy; those of one list run side by side."""
    return [phase["actions"] for phase in document.get("phases", ())] or [[one] for one in document["actions"]]


def mutating(name: str) -> dict[str, int]:
    """The steps that change something, and their places: of one place are those that run side by side."""
    groups = groups_of(load_file(FOLDER / f"{name}.yaml").data)
    return {one["id"]: place for place, group in enumerate(groups) for one in group if "headers" in one["with"]}


def posts(name: str) -> list[str]:
    """Steps that may not simply be sent again when their answer was lost."""
    actions = [one for group in groups_of(load_file(FOLDER / f"{name}.yaml").data) for one in group]
    return [one["id"] for one in actions if one["with"].get("method") == "POST"]


@dataclass(repr=False)
class Case:
    """One execution of a runbook in a world of its own."""

    name: str
    failing: str
    world: World
    execution: str
    report: Mapping[str, Any]

    def __str__(self) -> str:
        log = "\n".join(f"  {effect}" for effect in self.world.effects)
        return f"{self.name}, failing at {self.failing!r}: {self.report['status']}, {self.report['rollback']}\n{log}"

    @property
    def remaining(self) -> set[str]:
        return {entry["action"] for entry in self.report["rollback"]["remaining"]}

    @property
    def listed(self) -> set[str]:
        """The same without the waits and probes that did not hold."""
        return self.remaining & set(mutating(self.name))

    @property
    def done(self) -> list[str]:
        """Steps that changed the world, in order; what was taken back begins with undo-."""
        return [effect.step for effect in self.world.effects if effect.touched]

    @property
    def forward(self) -> list[str]:
        return [step for step in self.done if not step.startswith("undo-")]

    @property
    def back(self) -> list[str]:
        return [step.removeprefix("undo-") for step in self.done if step.startswith("undo-")]

    @property
    def left(self) -> set[str]:
        """What was done and not taken back, as the cloud knows it; to find it as it was is to have it taken back."""
        agreed = {effect.step for effect in self.world.effects if effect.status < 300}
        return {step for step in self.forward if f"undo-{step}" not in agreed}

    def is_as_wanted(self) -> bool:
        """It completed, and what it changed is what was wanted, by one effect of each step in their order."""
        world, wanted, places = self.world.data, WANTED[self.name], mutating(self.name)
        now = {f"{kind}/{name}": item for kind, items in world.items() for name, item in items.items()}
        return (
            self.report["status"] == "completed"
            and sorted(self.done) == sorted(places)
            and sorted(self.done, key=places.__getitem__) == self.done
            and set(differing(START, now)) <= set(wanted)
            and all(wanted[name].items() <= now[name].items() for name in wanted)
        )

    def is_as_before(self) -> bool:
        return self.world.data == start()

    def only_what_is_left_differs(self) -> bool:
        touched = {one for effect in self.world.effects if effect.step in self.left for one in effect.touched}
        return set(differing(START, resting(self.world.data))) <= touched

    def is_newest_first(self) -> bool:
        places = mutating(self.name)
        taken_back = [places[step] for step in self.back]
        return taken_back == sorted(taken_back, reverse=True)


class Cases:
    """Begins executions, many at once, and waits for their ends."""

    def __init__(self, cluster: Cluster, cloud: Cloud) -> None:
        self.cluster = cluster
        self._cloud = cloud
        self._begun: list[Case] = []

    def begin(
        self, name: str, failing: str, *faults: Fault, device: str = "edge-1",
        within: str = "10s", after: bool = True, **inputs: str,
    ) -> None:  # fmt: skip
        """`within`: how long checks wait. Not `after`: ways back only for what completed."""
        document = load_file(FOLDER / f"{name}.yaml").data
        document["defaults"] |= {"device": device, "retry": {"max_attempts": 8, "delay": "50ms", "max_delay": "200ms"}}
        actions = [one for group in groups_of(document) for one in group]
        for called in [*document["rollback"]["verify"], *(one.get("compensate", {}) for one in actions)]:
            if called.get("uses") == "http.check":
                called["with"]["within"] = within
            if not after:
                called.pop("after", None)
        world = self._cloud.world()
        world.faults += faults
        execution = self.cluster.client.submit(document, inputs={"api": world.url, **inputs})
        self._begun.append(Case(name, failing, world, execution, {}))

    def ended(self) -> Iterator[Case]:
        for case in self._begun:
            case.report = self.cluster.result(case.execution)
            yield case


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """One port for all worlds."""
    made = Cloud()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster; the worker of edge-9 is there to be killed."""
    made = Cluster(tmp_path_factory.mktemp("r"))
    made.coordinator()
    made.worker("edge-1", concurrency=8)
    made.worker("edge-9", concurrency=16)
    try:
        yield made.ready()
    finally:
        made.close()


@pytest.fixture
def cases(shared: Cluster, cloud: Cloud) -> Cases:
    return Cases(shared, cloud)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_valid(file: Path) -> None:
    """No problem, no warning, named like its file, and told of in the README."""
    found = check(load_file(file), InstalledCatalogue())
    assert (found.problems, found.warnings) == ((), ())
    assert found.strategy is not None
    assert found.strategy.name == file.stem
    assert f"({file.name})" in (FOLDER / "README.md").read_text()


@each_runbook
def test_it_completes(cases: Cases, name: str) -> None:
    """The world is as wanted, and each step has changed it once."""
    cases.begin(name, "")
    for case in cases.ended():
        assert case.is_as_wanted(), str(case)


@each_runbook
@pytest.mark.thorough
def test_asked_again_at_every_step(cases: Cases, name: str) -> None:
    """A change is done and answered 503: it is asked for again, and not done again."""
    for step in mutating(name):
        cases.begin(name, step, Fault("spoil", step=step, status=503, times=1))
    for case in cases.ended():
        assert case.is_as_wanted(), str(case)
        again = [one for one, action in case.report["actions"].items() if action["attempts"] > 1]
        assert again == [case.failing], str(case)


@each_runbook
def test_refused_at_every_step(cases: Cases, name: str) -> None:
    """A change is refused for good: everything before it is taken back, newest first, and nothing is left."""
    for step in mutating(name):
        cases.begin(name, step, Fault("refuse", step=step))
    for case in cases.ended():
        assert (case.report["status"], case.report["rollback"]["status"]) == ("failed", "completed"), str(case)
        assert case.report["error"]["action"] == case.failing
        assert case.remaining == set(), str(case)
        assert case.is_as_before(), str(case)
        assert case.is_newest_first(), str(case)


@each_runbook
def test_answer_lost_at_every_step(cases: Cases, name: str) -> None:
    """A change is done and nobody hears of it: it is taken back all the same, or it alone is listed."""
    for step in mutating(name):
        cases.begin(name, step, Fault("lose", step=step))
    for case in cases.ended():
        assert (case.report["status"], case.report["error"]["action"]) == ("failed", case.failing), str(case)
        assert case.failing in case.forward, str(case)
        assert case.remaining == case.left == {case.failing} & NOT_FOUND_AGAIN, str(case)
        assert case.is_as_before() is (not case.left), str(case)
        assert case.only_what_is_left_differs(), str(case)
        assert case.is_newest_first(), str(case)


@each_runbook
@pytest.mark.thorough
def test_nobody_knows_at_every_step(cases: Cases, name: str) -> None:
    """Ways back for what completed only: what was done unheard is listed, and all that cannot be undone without it."""
    for step in posts(name):
        cases.begin(name, step, Fault("lose", step=step), after=False, within="1s")
    for case in cases.ended():
        assert case.report["status"] == "failed", str(case)
        assert case.failing in case.left, str(case)
        assert case.listed == case.left, str(case)
        assert case.only_what_is_left_differs(), str(case)


@pytest.mark.parametrize("release", ["2.1", "9.9"])
def test_a_release_that_does_not_work(cases: Cases, release: str) -> None:
    """The first server is not healthy with it, or there is none: it serves with its old one again."""
    cases.begin("rolling-update", "", release=release)
    for case in cases.ended():
        assert case.report["rollback"]["status"] == "completed", str(case)
        assert case.is_as_before(), str(case)
        assert case.report["error"]["action"] == ("healthy-1" if release == "2.1" else "update-1")


def test_killed_on_the_way_there_and_back(cases: Cases) -> None:
    """The worker dies in changes and in ways back of all runbooks, done or not: nothing is left that is not listed."""
    seed = int(os.environ.get("REX_RUNBOOK_SEED", random.SystemRandom().randrange(2**32)))
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    held = []
    for name, how, where in product(sorted(WANTED), ("hold", "hold-done"), ("", "undo-")):
        *steps, last = mutating(name)
        step = chance.choice(steps)
        held.append(Fault(how, step=where + step, times=1))
        cases.begin(name, step, held[-1], Fault("refuse", step=last), device="edge-9", within="1s")
    for fault in held:
        wait_until(fault.reached.is_set, description=f"seed {seed}: {fault.step} is asked for")
    cases.cluster.kill("edge-9")
    for fault in held:
        fault.release(dropped=True)
    cases.cluster.again("edge-9")
    for case in cases.ended():
        told = f"seed {seed}: {case}"
        assert case.report["status"] == "failed", told
        assert case.left <= case.listed <= case.left | {case.failing}, told
        assert case.only_what_is_left_differs(), told
        assert case.is_newest_first(), told
