"""What is thought of devices, look after look."""

import pytest

from executor.model.device import Announcement, HealthState, Vitals
from executor.policies.health import CHECKS, Limits, Look, Rule, WorkersHealth, health_of

LIMITS = Limits(cpu=80, memory=80, disk=90, latency_s=1.0, failures=50)
RULES = {name: Rule(interval_s=1.0, timeout_s=1.0, retries=1) for name in CHECKS}
WORKER = Announcement(devices=("edge-1",), protocol=2)
FORMER = Announcement(devices=("edge-1",))


def look(
    vitals: Vitals | None = None, *, silent_s: float = 0.0, age_s: float = 0.0, worker: Announcement = WORKER
) -> Look:
    return Look(worker, silent_s, vitals or Vitals(), age_s)


def judged(*looks: Look, rules: dict[str, Rule] | None = None) -> WorkersHealth:
    health = WorkersHealth()
    for one in looks:
        health.look(one, RULES if rules is None else rules, LIMITS)
    return health


@pytest.mark.parametrize(
    ("seen", "state", "reason"),
    [
        (look(silent_s=1.2), "unhealthy", "heartbeat: silent for 1.2 s"),
        (
            look(Vitals(broken={"python": "ImportError: no numpy"})),
            "degraded",
            "capability: it announces python, and cannot load it: ImportError: no numpy",
        ),
        (
            look(Vitals(recent=20, recent_failed=10)),
            "degraded",
            "performance: 50 % of the last 20 attempts failed (threshold 50 %)",
        ),
        (look(Vitals(answer_ms=1300)), "degraded", "performance: a renewal took 1.3 s (threshold 1 s)"),
        (look(Vitals(cpu_percent=100)), "degraded", "resource: cpu 100 % busy (threshold 80 %)"),
        (look(Vitals(memory_percent=81)), "degraded", "resource: memory 81 % used (threshold 80 %)"),
        (look(Vitals(disk_percent=97)), "degraded", "resource: disk 97 % full (threshold 90 %)"),
        (look(Vitals(disk_percent=99.5)), "unhealthy", "resource: disk 100 % full (threshold 90 %)"),
        (look(age_s=7), "degraded", "performance: it has not said how it fares for 7 s"),
    ],
)  # fmt: skip
def test_each_check_says_what_is_wrong(seen: Look, state: str, reason: str) -> None:
    """In plain words, with the number and the threshold."""
    found = health_of([("", judged(seen))])
    assert (found.state, found.reasons[0]) == (state, reason)


@pytest.mark.parametrize(
    "seen",
    [
        look(silent_s=0.9),
        look(Vitals(recent=4, recent_failed=4)),  # too few to make a rate of
        look(Vitals(cpu_percent=80, memory_percent=80, disk_percent=90)),
        look(age_s=1e6, worker=FORMER),  # the release before does not say how it fares
    ],
)
def test_what_is_not_too_much_is_healthy(seen: Look) -> None:
    """Nor is what a worker of the release before does not tell."""
    assert health_of([("", judged(seen))]).state == "healthy"


def test_so_many_looks_in_a_row_change_the_state_and_as_many_change_it_back() -> None:
    """One bad look, or one good one between them, changes nothing."""
    rules = {"resource": Rule(interval_s=1.0, timeout_s=1.0, retries=3)}
    bad, good = look(Vitals(disk_percent=95)), look(Vitals(disk_percent=50))
    course, health = [], WorkersHealth()
    for seen in (bad, bad, good, bad, bad, bad, good, good, bad, good, good, good):
        health.look(seen, rules, LIMITS)
        course.append(health.state == "healthy")
    assert course == [True] * 5 + [False] * 6 + [True]


def test_numbers_follow_while_the_state_stays() -> None:
    """A disk that fills up further is told with what it is now."""
    health = judged(look(Vitals(disk_percent=95)), look(Vitals(disk_percent=97)))
    assert [finding.reason for finding in health.findings] == ["resource: disk 97 % full (threshold 90 %)"]


def test_a_check_that_is_not_due_does_not_look() -> None:
    """What it found before stays."""
    health = judged(look(Vitals(disk_percent=95)))
    health.look(look(Vitals(disk_percent=10)), {"heartbeat": RULES["heartbeat"]}, LIMITS)
    assert health.state == HealthState.DEGRADED
    assert health.untroubled("heartbeat")
    assert not health.untroubled("resource")


def test_a_device_is_as_healthy_as_the_best_of_its_workers() -> None:
    """What waits for it is taken by any of them; where none is well the reasons say on which host."""
    well, short, silent = judged(look()), judged(look(Vitals(disk_percent=95))), judged(look(silent_s=9))
    assert health_of([("a", silent), ("b", well), ("c", short)]).state == "healthy"
    both = health_of([("a", silent), ("c", short)])
    assert (both.state, both.reasons) == ("degraded", ("resource: disk 95 % full (threshold 90 %) (on c)",))
    assert [(one.resource, one.percent, one.threshold) for one in both.depleted] == [("disk", 95.0, 90.0)]


def test_nobody_knows_of_a_device_without_a_worker() -> None:
    """Its state is unknown, and it says why."""
    assert (health_of([]).state, health_of([]).reasons) == ("unknown", ("no worker",))
