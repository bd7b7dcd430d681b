"""One attempt at one action, as its code sees it, and the one place where that code is called."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from executor.action import ActionType, Found, Json, SavedBytes, Snapshot
from executor.model.errors import PERMANENT, ActionCancelled, ActionError, ActionTimedOut
from executor.policies.classification import classify
from executor.results import MAX_RESULT_BYTES, check_result
from workers.actions.isolation import call_isolated
from workers.masking import SecretValues

Method = Literal["check", "snapshot", "execute", "compensate", "verify"]


class ActionRun:
    """The `executor.action.Run` of a worker.

    Args:
        deadline: `time.monotonic` seconds; the attribute of that name may be moved while the attempt runs.
        cancelled: whether the execution stops, or the attempt lost its token.
        guard: called by `proceed` after its own checks; raises `ActionError` when no effect may follow.
        state: the document that the device was given.
        report: receives progress, 0.0 to 1.0, with a masked message.
        environment: where ``secret://env/NAME`` is read; None is the worker's own.
        max_result_bytes: largest result, as JSON.
        roots: directories below which snapshots are allowed.
    """

    def __init__(
        self,
        *,
        parameters: BaseModel,
        execution: str,
        action: str,
        device: str,
        attempt: int,
        key: str,
        idempotent: bool = False,
        deadline: float,
        saved: SavedBytes,
        cancelled: Callable[[], bool] = lambda: False,
        guard: Callable[[], None] = lambda: None,
        report: Callable[[float, str], None] = lambda _fraction, _message: None,
        log: logging.Logger | None = None,
        snapshot: Json | None = None,
        state: Json | None = None,
        roots: tuple[str, ...] = ("/",),
        environment: Mapping[str, str] | None = None,
        max_result_bytes: int = MAX_RESULT_BYTES,
    ) -> None:
        self.parameters = parameters
        self.max_result_bytes = max_result_bytes
        self.execution = execution
        self.action = action
        self.device = device
        self.attempt = attempt
        self.key = key
        self.idempotent = idempotent
        self.deadline = deadline
        self.saved = saved
        self.snapshot = snapshot
        self.state: Json = state or {}
        self.roots = roots
        self.secrets = SecretValues(environment)
        self.log = _masked(log or logging.getLogger("rex.actions"), self.secrets.mask)
        self._cancelled = cancelled
        self._guard = guard
        self._report = report

    def remaining_s(self) -> float:
        """Seconds until the attempt's deadline, never below 0."""
        return max(self.deadline - time.monotonic(), 0.0)

    def cancelled(self) -> bool:
        """Whether the attempt must stop now."""
        return self._cancelled() or self.remaining_s() <= 0

    def proceed(self) -> None:
        """Raise unless an effect may follow right now; see `executor.action.Run.proceed`."""
        if self._cancelled():
            raise ActionCancelled(f"{self.action} was cancelled before its effect")
        if self.remaining_s() <= 0:
            raise ActionTimedOut(f"the deadline of {self.action} passed before its effect")
        self._guard()

    def secret(self, value: str) -> str:
        """`value`, or the secret that it names; see `executor.action.Run.secret`."""
        return self.secrets.read(value)

    def mask(self, text: str) -> str:
        """`text` without any secret that was read."""
        return self.secrets.mask(text)

    def progress(self, fraction: float, message: str = "") -> None:
        """Report how far it is; a report that cannot be delivered does not harm the action."""
        try:
            self._report(min(max(float(fraction), 0.0), 1.0), self.mask(message))
        except Exception:
            self.log.exception("progress of %s could not be reported", self.action)


def perform(action_type: ActionType, method: Method, run: ActionRun, *arguments: Any) -> Any:
    """Call `method` of `action_type`, in a process of its own where the type asks for it.

    The result of ``execute`` and ``compensate`` is JSON of bounded size with secrets masked.

    Raises:
        ActionError: whatever went wrong: any other exception is classified and named in the message; masked.
    """
    try:
        own = getattr(type(action_type), method) is not getattr(ActionType, method)
        if action_type.isolated and own:
            value = call_isolated(action_type, method, run, arguments)
        else:
            value = getattr(action_type, method)(run, *arguments)
        return _checked(method, value, run)
    except ActionError as error:
        error.args = (run.mask(str(error)), *error.args[1:])
        # the cause may hold what the message no longer does
        raise error from None
    except (Exception, SystemExit) as error:
        run.log.debug("%s of %s raised", method, run.action, exc_info=True)
        message = run.mask(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        raise ActionError(message, classify(error)) from None


def _checked(method: Method, value: Any, run: ActionRun) -> Any:
    if method in ("execute", "compensate"):
        check_result(value, limit=run.max_result_bytes)
        return run.secrets.mask_value(value)
    if method == "check" and not isinstance(value, Found):
        raise TypeError(f"check returned {value!r}, not DONE, NOT_DONE or UNKNOWN of Found")
    if method == "snapshot" and value is not None:
        if not isinstance(value, Snapshot):
            raise TypeError(f"snapshot returned {type(value).__name__}, not a Snapshot")
        check_result(value.data)
        if run.secrets.mask_value(value.data) != value.data:
            raise ActionError("the snapshot holds a secret, which may not be written down", PERMANENT)
    return value


def _masked(parent: logging.Logger, mask: Callable[[str], str]) -> logging.Logger:
    """A logger of this run alone: what it passes on to `parent` is masked."""

    def hide(record: logging.LogRecord) -> bool:
        record.msg, record.args = mask(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = mask(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True

    log = logging.Logger(parent.name)
    log.parent = parent
    log.addFilter(hide)
    return log
