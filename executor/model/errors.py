"""The error tree.

RexError
├── StrategyInvalid          the strategy, its inputs or the call is wrong; nothing ran
│   └── NotAvailable         written in the format, and not built yet
├── LedgerTrouble            the server cannot be worked with now; trying again later may help
│   ├── Unreachable          broker or ledger does not answer, or refuses us
│   │   └── AccessRefused    it answers, and our password or rights are wrong: trying again does not help
│   └── LedgerFull           the server refuses writes for want of memory
├── NoDevice                 no living device can do what is asked; one may come
├── UnknownExecution         no such execution, or retention has removed it
├── UnknownDevice            no such device: no worker serves it, or ever did
├── NotAllowedNow            the state of the execution forbids it
├── JoinRefused              the cluster does not take this worker; trying again does not help
│   ├── DeviceTaken          a living worker with another store serves a device of that id
│   ├── IncompatibleVersion  its release is too far from that of the cluster
│   └── DeclaredDead         it was declared dead: it has to start anew
├── Deposed                  another watchdog leads since; what its former leader still wanted was not done
├── SettingsInvalid          a setting is unknown or wrong
└── ActionError              an action failed; carries what retry and rollback decide by
    ├── ActionTimedOut       the attempt's deadline passed
    ├── ActionCancelled      it was told to stop
    ├── Interrupted          its holder died, and nobody knows whether it was done
    ├── Unanswered           it was sent off, and nobody knows whether it was done; it may be sent again
    ├── ExpressionError      an expression cannot be read, or failed while it ran
    └── ChangedSince         the world is no longer as the action left it: taking back would overwrite
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

ErrorType = Literal["network", "process", "coordination", "resource", "validation", "timeout"]


@dataclass(frozen=True)
class Classification:
    """What kind of error it is; decides whether another attempt can help."""

    type: ErrorType
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    recoverability: Literal["recoverable", "degradable", "fatal"] = "recoverable"
    category: Literal["transient", "permanent", "configuration", "external"] = "transient"
    retryable: bool = True

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


TRANSIENT = Classification("process")
PERMANENT = Classification("process", "high", "fatal", "permanent", retryable=False)
CONFIGURATION = Classification("validation", "high", "fatal", "configuration", retryable=False)
NETWORK = Classification("network")
EXTERNAL = Classification("network", "medium", "fatal", "external", retryable=False)
RESOURCE = Classification("resource", "high")
TIMEOUT = Classification("timeout")
CANCELLED = Classification("coordination", "low", "fatal", "permanent", retryable=False)
INTERRUPTED = Classification("coordination", "high", "recoverable", "transient", retryable=False)
NO_DEVICE = Classification("coordination", "high", "fatal", "external", retryable=False)
UNMET = Classification("validation", "high", "fatal", "permanent", retryable=False)


class RexError(Exception):
    """The root of every error that this project raises on purpose."""


def told_unforeseen(what: str, error: Exception) -> dict[str, Any]:
    """An error that nobody raised on purpose, as it stands in results and events."""
    return {
        "type": type(error).__name__,
        "message": f"{what}: {error}",
        "classification": PERMANENT.as_dict(),
        "action": None,
    }


@dataclass(frozen=True)
class Problem:
    """One mistake in a strategy: where it stands, what it is, what would be right."""

    message: str
    path: str = ""
    """Path inside the document, such as ``actions[2].with.url``."""
    file: str = ""
    line: int = 0
    """First line is 1; 0: not known."""
    column: int = 0
    remedy: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        where = " ".join(part for part in (place, f"at {self.path}" if self.path else "") if part)
        text = f"{where}: {self.message}" if where else self.message
        return f"{text} ({self.remedy})" if self.remedy else text


class StrategyInvalid(RexError):
    """The strategy, its inputs or the call is wrong; nothing ran."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class NotAvailable(StrategyInvalid):
    """Written in the format, and not built yet."""


class LedgerTrouble(RexError):
    """The server cannot be worked with now; trying again later may help."""


class Unreachable(LedgerTrouble):
    """Broker or ledger does not answer, or refuses us."""


class AccessRefused(Unreachable):
    """It answers, and our password or rights are wrong: trying again does not help."""


class LedgerFull(LedgerTrouble):
    """The server refuses writes for want of memory."""


class NoDevice(RexError):
    """No living device can do what is asked, and one may come; says what there is."""


class Deposed(RexError):
    """Another watchdog leads since; what its former leader still wanted was not done."""

    def __init__(self) -> None:
        super().__init__("another coordinator leads the watchdogs now")


class UnknownExecution(RexError):
    """No such execution, or retention has removed it."""

    def __init__(self, execution: str) -> None:
        self.execution = execution
        super().__init__(f"no execution {execution!r}: see `rex list`; finished ones leave after the retention time")


class UnknownDevice(RexError):
    """No such device: no worker serves it, or ever did."""

    def __init__(self, device: str, known: Iterable[str]) -> None:
        self.device = device
        self.known = sorted(known)
        there = f"there are {', '.join(self.known)}" if self.known else "there is none: start `rex worker --device ID`"
        super().__init__(f"no device {device!r}: {there}")


class NotAllowedNow(RexError):
    """The state of the execution forbids it."""


class JoinRefused(RexError):
    """The cluster does not take this worker; trying again does not help."""


class DeviceTaken(JoinRefused):
    """A living worker with another store serves a device of that id."""

    def __init__(self, device: str, host: str, worker: str, heard_ms: int = 0) -> None:
        self.device = device
        self.host = host
        self.worker = worker
        """Incarnation of the one that serves it."""
        self.heard_ms = heard_ms
        """When that was last heard of, by the server's clock."""
        super().__init__(
            f"device {device!r} is taken: worker {worker} on {host or 'an unknown host'} serves it from another state "
            f"directory. Choose another id (`rex worker --device ID`), end that worker first, or give both the same "
            "REX_STATE_DIR, as workers of one device must have"
        )


class IncompatibleVersion(JoinRefused):
    """Its release is too far from that of the cluster."""

    def __init__(self, own: int, version: str, cluster: int) -> None:
        self.own = own
        self.cluster = cluster
        older = own < cluster
        super().__init__(
            f"this is release {version or 'unknown'} (protocol {own}), and the cluster speaks protocol {cluster}: it "
            f"takes {cluster - 1} to {cluster + 1}. "
            + ("Install a newer release here" if older else "Bring its coordinators up to date first")
        )


class DeclaredDead(JoinRefused):
    """It was declared dead: it has to start anew."""

    def __init__(self, incarnation: str) -> None:
        super().__init__(f"worker {incarnation} was declared dead, and has to start anew")


class SettingsInvalid(RexError):
    """A setting is unknown or wrong."""


class ActionError(RexError):
    """An action failed: what was tried, with which parameters, and what came back (secrets masked)."""

    classification: Classification = TRANSIENT

    def __init__(self, message: str, classification: Classification | None = None) -> None:
        super().__init__(message)
        if classification is not None:
            self.classification = classification

    def told(self, action: str | None) -> dict[str, Any]:
        """The error as it stands in results and events, as that of `action`."""
        return {
            "type": type(self).__name__,
            "message": str(self),
            "classification": self.classification.as_dict(),
            "action": action,
        }


class ActionTimedOut(ActionError):
    """The attempt's deadline passed."""

    classification = TIMEOUT


class ActionCancelled(ActionError):
    """It was told to stop."""

    classification = CANCELLED


class Interrupted(ActionError):
    """Its holder died, and nobody knows whether it was done."""

    classification = INTERRUPTED


class Unanswered(ActionError):
    """It was sent off, and nobody knows whether it was done; twice is as once, so it may be sent again."""

    classification = NETWORK


class ExpressionError(ActionError):
    """An expression cannot be read, or failed while it ran; trying again would fail the same way."""

    classification = CONFIGURATION

    def __init__(self, message: str, expression: str = "", column: int = 0) -> None:
        self.expression = expression
        self.column = column
        """Column inside the expression (or the text around it), from 1; 0: the whole of it."""
        super().__init__(message)


_SAID = "changed since"


class ChangedSince(ActionError):
    """The world is no longer as the action left it: taking back would overwrite what others did."""

    classification = Classification("validation", "high", "fatal", "external", retryable=False)

    def __init__(self, message: str, classification: Classification | None = None) -> None:
        # whoever reads a list of what is left looks for these words, whichever type raised it
        super().__init__(message if _SAID in message else f"{_SAID}: {message}", classification)
