"""What a worker does with one message: claim, run, settle; and on to the next action of a fused one."""

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from executor.engine import ExecutionEngine
from executor.model.execution import ActionStatus, Answer, Claimed, Ended, Settled
from workers.announcing import Tally
from workers.crash import crash_point
from workers.lease import Leases

_log = logging.getLogger("rex.runner")


class NotNow(Exception):
    """The task ends with Celery's `Ignore`: its canvas does not go on."""


class HandBack(Exception):
    """This process is about to end: what is left of the message is for another one."""


class ActionFailed(Exception):
    """An action failed and ended its execution; Celery calls the canvas's error callback."""


class RunnersLedger(Protocol):
    def claim(
        self,
        execution: str,
        generation: int,
        actions: Sequence[str],
        *,
        holder: str,
        nonce: str,
        signature: str = "",
        at: str = "",
    ) -> Claimed | Answer: ...
    def settle(
        self,
        claimed: Claimed,
        ended: Ended,
        *,
        holder: str,
        nonce: str,
        signature: str = "",
        following: Sequence[str] = (),
        next_nonce: str = "",
        at: str = "",
    ) -> Settled: ...


class Message(Protocol):
    """The Celery task that is being run."""

    @property
    def at(self) -> str:
        """The device whose queue delivered it; empty where that is not known."""

    def signature(self, actions: Sequence[str], attempt: int | None = None) -> str:
        """Itself as JSON, with these actions left to do; to be parked."""

    def showing(self, claimed: Claimed) -> AbstractContextManager[Callable[[Ended], None]]:
        """Shows one action of a fused message as a task of its own."""


class Runner:
    """Runs messages."""

    def __init__(
        self, ledger: RunnersLedger, engine: ExecutionEngine, leases: Leases, tally: Tally,
        ends: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        """
        Args:
            ledger: where actions are claimed and settled.
            engine: carries them out.
            leases: what this process holds.
            tally: counts how attempts end.
            ends: whether this process is about to end, and begins nothing any more.
        """
        self._ledger = ledger
        self._engine = engine
        self._leases = leases
        self._tally = tally
        self._ends = ends

    def run(self, message: Message, execution: str, generation: int, actions: Sequence[str]) -> None:
        """Run the actions of a message, as far as the ledger lets them.

        Raises:
            NotNow: parked, or nothing to do.
            HandBack: this process is about to end before all of it is done.
            ActionFailed: an action failed, and ended the execution.
        """
        holder = self._leases.incarnation
        if self._ends():
            raise HandBack
        got: Claimed | Answer | None = self._claim(message, execution, generation, actions)
        while got is not None:
            if isinstance(got, Answer):
                self._obey(got, execution)
                return
            rest = actions[list(actions).index(got.step.id) + 1 :]
            crash_point("claim", got.step.id)
            with self._leases.hold(got) as held, message.showing(got) as shown:
                ended = self._engine.execute_action(got, held)
                self._count(ended)
                shown(ended)
                crash_point("pre-settle", got.step.id)
                ends = self._ends()
                settled = self._settle(message, got, ended, holder, rest, goes_on=not ends)
            crash_point("settle", got.step.id)
            if settled.verdict == "fatal":
                raise ActionFailed((ended.error or {}).get("message", ended.status))
            if settled.verdict != "ok":
                raise NotNow(settled.verdict)
            if ends and rest:
                raise HandBack
            got = settled.following
            if isinstance(got, Answer) and got.kind == "signature":
                got = self._claim(message, execution, generation, rest)

    def _count(self, ended: Ended) -> None:
        # what was skipped, or cancelled from outside, says nothing about this device
        if ended.status not in (ActionStatus.SKIPPED, ActionStatus.CANCELLED):
            self._tally.count(succeeded=ended.status == ActionStatus.SUCCEEDED)

    def _claim(self, message: Message, execution: str, generation: int, actions: Sequence[str]) -> Claimed | Answer:
        holder, nonce = self._leases.incarnation, secrets.token_hex(8)
        got = self._ledger.claim(execution, generation, actions, holder=holder, nonce=nonce, at=message.at)
        if isinstance(got, Answer) and got.kind == "signature":
            left = actions[list(actions).index(got.action) :]
            got = self._ledger.claim(
                execution,
                generation,
                left,
                holder=holder,
                nonce=nonce,
                signature=message.signature(left),
                at=message.at,
            )
        return got

    def _settle(
        self, message: Message, claimed: Claimed, ended: Ended, holder: str, rest: Sequence[str], *, goes_on: bool
    ) -> Settled:
        again = ended.status == "retry"
        return self._ledger.settle(
            claimed,
            ended,
            holder=holder,
            nonce=secrets.token_hex(8),
            signature=message.signature([claimed.step.id, *rest], claimed.attempt + 1) if again else "",
            following=rest if goes_on and not again else (),
            next_nonce=secrets.token_hex(8),
            at=message.at,
        )

    def _obey(self, answer: Answer, execution: str) -> None:
        if answer.kind in ("done", "cancelled"):
            return
        if answer.kind == "failed":
            raise ActionFailed(f"{answer.action} failed before: {answer.detail}")
        if answer.kind == "unknown":
            _log.warning("dropped a message for %s/%s: the ledger does not know it", execution, answer.action)
        elif answer.kind == "fenced":
            # ended here, its message stays unacknowledged and goes to another worker
            _log.error("this worker was declared dead; leaving %s/%s to others", execution, answer.action)
            self._leases.end()
        raise NotNow(answer.kind)


def valid_message(execution: Any, generation: Any, actions: Any) -> bool:
    """Whether the arguments of a message have the right form; strangers write to queues too."""
    return (
        isinstance(execution, str)
        and 0 < len(execution) <= 128
        and isinstance(generation, int)
        and not isinstance(generation, bool)
        and 0 <= generation < 1000
        and isinstance(actions, list)
        and 0 < len(actions) <= 10_000
        and all(isinstance(name, str) and 0 < len(name) <= 200 for name in actions)
    )
