"""All that is known of one drawn case that has ended; what the judge goes by."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from support.property_cases import Act, Case
from support.property_documents import World
from support.property_table import Line, Part, parsed, parts_of

Json = dict[str, Any]


@dataclass(frozen=True)
class Go:
    """A rollback that was asked for later."""

    retry: bool
    refused: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that is known of one case that has ended."""

    case: Case
    report: Json
    lines: Sequence[str]
    before: World
    after: World
    events: Sequence[Json]
    ended: bool = True
    ended_s: float = 0.0
    """After the last fault, or its beginning."""
    faulty: bool = False
    """Whether a process was killed or frozen meanwhile."""
    cancelled: bool = False
    goes: tuple[Go, ...] = ()

    @cached_property
    def log(self) -> list[Line]:
        return parsed(self.lines)

    @cached_property
    def parts(self) -> list[Part]:
        return parts_of(self.case, self.report, self.log, self.events)

    @cached_property
    def listed(self) -> set[str]:
        return {row["action"] for row in self.report["rollback"]["remaining"]}

    @cached_property
    def compensated(self) -> set[str]:
        return {row["action"] for row in self.report["rollback"]["compensated"]}

    @cached_property
    def restored(self) -> set[str]:
        """Devices whose directory was restored from its snapshot."""
        names = {row["action"] for row in self.report["rollback"].get("restored", ())}
        return {device for n, device in enumerate(self.case.snapshot, 1) if f"snapshot/{n}" in names}

    @cached_property
    def rollbacks(self) -> int:
        return sum(event["event"] == "rollback:started" for event in self.events)

    def told(self, act: Act) -> Json:
        return dict(self.report["actions"][act.name])

    def count(self, word: str, part: str) -> int:
        return sum(line.word == word and line.part == part for line in self.log)

    def wanted(self, act: Act) -> bool:
        """Whether it is among what a rollback that took place takes back."""
        return self.rollbacks > 0 and (self.case.mechanism != "partial" or act.name in self.case.named)

    @property
    def halted(self) -> bool:
        """A probe did not hold between two phases, and the rollback stopped there."""
        return any(name.startswith("verify/") for name in self.listed)
