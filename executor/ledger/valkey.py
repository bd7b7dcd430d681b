"""The ledger on Valkey or Redis: the Python face of the scripts in ``lua/``."""

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from executor.ledger.connection import ledger_address, masked, reachable
from executor.ledger.rolling_back import RollbackLedger
from executor.ledger.wire import claim_answer, fraction_of, outcome_of, written
from executor.model.errors import Unreachable
from executor.model.execution import Answer, Claimed, Ended, Move, Settled
from executor.model.plan import Plan, Step, format_of
from executor.ports import Outlet

_DISK_PATIENCE_MS = 4000
"""Below the client's own timeout; a busy disk takes tens of milliseconds, ``appendfsync everysec`` up to a second."""
_MANY = 500
"""Actions that one call takes; the server does nothing else meanwhile."""


class ValkeyLedger(RollbackLedger):
    """The state of every execution.

    Every method that decides is one atomic script, and the same call made again (same nonce, same token) gets the same
    answer: an answer can be lost after the server did it.
    """

    def __init__(
        self, url: str, *, name: str = "rex", patience_s: float = 2.0, outlet: Outlet | None = None,
        power_safe: bool = False,
    ) -> None:  # fmt: skip
        """
        Args:
            url: address of the server.
            name: client name on the server.
            patience_s: how long one call outlives a lost server.
            outlet: sends what a script decided; without one it is left to the coordinators.
            power_safe: what may not run twice is on the server's disk before it runs (``distributed.durability``).
        """
        super().__init__(url, name=name, patience_s=patience_s, outlet=outlet)
        self._power_safe = power_safe
        self._patience_s = patience_s
        # where another server may take over, that one has to have it too
        self._replicas = int(ledger_address(url).is_sentinel)

    def _secure(self) -> None:
        """Wait until what was written is on the disk.

        ``WAITAOF`` knows what its own connection saw last; the ``PING`` on the same one makes that everything so far.

        Raises:
            Unreachable: it is not for as long as one call is patient, or the server writes no file.
        """
        until = time.monotonic() + self._patience_s
        while slow := self._slow_to_write():
            # what was claimed is nobody else's: to give up at once would end it as if it had begun
            if time.monotonic() >= until:
                raise Unreachable(f"{slow} {masked(self.url)} did not get its disk to write in time")

    def _slow_to_write(self) -> str:
        """Whose disk does not have it yet; empty: every disk that must has it."""
        with reachable(self.url):
            pipe = self._client.pipeline(transaction=False)
            pipe.ping()
            pipe.waitaof(1, self._replicas, _DISK_PATIENCE_MS)
            written_by: Any = pipe.execute()[1]
        if int(written_by[0]) < 1:
            return "the server at"
        return "every replica of the server at" if int(written_by[1]) < self._replicas else ""

    # -- executions ---------------------------------------------------------------------------------------------------

    def submit(self, execution: str, document: dict[str, Any], *, delay_s: float = 0.0) -> bool:
        """Accept an execution; False where one of that id exists. `document`: strategy, inputs, context."""
        strategy = document.get("strategy")
        named = strategy if isinstance(strategy, dict) else {}
        return bool(
            self._call(
                "submit", execution, str(named.get("name", "")), str(named.get("version", "1")),
                json.dumps(document, allow_nan=False), round(delay_s * 1000),
            )[0] == "ok"
        )  # fmt: skip

    def hold(self, execution: str, reason: str, *, delay_s: float) -> float:
        """Try a pending execution again after `delay_s`; returns for how many seconds it has waited."""
        return int(self._call("hold", execution, reason, round(delay_s * 1000))[1]) / 1000

    def create(
        self,
        execution: str,
        plan: Plan,
        steps: dict[str, Step],
        *,
        inputs: dict[str, Any],
        context: dict[str, Any],
        parallel: int,
        timeout_s: float,
        rollback: str,
        max_failures: int | None,
    ) -> bool:
        """Write the plan and open its first stage; False where that was done before."""
        got = self._call(
            "create", execution, plan.model_dump_json(exclude_defaults=True), json.dumps(plan.sizes()), parallel,
            round(timeout_s * 1000), rollback, "" if max_failures is None else max_failures, json.dumps(inputs),
            json.dumps(context), format_of(steps.values()), json.dumps(plan.devices) if len(plan.devices) > 1 else "",
            *written(plan, steps),
        )  # fmt: skip
        return bool(got[0] == "ok")

    def advance(
        self, execution: str, generation: int, stage: int, *, error: dict[str, Any] | None = None,
        criteria: list[dict[str, Any]] | None = None,
    ) -> bool:  # fmt: skip
        """A stage has ended: open the next, fail with `error`, or conclude. False where there is nothing to do."""
        got = self._call(
            "advance", execution, generation, stage, "" if error is None else json.dumps(error),
            "" if criteria is None else json.dumps(criteria),
        )  # fmt: skip
        return bool(got[0] == "ok")

    def stumble(
        self, execution: str, state: str, error: dict[str, Any], *, remaining: list[dict[str, Any]], most: int
    ) -> bool:
        """Making the plan of an execution raised what nobody foresaw, as is counted here; True: it is given up.

        Args:
            execution: its id.
            state: ``pending``, or ``rolling_back`` before its plan; in any other there is nothing to count.
            error: what was raised; that of the execution, where it had not begun.
            remaining: what a rollback that is given up leaves for a person.
            most: so many times are enough.
        """
        got = self._call("stumble", execution, state, json.dumps(error), json.dumps(remaining), most)
        return bool(got[0] == "over")

    def conclude(self, execution: str, status: str, *, error: dict[str, Any] | None = None, rollback: str = "") -> bool:
        """End an execution; False where it has ended before."""
        got = self._call("conclude", execution, status, "" if error is None else json.dumps(error), rollback)
        return bool(got[0] == "ok")

    def cancel(self, execution: str, error: dict[str, Any], *, undo: bool) -> tuple[str, str]:
        """Ask for an end. Answers ``ok``, ``unknown``, or ``refused`` with the state that forbids it."""
        sends = int(self.outlet is not None)
        got = self._call("cancel", execution, json.dumps(error), "rollback" if undo else "stop", sends)
        return got[0], got[1] if len(got) > 1 else ""

    def overdue(self, execution: str, error: dict[str, Any], *, term: str = "") -> bool:
        return bool(self._call("overdue", term, execution, json.dumps(error))[0] == "ok")

    def forget(self, execution: str) -> None:
        """Remove everything that is kept of a finished execution; one that has not ended is left alone.

        The head goes last: a process that dies in the middle leaves an execution that can be forgotten again.
        """
        if self._call("retire", execution)[0] != "ok":
            return
        with reachable(self.url):
            last, gen = self._client.hmget(self._key("x", execution), "last", "gen")
            for generation in range(int(last or gen or 0) + 1):
                names: Any = self._client.hkeys(self._key("spec", execution, generation))
                for start in range(0, len(names), _MANY):
                    self._forget_actions(execution, generation, names[start : start + _MANY])
                self._forget_generation(execution, generation)
            pipe = self._client.pipeline(transaction=True)
            pipe.unlink(
                *(
                    self._key(kind, execution)
                    for kind in ("doc", "ev", "slots", "wait", "live", "ghost", "delay", "drainwait", "x")
                )
            )
            for index in ("done", "open", "deadlines"):
                pipe.zrem(self._key(index), execution)
            pipe.execute()

    def _forget_generation(self, execution: str, generation: int) -> None:
        fan: Any = self._client.hkeys(self._key("fan", execution, generation))
        places = (
            self._key(kind, execution, generation, of) for of in fan if ":" not in of for kind in ("win", "winwait")
        )
        kinds = ("spec", "rule", "plan", "fan")
        self._client.unlink(*places, *(self._key(kind, execution, generation) for kind in kinds))

    def _forget_actions(self, execution: str, generation: int, names: list[str]) -> None:
        members = [f"{execution}|{generation}|{name}" for name in names]
        pipe = self._client.pipeline(transaction=True)
        pipe.hdel(self._key("park"), *members)
        pipe.zrem(self._key("ob"), *(f"p:{member}" for member in members))
        pipe.hdel(self._key("ob", "d"), *(f"p:{member}" for member in members))
        pipe.unlink(*(self._key("a", execution, generation, name) for name in names))
        pipe.execute()

    # -- actions ------------------------------------------------------------------------------------------------------

    def claim(
        self, execution: str, generation: int, actions: Sequence[str], *, holder: str, nonce: str,
        signature: str = "", at: str = "",
    ) -> Claimed | Answer:  # fmt: skip
        """May `holder` run the first of `actions` that is not final? Without a signature nothing is parked.

        `at` is the device whose queue delivered the message; what was moved away from there is not run.
        """
        got = self._call("claim", execution, generation, holder, nonce, signature, at, *actions)
        return self._secured(claim_answer(execution, generation, got))

    def settle(
        self, claimed: Claimed, ended: Ended, *, holder: str, nonce: str, signature: str = "",
        following: Sequence[str] = (), next_nonce: str = "", at: str = "",
    ) -> Settled:  # fmt: skip
        """Store how an attempt ended, for the current token only; then claim what follows in a fused message."""
        got = self._call(
            "settle", claimed.execution, claimed.generation, claimed.step.id, claimed.token, ended.status,
            outcome_of(ended), nonce, ended.effect, signature, round(ended.delay_s * 1000), holder, next_nonce,
            at, len(ended.marks), *(part for mark in ended.marks.items() for part in mark), *following,
        )  # fmt: skip
        if len(got) < 2:
            return Settled(got[0])
        return Settled(got[0], self._secured(claim_answer(claimed.execution, claimed.generation, got[1])))

    def _secured(self, answer: Claimed | Answer) -> Claimed | Answer:
        if self._power_safe and isinstance(answer, Claimed) and not answer.step.idempotent:
            self._secure()
        return answer

    def record_undo(self, claimed: Claimed, record: dict[str, Any], *, of_fallback: bool = False) -> bool:
        """Write the undo record before the effect; only the first counts. False: the token is stale."""
        field = "undo_fallback" if of_fallback else "undo"
        got = self._call(
            "record", claimed.execution, claimed.generation, claimed.step.id, claimed.token, field,
            json.dumps(record),
        )  # fmt: skip
        if got[0] == "ok" and self._power_safe:
            self._secure()
        return bool(got[0] == "ok")

    def progress(self, claimed: Claimed, fraction: float, message: str) -> None:
        self._call(
            "progress", claimed.execution, claimed.generation, claimed.step.id, claimed.token,
            fraction_of(fraction), message,
        )  # fmt: skip

    def abandon_all(
        self,
        execution: str,
        generation: int,
        errors: dict[str, dict[str, Any]],
        *,
        wait_s: float | None,
        term: str = "",
    ) -> dict[str, str]:
        """Nobody serves the devices of these actions, with the error of each.

        Answers for each: ``waiting``; ``failed`` when that has lasted `wait_s` seconds; or ``noop``.

        Without `wait_s` their devices still live: they wait on, and a wait that comes later is counted from now.
        """
        names, became = list(errors), list[str]()
        wait = "" if wait_s is None else round(wait_s * 1000)
        for start in range(0, len(names), _MANY):
            flat = [part for name in names[start : start + _MANY] for part in (name, json.dumps(errors[name]))]
            became += self._call("abandon", term, execution, generation, wait, *flat)[1]
        return dict(zip(names, became, strict=True))

    def served(self, execution: str, generation: int, actions: Iterable[str]) -> None:
        self._call("served", execution, generation, *actions)

    def touch(self, execution: str, generation: int, actions: Iterable[str], *, term: str = "") -> list[str]:
        """Before messages are published again: which of these actions are still claimable."""
        return list(self._call("touch", term, execution, generation, *actions)[1])

    def move(self, execution: str, generation: int, moves: Iterable[Move], *, term: str = "") -> list[str]:
        """Give messages whose device is lost to others, each whole or not at all; returns the moved actions."""
        moved: list[str] = []
        for one in moves:
            for start in range(0, len(one.messages), _MANY):
                moved += self._call(
                    "move", term, execution, generation, one.lost, one.to, one.reason,
                    one.error, json.dumps(one.messages[start : start + _MANY]),
                )[1]  # fmt: skip
        return moved
