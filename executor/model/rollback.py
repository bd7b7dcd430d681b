"""What a rollback is asked to do, and what was chosen."""

from typing import Literal

from pydantic import Field

from executor.model.plan import Frozen

Mechanism = Literal["compensate", "snapshot", "partial", "phased", "guided"]
"""How an execution is taken back; ``adaptive`` becomes one of them."""

Wish = Literal["undo", "keep", "retry"]
"""A person's choice for one action; ``retry`` runs a failed one again, and the execution goes on."""

STILL_AT_IT = "still at it"
"""Why the ledger refuses to take an ended execution back: a worker that nobody reaches may not have ended."""


class RollbackRequest(Frozen):
    """What a person or a service asks of the rollback of an execution that has ended."""

    mechanism: Literal["adaptive", "compensate", "snapshot", "partial", "phased", "guided"] | None = None
    """None: as its strategy says."""
    actions: tuple[str, ...] = ()
    """Only these; none: all."""
    force: bool = False
    """Overwrite what others changed since, and repeat what nobody knows."""
    retry: bool = False
    """Take up what an earlier rollback left."""
    by: str = ""
    """Who asked."""
    key: str = ""
    """Chosen by the caller: the same request sent again is one request."""


class Choices(Frozen):
    """A person's answer to a guided rollback."""

    choices: dict[str, Wish]
    by: str = ""
    key: str = ""
    turn: str = ""
    """Of the offer that it answers: another one is not answered by it."""


class Estimate(Frozen):
    """One way back as it could be gone."""

    mechanism: Mechanism
    possible: bool = True
    reason: str = ""
    """Why it is not possible."""
    steps: int = 0
    left: int = 0
    """How many effects it leaves undone, for a person."""
    seconds: float = 0.0


class Chosen(Frozen):
    """The mechanism of a rollback, why, and what it was weighed against."""

    mechanism: Mechanism
    asked: str
    """What the strategy or a person wrote: a mechanism, or ``adaptive``."""
    reasons: tuple[str, ...] = ()
    estimates: tuple[Estimate, ...] = ()
    kept: tuple[str, ...] = ()
    """Actions that stay done by choice."""
    by: str = ""
    """Who asked or chose; empty: nobody, it was the strategy."""
    at_ms: int | None = None
    """When a person asked or chose, by the ledger's clock, since 1970."""
    choices: dict[str, Wish] = Field(default_factory=dict)
    """Of a guided rollback: what a person chose for each action."""
