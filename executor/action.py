"""The contract of an action type: do, snapshot, undo and verify belong to one action.

Third parties subclass `ActionType`, or decorate a function with `action`, and name it under the entry point
group ``rex.actions``. Nothing here touches Celery, the broker or the ledger.
"""

import enum
import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, create_model

from executor.model.strategy import Model

Json = dict[str, Any]


class WayBack(enum.Enum):
    """How an action of a type is taken back when its strategy says nothing."""

    NOTHING_CHANGED = "nothing changed"
    RESTORES = "restores"
    """The type takes itself back, by what `ActionType.snapshot` kept, after any beginning of the effect."""
    COMPENSATES = "compensates"
    """The type takes back what it completed; once interrupted only when `check` says that it was done."""
    DECLARED = "declared"
    """It changes something, and only the strategy can say how that is taken back."""


class Found(enum.Enum):
    """What `ActionType.check` found out about an action that may or may not have run."""

    DONE = "done"
    NOT_DONE = "not done"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Snapshot:
    """What is needed to take an action back, written down before its effect."""

    data: Json
    """JSON; saved bytes lie in the device's store and are named here by their SHA-256."""
    target: str = ""
    """What is changed (a path, for instance): undos of one target never run side by side."""
    covers: tuple[str, ...] = ()
    """For a saved state: the targets that it holds, each with all below it (``/etc`` holds ``/etc/hosts``)."""


@dataclass(frozen=True)
class Undo:
    """What a compensation is told about the action that it takes back."""

    snapshot: Json | None = None
    result: Any = None
    error: Json | None = None
    force: bool = False
    """A person said so: overwrite what others changed since."""
    quiet: tuple[float, float] | None = None
    """Of a rollback long after the run: `time.time` of this device between which nothing of the execution ran, from the
    end of its last action to the beginning of the rollback. What changed in between was changed by others."""


class Batch(Protocol):
    """Many contents that are saved together."""

    def add(self, content: bytes) -> str:
        """Take `content` over; its SHA-256. It can be loaded, and survives a power cut, when the batch has ended.

        Raises:
            ActionError: the store is full or not writable.
        """


class SavedBytes(Protocol):
    """The device's store of saved bytes, addressed by content."""

    def save(self, content: bytes) -> str:
        """Keep `content` durably and return its SHA-256 in hexadecimal.

        Raises:
            ActionError: the store is full or not writable.
        """

    def load(self, sha256: str) -> bytes:
        """Return what was saved, verified.

        Raises:
            ActionError: it is missing or damaged.
        """

    def batch(self) -> AbstractContextManager[Batch]:
        """Save many contents, durable together when the block ends; nothing of it counts when the block raises."""

    def damaged(self, names: Iterable[str]) -> list[str]:
        """Which of `names` are missing or damaged: read and verified, not only looked up."""

    def room(self) -> int:
        """How many bytes may still be saved."""


class Run(Protocol):
    """One attempt at one action, as its code sees it."""

    execution: str
    action: str
    device: str
    attempt: int
    key: str
    """Idempotency key: the same for every attempt at this action, of no other action."""
    idempotent: bool
    """Whether it may run again when nobody knows whether it ran: as the strategy says, else as its type does."""
    log: logging.Logger
    saved: SavedBytes
    roots: tuple[str, ...]
    """Directories below which this device allows snapshots (``rollback.snapshot_roots``)."""
    snapshot: Json | None
    """Data of the `Snapshot` taken before the first attempt, once there is one: the state before."""
    state: Json
    """The document that its device was given (`ResolutionClient.synchronize_state`), as it was when the attempt began;
    empty where it was given none."""

    @property
    def parameters(self) -> Any:
        """The checked parameters, an instance of the type's `Parameters`."""

    def remaining_s(self) -> float:
        """Seconds until the attempt's deadline, never below 0."""

    def cancelled(self) -> bool:
        """Whether the attempt must stop now: cancelled, taken over, or past its deadline."""

    def proceed(self) -> None:
        """Call right before each effect.

        Raises:
            ActionTimedOut: the deadline has passed.
            ActionCancelled: the execution stops, or the attempt lost its token.
        """

    def secret(self, value: str) -> str:
        """`value`, or what it names when it is a ``secret://`` reference; read now, and masked from here on.

        Raises:
            ActionError: this device does not have that secret.
        """

    def mask(self, text: str) -> str:
        """`text` with every secret that was read replaced by ``***``."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Report how far it is, 0.0 to 1.0."""


class NoParameters(Model):
    """Takes no parameters."""


class ActionType(ABC):
    """One kind of action. Stateless: an instance serves many runs at once."""

    uses: ClassVar[str]
    """The name that strategies write."""
    idempotent: ClassVar[bool] = False
    """May it run again when nobody knows whether it ran?"""
    local: ClassVar[bool] = False
    """Do its effects lie on its device, in files? Then a snapshot of that device may hold them."""
    safe_to_undo: ClassVar[bool] = False
    """May `compensate` be called when nobody knows whether the action was done?"""
    permissions: ClassVar[tuple[str, ...]] = ()
    isolated: ClassVar[bool] = True
    """Run in a process of its own, killed at the deadline. Turn off only for code that obeys `cancelled`."""
    conditions: ClassVar[tuple[str, ...]] = ()
    """Parameters that are written as CEL without braces; `execute` receives what they evaluate to."""
    Parameters: ClassVar[type[BaseModel]] = NoParameters
    Results: ClassVar[type[BaseModel] | None] = None
    """When given, expressions over the result are checked before the run."""

    def origin(self) -> str:
        """``module:name`` under which a process of its own finds this type again."""
        return f"{type(self).__module__}:{type(self).__qualname__}"

    def way_back(self, parameters: Json) -> WayBack:  # noqa: ARG002 - some types decide by their parameters
        """How it is taken back when the strategy says nothing; `parameters` as written, unrendered."""
        return WayBack.DECLARED

    def repeatable(self, parameters: Json) -> bool:  # noqa: ARG002 - some types decide by their parameters
        """Whether it may run again when nobody knows whether it ran; `parameters` as written, unrendered."""
        return self.idempotent

    def reach(self, parameters: Json) -> bool:  # noqa: ARG002 - some types decide by their parameters
        """Whether another device reaches the very thing that it changes, so that it can be probed, finished or taken
        back from there when its own device is gone; `parameters` as written, unrendered."""
        return False

    def problems(self, parameters: Json) -> list[tuple[str, str]]:  # noqa: ARG002
        """What `Parameters` cannot say: pairs of path below ``with`` and message."""
        return []

    def check(self, run: Run) -> Found:  # noqa: ARG002
        """Is it done already? Asked when a worker died in its middle; must change nothing."""
        return Found.UNKNOWN

    def snapshot(self, run: Run) -> Snapshot | None:  # noqa: ARG002
        """Before the effect: what is needed to take it back."""
        return None

    @abstractmethod
    def execute(self, run: Run) -> Any:
        """Do it, and return a JSON value.

        Raises:
            ActionError: it failed; the classification decides whether another attempt can help.
        """

    def compensate(self, run: Run, undo: Undo) -> Any:
        """Take it back. Called only where `way_back` says that the type can."""
        raise TypeError(f"{self.uses} has no way back of its own; {run.action} must declare `compensate`: {undo}")

    def verify(self, run: Run, result: Any) -> None:  # noqa: B027 - an empty hook, not a forgotten method
        """Prove the effect; raise `ActionError` when it is not there."""


@dataclass
class FunctionAction:
    """A plain function as an action type; made by `action`."""

    uses: str
    function: Callable[..., Any]
    idempotent: bool = False
    safe_to_undo: bool = False
    _compensation: Callable[..., Any] | None = field(default=None, repr=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def compensate(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Register the way back: called with the parameters, and with ``result`` where it asks for it."""
        self._compensation = function
        return function

    @property
    def compensation(self) -> Callable[..., Any] | None:
        return self._compensation

    def as_type(self) -> ActionType:
        """The same as an `ActionType` instance."""
        return _type_of(self)


def action(
    uses: str, *, idempotent: bool = False, safe_to_undo: bool = False
) -> Callable[[Callable[..., Any]], FunctionAction]:
    """Make a function an action type: its arguments are the parameters, its JSON value the result.

    `idempotent` and `safe_to_undo` mean what they mean for an `ActionType`.

    >>> @action("db.promote")
    ... def promote(host: str) -> dict:
    ...     return {"promoted": host}
    >>> @promote.compensate
    ... def demote(host: str, result: dict) -> None: ...
    """

    def decorate(function: Callable[..., Any]) -> FunctionAction:
        return FunctionAction(uses, function, idempotent, safe_to_undo)

    return decorate


def _parameters_of(function: Callable[..., Any], uses: str) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    extra: Any = "forbid"
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            extra = "allow"
            continue
        kind = Any if parameter.annotation is parameter.empty else parameter.annotation
        fields[name] = (kind, ... if parameter.default is parameter.empty else parameter.default)
    config = ConfigDict(extra=extra, arbitrary_types_allowed=True)
    return create_model(f"Parameters of {uses}", __config__=config, **fields)


def _type_of(source: FunctionAction) -> ActionType:
    class Function(ActionType):
        __doc__ = inspect.getdoc(source.function)
        uses = source.uses
        idempotent = source.idempotent
        safe_to_undo = source.safe_to_undo
        Parameters = _parameters_of(source.function, source.uses)

        def origin(self) -> str:
            return f"{source.function.__module__}:{source.function.__qualname__}"

        def way_back(self, parameters: Json) -> WayBack:
            return WayBack.COMPENSATES if source.compensation else super().way_back(parameters)

        def execute(self, run: Run) -> Any:
            return source.function(**_arguments(run))

        def compensate(self, run: Run, undo: Undo) -> Any:
            if source.compensation is None:
                return super().compensate(run, undo)
            wanted = inspect.signature(source.compensation).parameters
            arguments = _arguments(run)
            given = {**arguments, "result": undo.result, "error": undo.error}
            takes_all = any(p.kind is p.VAR_KEYWORD for p in wanted.values())
            return source.compensation(
                **{k: v for k, v in given.items() if k in wanted or (takes_all and k in arguments)}
            )

    return Function()


def _arguments(run: Run) -> dict[str, Any]:
    parameters: BaseModel = run.parameters
    named = {name: getattr(parameters, name) for name in type(parameters).model_fields}
    return {**named, **(parameters.model_extra or {})}
