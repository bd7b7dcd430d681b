"""What the core needs of the world. Each port has a real adapter and an in-memory twin that ships."""

from collections.abc import Iterable
from typing import Any, Protocol

from pydantic import BaseModel

from executor.action import ActionType, Json, Run
from executor.model.device import Announcement, Drained, Health
from executor.model.execution import Claimed, Outgoing
from executor.model.plan import Plan, Step
from executor.model.rollback import Chosen, RollbackRequest
from executor.model.state import Known, Synchronization


class ActionCatalogue(Protocol):
    """The action types that are installed here."""

    def names(self) -> Iterable[str]:
        """Every `uses` that can be written, sorted."""

    def get(self, uses: str) -> ActionType:
        """The type of that name.

        Raises:
            KeyError: no such type is installed.
        """


class Outlet(Protocol):
    """Puts entries of the outbox on the broker."""

    def send(self, outgoing: list[Outgoing]) -> None:
        """Publish each entry, and strike out those that need no answer of their own.

        What cannot be sent stays in the outbox, where a coordinator finds it.
        """


class Queues(Protocol):
    """The queues of a broker."""

    def queued(self, devices: Iterable[str]) -> dict[str, int]:
        """How many messages wait for each of these devices; one that cannot be told is left out.

        Raises:
            Unreachable: the broker does not answer.
        """


class Holding(Protocol):
    """A claim while its action runs."""

    @property
    def ends_at(self) -> float:
        """`time.monotonic` seconds at which the lease ends, the time of a fallback included."""

    def cancelled(self) -> bool:
        """Whether the attempt must stop."""

    def guard(self) -> None:
        """Raises ActionCancelled when no effect may follow any more."""


class Performer(Protocol):
    """Runs the code of action types: in this process, or in one of its own."""

    def prepare(
        self, claimed: Claimed, parameters: BaseModel, hold: Holding, snapshot: Json | None, deadline: float
    ) -> Run:
        """The attempt as the action's code will see it; it ends at `deadline`, in `time.monotonic` seconds."""

    def perform(self, kind: ActionType, method: str, run: Run, *arguments: Any) -> Any:
        """Call one method of an action type.

        Raises:
            ActionError: it failed; masked, and classified.
        """


class UndoRecords(Protocol):
    """Where undo records go before the effect."""

    def record_undo(self, claimed: Claimed, record: Json, *, of_fallback: bool = False) -> bool:
        """Only the first record of an action counts. False: the token is stale, and nothing may be done."""


class Ledger(Protocol):
    """What the stages need of the state of executions; `executor.ledger` has it whole."""

    def submit(self, execution: str, document: Json, *, delay_s: float = 0.0) -> bool: ...
    def hold(self, execution: str, reason: str, *, delay_s: float) -> float: ...
    def create(
        self,
        execution: str,
        plan: Plan,
        steps: dict[str, Step],
        *,
        inputs: Json,
        context: Json,
        parallel: int,
        timeout_s: float,
        rollback: str,
        max_failures: int | None,
    ) -> bool: ...
    def advance(
        self,
        execution: str,
        generation: int,
        stage: int,
        *,
        error: Json | None = None,
        criteria: list[Json] | None = None,
    ) -> bool: ...
    def begin_rollback(
        self,
        execution: str,
        generation: int,
        plan: Plan,
        steps: dict[str, Step],
        *,
        remaining: list[Json],
        timeout_s: float,
        chosen: Chosen,
        turn: str = "",
    ) -> bool: ...
    def reopen(self, execution: str, request: RollbackRequest) -> tuple[str, str]: ...
    def offer(self, execution: str, offer: Json, *, wait_s: float, turn: str = "") -> bool: ...
    def resume(
        self, execution: str, chosen: Chosen, actions: Iterable[str], *, timeout_s: float, turn: str = ""
    ) -> bool: ...
    def reply(self, key: str, answer: Json) -> None: ...
    def stumble(self, execution: str, state: str, error: Json, *, remaining: list[Json], most: int) -> bool: ...
    def conclude(self, execution: str, status: str, *, error: Json | None = None, rollback: str = "") -> bool: ...
    def head(self, execution: str) -> dict[str, str]: ...
    def document(self, execution: str) -> Json | None: ...
    def plan(self, execution: str, generation: int) -> Plan | None: ...
    def steps(self, execution: str, generation: int) -> dict[str, Step]: ...
    def actions(self, execution: str, generation: int, ids: Iterable[str]) -> dict[str, dict[str, str]]: ...
    def synchronize(self, devices: Iterable[str], text: str, *, execution: str | None = None) -> Synchronization: ...
    def known(self, devices: Iterable[str]) -> dict[str, Known]: ...
    def workers(self) -> dict[str, Announcement]: ...
    def busy(self) -> dict[str, int]: ...
    def queued(self, devices: Iterable[str]) -> dict[str, int]: ...
    def health(self) -> dict[str, Health]: ...
    def drained(self) -> dict[str, Drained]: ...
    def now_ms(self) -> int: ...
