"""What is thought of a device, from what its workers say and do. Pure: looks are handed in, judgements come out.

Four checks look at each worker: *heartbeat* (does it renew), *capability* (can it do what it announced), *performance*
(do its attempts succeed, does the ledger answer it in time) and *resource* (CPU, memory, disk). What a check finds
counts after so many looks in a row that found it, and is forgotten after as many that did not. A worker is as its worst
check says; a device is as healthy as the best of its workers, because each of them takes what waits for it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from executor.model.device import Announcement, Depleted, Health, HealthState, Vitals

EXHAUSTED = 99.0
"""A disk or a memory that is used beyond this percentage is no longer merely short."""
FEWEST_ATTEMPTS = 5
"""Of fewer attempts no rate is made."""
_TELLS_VITALS = 2
"""The protocol from which on workers say how they fare."""

HEALTHY = Health(state=HealthState.HEALTHY)
_WORST = (HealthState.HEALTHY, HealthState.DEGRADED, HealthState.UNHEALTHY, HealthState.UNKNOWN)


@dataclass(frozen=True)
class Rule:
    """When a check looks, and what it takes for too old."""

    interval_s: float
    timeout_s: float
    """Heartbeat: the longest silence. The others: the greatest age of what they look at."""
    retries: int
    """So many looks in a row change the state."""


@dataclass(frozen=True)
class Limits:
    """What is too much."""

    cpu: float
    memory: float
    disk: float
    """Percentages."""
    latency_s: float
    """Of a renewal."""
    failures: float
    """Percentage of the last attempts."""


@dataclass(frozen=True)
class Look:
    """What is known of one worker at one moment."""

    announced: Announcement
    silent_s: float
    vitals: Vitals | None
    age_s: float
    """Of the vitals; where there are none, of the worker."""

    @property
    def tells(self) -> bool:
        """Whether it says how it fares at all: the release before does not."""
        return self.announced.protocol >= _TELLS_VITALS


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a worker."""

    state: HealthState
    reason: str
    depleted: Depleted | None = None


Check = Callable[[Look, Rule, Limits], list[Finding]]


def heartbeat(look: Look, rule: Rule, _: Limits) -> list[Finding]:
    """Does it renew?"""
    if look.silent_s <= rule.timeout_s:
        return []
    return [Finding(HealthState.UNHEALTHY, f"heartbeat: silent for {look.silent_s:.1f} s")]


def capability(look: Look, rule: Rule, _: Limits) -> list[Finding]:
    """Can it do what it announced?"""
    if look.vitals is None:
        return _unheard("capability", look, rule)
    return [
        Finding(HealthState.DEGRADED, f"capability: it announces {uses}, and cannot load it: {why}")
        for uses, why in sorted(look.vitals.broken.items())
    ]


def performance(look: Look, rule: Rule, limits: Limits) -> list[Finding]:
    """Do its attempts succeed, and does the ledger answer it in time?"""
    if look.vitals is None or look.age_s > rule.timeout_s:
        return _unheard("performance", look, rule)
    vitals, found = look.vitals, list[Finding]()
    failed = 100 * vitals.recent_failed / max(1, vitals.recent)
    if vitals.recent >= FEWEST_ATTEMPTS and failed >= limits.failures:
        reason = f"performance: {failed:.0f} % of the last {vitals.recent} attempts failed"
        found.append(Finding(HealthState.DEGRADED, f"{reason} (threshold {limits.failures:g} %)"))
    if vitals.answer_ms > limits.latency_s * 1000:
        reason = f"performance: a renewal took {vitals.answer_ms / 1000:.1f} s"
        found.append(Finding(HealthState.DEGRADED, f"{reason} (threshold {limits.latency_s:g} s)"))
    return found


def resource(look: Look, rule: Rule, limits: Limits) -> list[Finding]:
    """Has its host CPU, memory and disk left?"""
    if look.vitals is None or look.age_s > rule.timeout_s:
        return _unheard("resource", look, rule)
    vitals, found = look.vitals, list[Finding]()
    for name, percent, threshold, may_end in (
        ("cpu", vitals.cpu_percent, limits.cpu, False),
        ("memory", vitals.memory_percent, limits.memory, True),
        ("disk", vitals.disk_percent, limits.disk, True),
    ):
        if percent > threshold:
            state = HealthState.UNHEALTHY if may_end and percent > EXHAUSTED else HealthState.DEGRADED
            used = "busy" if name == "cpu" else "full" if name == "disk" else "used"
            reason = f"resource: {name} {percent:.0f} % {used} (threshold {threshold:g} %)"
            found.append(Finding(state, reason, Depleted(resource=name, percent=percent, threshold=threshold)))
    return found


def _unheard(check: str, look: Look, rule: Rule) -> list[Finding]:
    if not look.tells or look.age_s <= rule.timeout_s:
        return []
    return [Finding(HealthState.DEGRADED, f"{check}: it has not said how it fares for {look.age_s:.0f} s")]


CHECKS: Mapping[str, Check] = {
    "heartbeat": heartbeat,
    "capability": capability,
    "performance": performance,
    "resource": resource,
}


@dataclass
class _Course:
    """What one check found in one worker, look after look."""

    counts: list[Finding] = field(default_factory=list)
    """What is held against it."""
    otherwise: int = 0
    """Looks in a row that said the opposite."""

    def take(self, found: list[Finding], retries: int) -> None:
        if bool(found) == bool(self.counts):
            self.counts, self.otherwise = found, 0
            return
        self.otherwise += 1
        if self.otherwise >= max(1, retries):
            self.counts, self.otherwise = found, 0


class WorkersHealth:
    """The course of all checks of one worker."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {name: _Course() for name in CHECKS}

    def look(self, look: Look, rules: Mapping[str, Rule], limits: Limits) -> None:
        """Let those checks look that have a rule here: the others are not due."""
        for name, rule in rules.items():
            self._courses[name].take(CHECKS[name](look, rule, limits), rule.retries)

    def untroubled(self, check: str) -> bool:
        """Whether that check holds nothing against it, and has not begun to."""
        course = self._courses[check]
        return not course.counts and course.otherwise == 0

    @property
    def sound(self) -> bool:
        """Whether nothing is held against it."""
        return not any(course.counts for course in self._courses.values())

    @property
    def findings(self) -> list[Finding]:
        """What is held against it, the worst first."""
        found = [finding for course in self._courses.values() for finding in course.counts]
        return sorted(found, key=lambda finding: -_WORST.index(finding.state))

    @property
    def state(self) -> HealthState:
        found = self.findings
        return found[0].state if found else HealthState.HEALTHY


def health_of(workers: Iterable[tuple[str, WorkersHealth]]) -> Health:
    """What is thought of a device.

    Args:
        workers: those that serve it, each with its host.
    """
    listed = sorted(workers, key=lambda one: (_WORST.index(one[1].state), one[0]))
    if not listed:
        return Health(state=HealthState.UNKNOWN, reasons=("no worker",))
    state = listed[0][1].state
    if state is HealthState.HEALTHY:
        return HEALTHY
    where = {id(health): f" (on {host})" if len(listed) > 1 and host else "" for host, health in listed}
    best = [health for _, health in listed if health.state == state]
    found = [(finding, where[id(health)]) for health in best for finding in health.findings]
    depleted = {finding.depleted.resource: finding.depleted for finding, _ in found if finding.depleted is not None}
    return Health(
        state=state,
        reasons=tuple(dict.fromkeys(finding.reason + place for finding, place in found)),
        depleted=tuple(depleted.values()),
    )
