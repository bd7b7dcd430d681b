"""What the ledger in memory holds."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from executor.ledger.wire import Lease
from executor.model.plan import Plan

Fields = dict[str, str]
"""Texts, as a hash of the server has them, so that both ledgers show the same."""


@dataclass
class Window:
    """Who is at it of a fan-out of which only so many may be at once."""

    places: set[str] = field(default_factory=set)
    """Who holds a place, or has one reserved."""
    queue: list[str] = field(default_factory=list)
    """Who waits for one, in order."""


@dataclass
class Generation:
    """One plan: the way forward, or the way back."""

    plan: Plan
    specs: Fields
    rules: dict[str, dict[str, Any]]
    """What is decided by; `executor.model.plan.rules` says what the letters mean."""
    actions: dict[str, Fields] = field(default_factory=lambda: defaultdict(dict))
    missed: Counter[str] = field(default_factory=Counter)
    """By fan-out: how many of its steps neither succeeded nor were skipped."""
    failed: Counter[str] = field(default_factory=Counter)
    """By fan-out: how many failures of it were borne."""
    windows: dict[str, Window] = field(default_factory=lambda: defaultdict(Window))
    """By fan-out that rolls."""


@dataclass
class Execution:
    """One execution; numbers and times stand in its fields as texts."""

    id: str
    document: str
    fields: Fields
    generations: list[Generation] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    live: set[tuple[int, str]] = field(default_factory=set)
    ghosts: set[tuple[int, str, str]] = field(default_factory=set)
    """Generation, action and former holder of what was taken over while nobody was sure that the holder is gone."""
    """Actions that somebody has claimed and not settled."""
    delayed: set[tuple[int, str]] = field(default_factory=set)
    slots: set[str] = field(default_factory=set)
    """Who holds one of `limits.parallel`, or has one reserved; holders, never a counter."""
    queue: list[str] = field(default_factory=list)
    """Who waits for a slot, in order."""
    drain_waits: set[str] = field(default_factory=set)
    """Whose messages were parked because its device is drained."""

    @property
    def state(self) -> str:
        return self.fields["state"]

    def number(self, name: str, default: int = 0) -> int:
        return int(self.fields.get(name, default))

    @property
    def current(self) -> int:
        return self.number("gen")

    def is_open(self, generation: int) -> bool:
        """Whether actions of that generation may begin."""
        wanted = "running" if generation == 0 else "rolling_back"
        return generation == self.current and self.state == wanted

    def clear_places(self, generation: int) -> None:
        """Nobody waits for a slot or a place any more, and nobody holds one."""
        self.slots.clear()
        self.queue.clear()
        if 0 <= generation < len(self.generations):
            self.generations[generation].windows.clear()

    def put(self, **fields: object) -> None:
        self.fields.update({name: str(value) for name, value in fields.items()})

    def turn(self) -> None:
        """What a coordinator plans holds for what it has read: whatever asks it to look again makes that void."""
        self.put(turn=self.number("turn") + 1)

    def turned(self, planned_for: str) -> bool:
        return planned_for not in ("", self.fields.get("turn", "0"))

    def drop(self, *names: str) -> None:
        for name in names:
            self.fields.pop(name, None)

    def known(self, generation: int, action: str) -> bool:
        return 0 <= generation < len(self.generations) and action in self.generations[generation].specs

    def action(self, generation: int, action: str) -> Fields:
        return self.generations[generation].actions[action]

    def rule(self, generation: int, action: str) -> dict[str, Any]:
        return self.generations[generation].rules[action]

    def device(self, generation: int, action: str) -> str:
        """Where an action was moved, else where its plan has it."""
        return str(self.action(generation, action).get("at") or self.rule(generation, action)["d"])


@dataclass
class Entry:
    """What must go out, from when on, and which writing under its id this is."""

    due: int
    number: int
    text: str


@dataclass
class DeviceState:
    """The document that one device is to have."""

    version: int = 0
    digest: str = ""
    text: str = ""
    acked: int = 0
    at: int = 0
    waits: set[str] = field(default_factory=set)
    """Synchronisations that wait for it."""


@dataclass
class Store:
    """Everything."""

    clock: Callable[[], int]
    executions: dict[str, Execution] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    """Executions that have not ended, with the time of their submission."""
    ended: dict[str, int] = field(default_factory=dict)
    deadlines: dict[str, int] = field(default_factory=dict)
    outbox: dict[str, Entry] = field(default_factory=dict)
    entries: int = 0
    nudged: bool = False
    """Something was put into the outbox that is due before whoever sends looks again by himself."""
    parked: dict[Lease, str] = field(default_factory=dict)
    """Messages that wait for a slot, or for another holder to end; one place per action collapses duplicates."""
    workers: dict[str, str] = field(default_factory=dict)
    """Announcements, as text: this and the next ones are what strangers may write to as well."""
    vitals: dict[str, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    drained: dict[str, str] = field(default_factory=dict)
    health: dict[str, str] = field(default_factory=dict)
    serving: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By device, the workers that announced it."""
    drainpark: dict[str, set[Lease]] = field(default_factory=lambda: defaultdict(set))
    """By drained device, whose messages are parked for it."""
    leaving: dict[str, str] = field(default_factory=dict)
    """Announcements of workers that are about to end."""
    protocol: int | None = None
    renewals: dict[str, int] = field(default_factory=dict)
    leases: dict[str, set[Lease]] = field(default_factory=lambda: defaultdict(set))
    fenced: dict[str, int] = field(default_factory=dict)
    to_sweep: set[str] = field(default_factory=set)
    replies: dict[str, str] = field(default_factory=dict)
    """Answers of coordinators that nobody has come for yet."""
    leader: tuple[str, int] = ("", 0)
    """Who leads the watchdogs, and until when."""
    term: int = 0
    """How often the lead has gone to somebody."""
    states: dict[str, DeviceState] = field(default_factory=lambda: defaultdict(DeviceState))
    syncing: dict[str, tuple[dict[str, Any], set[str]]] = field(default_factory=dict)
    """What is told when all devices of a synchronisation have its document, and those that have not."""
    news: int = 0
    """How many new documents devices ever got."""
    told: list[dict[str, Any]] = field(default_factory=list)
    """Events of the fleet."""
