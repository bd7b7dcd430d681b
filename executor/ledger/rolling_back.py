"""How executions are taken back: what coordinators decide, and what people ask for."""

import json
from collections.abc import Iterable
from typing import Any

from executor.ledger.connection import reachable
from executor.ledger.states import StatesLedger
from executor.ledger.wire import written
from executor.model.plan import Plan, Step, format_of
from executor.model.rollback import Choices, Chosen, RollbackRequest


class RollbackLedger(StatesLedger):
    """Rollbacks."""

    def begin_rollback(
        self, execution: str, generation: int, plan: Plan, steps: dict[str, Step], *,
        remaining: list[dict[str, Any]], timeout_s: float, chosen: Chosen, turn: str = "",
    ) -> bool:  # fmt: skip
        """Begin the way back as the next generation; False where that was done before, or is not due.

        `turn` is that of the head for which it was planned: where something has been asked since, it is planned again.
        """
        got = self._call(
            "begin", execution, generation, plan.model_dump_json(exclude_defaults=True), json.dumps(plan.sizes()),
            json.dumps(remaining), round(timeout_s * 1000), chosen.model_dump_json(), turn,
            format_of(steps.values()), *written(plan, steps),
        )  # fmt: skip
        return bool(got[0] == "ok")

    def reopen(self, execution: str, request: RollbackRequest) -> tuple[str, str]:
        """An ended execution is to be taken back. Answers ``ok``, ``unknown``, or ``refused`` with its state, or
        with `STILL_AT_IT`.
        """
        got = self._call("reopen", execution, request.model_dump_json(), request.key, request.by, self._sends())
        return got[0], got[1] if len(got) > 1 else ""

    def offer(self, execution: str, offer: dict[str, Any], *, wait_s: float, turn: str = "") -> bool:
        """A guided rollback waits for a person, at most `wait_s` seconds; False where it does not wait."""
        return bool(self._call("offer", execution, json.dumps(offer), round(wait_s * 1000), turn)[0] == "ok")

    def choose(self, execution: str, choices: Choices) -> tuple[str, str]:
        """A person's choice. Answers ``ok``, ``unknown``, or ``refused`` with why: the state, ``chosen``, ``late``, or
        ``another`` offer.
        """
        by_action = json.dumps(choices.choices)
        got = self._call("choose", execution, by_action, choices.key, choices.by, self._sends(), choices.turn)
        return got[0], got[1] if len(got) > 1 else ""

    def resume(
        self, execution: str, chosen: Chosen, actions: Iterable[str], *, timeout_s: float, turn: str = ""
    ) -> bool:
        """Let an execution that was to be taken back go on: these actions of its stage run, again or at last."""
        got = self._call(
            "resume", execution, chosen.model_dump_json(), round(timeout_s * 1000), chosen.by, turn, *actions
        )  # fmt: skip
        return bool(got[0] == "ok")

    def ask(self, execution: str, task: str, request: dict[str, Any], key: str) -> bool:
        """Have a coordinator work something out (the control task `task`); False where there is no such execution."""
        return bool(self._call("ask", execution, task, json.dumps(request), key, self._sends())[0] == "ok")

    def reply(self, key: str, answer: dict[str, Any]) -> None:
        """Answer what was asked under `key`."""
        self._call("reply", key, json.dumps(answer))

    def answer(self, key: str, timeout_s: float) -> dict[str, Any] | None:
        """The answer to what was asked under `key`; None where none comes within `timeout_s` seconds."""
        with reachable(self.url):
            got: Any = self._blocking().blpop([self._key("reply", key)], timeout=timeout_s)
        return None if got is None else dict(json.loads(got[1]))

    def _sends(self) -> int:
        return int(self.outlet is not None)
