"""What another service imports: submit strategies, follow them, ask for their results.

Writes the ledger and its outbox, and reads events; needs no Celery. What it needs it imports inside its methods, and
its addresses are arguments: in a foreign process nothing of ours but `executor` is loaded.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from executor.model.errors import ActionCancelled, NotAllowedNow, UnknownExecution
from executor.model.execution import TERMINAL
from executor.model.ids import is_execution_id, new_execution_id
from executor.model.strategy import Strategy

if TYPE_CHECKING:
    from executor.ledger.valkey import ValkeyLedger
    from executor.ports import Queues

Json = dict[str, Any]
Rows = list[Json]

_LAST_EVENTS = frozenset(f"execution:{state}" for state in TERMINAL)
PATIENCE_S = 2.0
_LOOK_S = 5.0
_QUICKEST_ACTION_S = 0.0005
"""A message, a claim and a settlement take no less."""
_LULL_S = 0.05
_ANSWER_S = 15.0
"""A coordinator that was killed has a successor by then."""


class ResolutionClient:
    """A connection to a cluster.

    >>> client = ResolutionClient("redis://localhost:6379/0")
    >>> execution = client.submit(strategy, inputs={"port": 8080})
    >>> client.result(execution, timeout_s=600)["status"]
    'completed'
    """

    def __init__(self, ledger_url: str, *, name: str = "client", patience_s: float = PATIENCE_S) -> None:
        """
        Args:
            ledger_url: where the ledger lives: ``redis://``, ``rediss://`` or ``redis+socket://``.
            name: who submits; shown among the connections of the server.
            patience_s: for how many seconds a call outlives a server that is away.
        """
        self._url = ledger_url
        self._name = name
        self._patience_s = patience_s
        self._opened: ValkeyLedger | None = None

    @property
    def _ledger(self) -> "ValkeyLedger":
        if self._opened is None:
            from executor.ledger.valkey import ValkeyLedger

            self._opened = ValkeyLedger(self._url, name=f"rex:{self._name}", patience_s=self._patience_s)
        return self._opened

    def __enter__(self) -> "ResolutionClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def submit(
        self,
        strategy: Strategy | Json,
        *,
        inputs: Json | None = None,
        context: Json | None = None,
        execution_id: str | None = None,
    ) -> str:
        """Hand a strategy over; once this returns it is not lost. It is checked by the coordinator: a wrong one ends
        as ``refused``, with its problems as the error.

        Args:
            strategy: the model, or the same structure as plain JSON.
            inputs: values of its inputs.
            context: what expressions read as ``context``.
            execution_id: chosen by the caller, so that submitting twice is submitting once.

        Returns:
            The id of the execution.

        Raises:
            Unreachable: the ledger does not answer.
            ValueError: `execution_id` has characters other than letters, digits, ``.``, ``_`` and ``-``.
        """
        execution = execution_id or new_execution_id()
        if not is_execution_id(execution):
            raise ValueError(f"{execution!r} cannot be an execution id: letters, digits, dots, dashes and underscores")
        plain = (
            strategy.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
            if isinstance(strategy, Strategy)
            else strategy
        )
        self._ledger.submit(execution, {"strategy": plain, "inputs": inputs or {}, "context": context or {}})
        return execution

    def status(self, execution: str) -> Json:
        """The report of an execution so far, of the same form as its result.

        Raises:
            UnknownExecution: it was never accepted, or retention has removed it.
            Unreachable: the ledger does not answer.
        """
        from executor.report import report

        return report(self._ledger, execution)

    def result(self, execution: str, *, timeout_s: float | None = None) -> Json:
        """The report of an execution that has ended; waits for it.

        Args:
            execution: its id.
            timeout_s: at most so many seconds; None waits for ever, 0 does not wait.

        Raises:
            TimeoutError: it still runs.
            UnknownExecution, Unreachable: as for `status`.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while (head := self._ledger.head(execution))["state"] not in TERMINAL:
            left = _LOOK_S if until is None else min(_LOOK_S, until - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"execution {execution} still runs after {timeout_s:g} s")
            # not woken by each of the events that the actions of this stage are going to write
            time.sleep(min(left, _LULL_S, int(head.get("left", 0)) * _QUICKEST_ACTION_S))
            self._ledger.events(execution, after=int(head["seq"]), wait_s=left, limit=1)
        return self.status(execution)

    def events(self, execution: str, *, after: int = 0, follow: bool = True) -> Iterator[Json]:
        """Events of an execution in order: ``seq``, ``id``, ``event``, ``executionId``, ``timestamp`` (ms), ``data``.

        Args:
            execution: its id.
            after: begin behind this ``seq``.
            follow: wait for more until the execution has ended.
        """
        self._ledger.head(execution)
        while True:
            found = self._ledger.events(execution, after=after, wait_s=_LOOK_S if follow else 0.0)
            for event in found:
                after = event["seq"]
                yield event
                # an execution that had ended may have been taken back later
                if event["event"] in _LAST_EVENTS and self._is_last(execution, after):
                    return
            if not found and (not follow or self._ledger.head(execution)["state"] in TERMINAL):
                return

    def last_event(self, execution: str) -> int:
        """The ``seq`` of the newest event of an execution."""
        return int(self._ledger.head(execution)["seq"])

    def _is_last(self, execution: str, seq: int) -> bool:
        head = self._ledger.head(execution)
        return head["state"] in TERMINAL and int(head["seq"]) == seq

    def list(self, *, limit: int = 50) -> Rows:
        """The newest executions, those that run first: id, strategy, status, times in ms since the epoch."""
        rows = []
        for execution in self._ledger.executions(limit=limit):
            try:
                head = self._ledger.head(execution)
            except UnknownExecution:  # retention was faster
                continue
            rows.append(
                {
                    "execution_id": execution,
                    "strategy": head["strategy"],
                    "status": head["state"],
                    "created_ms": int(head["created"]),
                    "finished_ms": int(head["finished"]) if "finished" in head else None,
                }
            )
        return rows

    def cancel(self, execution: str, *, reason: str = "", undo: bool = True) -> None:
        """Ask for the end of an execution: no action begins any more, and what was done is taken back.

        Args:
            execution: its id.
            reason: kept with the execution.
            undo: False leaves what was done as it is.

        Raises:
            NotAllowedNow: it has ended, or ends already.
            UnknownExecution, Unreachable: as for `status`.
        """
        error = {
            "type": "Cancelled",
            "message": f"cancelled{': ' + reason if reason else ''}",
            "classification": ActionCancelled.classification.as_dict(),
            "action": None,
        }
        answer, state = self._ledger.cancel(execution, error, undo=undo)
        if answer == "unknown":
            raise UnknownExecution(execution)
        if answer == "refused":
            raise NotAllowedNow(f"execution {execution} cannot be cancelled: it is {state}")

    def plan_rollback(
        self,
        execution: str,
        *,
        mechanism: str | None = None,
        actions: Sequence[str] = (),
        force: bool = False,
        retry: bool = False,
        timeout_s: float = _ANSWER_S,
    ) -> Json:
        """What a rollback would do, without doing it: ``stages`` of steps with ``device`` and ``seconds``, ``kept``,
        ``remaining``, ``chosen`` with its reasons; ``refused`` where `rollback` would refuse what has ended.
        Of one that runs: what a rollback now would do.

        Raises:
            Unreachable: no coordinator answered in time; or as for `status`.
            ValueError: there is no such mechanism.
            UnknownExecution: as for `status`.
        """
        from executor.rollbacks import plan_rollback, request_of

        request = request_of(mechanism, actions, force=force, retry=retry, by="", key=None)
        return plan_rollback(self._ledger, execution, request, timeout_s)

    def rollback(
        self,
        execution: str,
        *,
        mechanism: str | None = None,
        actions: Sequence[str] = (),
        force: bool = False,
        retry: bool = False,
        by: str = "",
        request_id: str | None = None,
        timeout_s: float = _ANSWER_S,
    ) -> None:
        """Have an execution taken back that has ended: a completed one, or what an earlier rollback left.

        Args:
            execution: its id.
            mechanism: ``adaptive``, ``compensate``, ``snapshot``, ``partial``, ``phased`` or ``guided``; None: as its
                strategy says.
            actions: only these.
            force: overwrite what others changed since, and repeat a compensation that was broken off.
            retry: take up what an earlier rollback left.
            by: who asks; kept with the execution.
            request_id: chosen by the caller, so that asking twice is asking once.
            timeout_s: how long to wait for a coordinator.

        Raises:
            NotAllowedNow: it runs, never ran, nothing is left, or what would be kept needs what is taken back.
            ValueError: there is no such mechanism.
            UnknownExecution, Unreachable: as for `status`.
        """
        from executor.rollbacks import request_of, request_rollback

        request = request_of(mechanism, actions, force=force, retry=retry, by=by or self._name, key=request_id)
        request_rollback(self._ledger, execution, request, timeout_s)

    def offered(self, execution: str) -> Json | None:
        """What a guided rollback that waits offers: by action its undo, and what can be chosen; None: it does not."""
        return self._ledger.offered(execution)

    def choose(self, execution: str, choices: Mapping[str, str], *, by: str = "") -> None:
        """Answer a guided rollback.

        Args:
            execution: its id.
            choices: by action ``undo``, ``keep`` or ``retry``; what is left out gets the configured default.
            by: who chose; kept with the execution.

        Raises:
            NotAllowedNow: it does not wait for a choice.
            ValueError: a choice that is not offered.
            UnknownExecution, Unreachable: as for `status`.
        """
        from executor.rollbacks import choose

        choose(self._ledger, execution, choices, by or self._name)

    def synchronize_state(
        self, state: Json, *, devices: Sequence[str] | None = None, timeout_s: float = 5.0, execution: str | None = None
    ) -> Json:
        """Give devices a document (settings, policies, feature flags), and wait until they have it. Action code reads
        it as ``run.state``; the same content again is no new version.

        Args:
            state: a map of JSON values, up to 256 KB; without secrets.
            devices: their ids; None: all that are served now. Those that nobody serves get it when they are back.
            timeout_s: for how many seconds they are waited for.
            execution: for which this is done; stands in the event ``distributed:synchronization:completed``.

        Returns:
            ``version``, ``complete``, ``devices`` (by id ``version``, ``acknowledged``, ``reason``) and ``missing``:
            who has not acknowledged it.

        Raises:
            ValueError: the document may not be kept so, or there is no such device.
            Unreachable: the ledger does not answer.
        """
        from executor.states import synchronize_state

        return synchronize_state(self._ledger, devices, state, timeout_s=timeout_s, execution=execution)

    def workers(self) -> Rows:
        """Living workers, coordinators too, as they announced themselves, with ``busy``: how many actions each runs."""
        busy = self._ledger.busy()
        found = self._ledger.workers()
        return [
            {**worker.model_dump(mode="json"), "incarnation": name, "busy": busy.get(name, 0)}
            for name, worker in sorted(found.items())
        ]

    def devices(self, queues: "Queues | None" = None) -> Rows:
        """Every device: ``state`` (healthy, degraded, unhealthy or unknown) with ``reasons``, labels, capabilities,
        what runs and what waits there, when it was last heard, whether it is drained, and its ``workers``. Those that
        nobody serves any more too.

        Args:
            queues: tells how many messages wait, where broker and ledger are two servers.
        """
        return [device.told() for device in self._ledger.devices(queues)]

    def between_attempts(self, device: str) -> int:
        """How many actions have begun on a device, do not run now, and will run there again unless they are moved."""
        from executor.model.execution import FINAL

        found = 0
        for execution, opened in self._ledger.open_stages().items():
            plan = self._ledger.plan(execution, opened.generation)
            if plan is None:
                continue
            stage = plan.stages[opened.number]
            rows = self._ledger.actions(execution, opened.generation, stage.steps)
            for message, planned in zip(stage.messages, stage.queues, strict=True):
                for row in (rows[name] for name in message):
                    here = (row.get("at") or planned) == device
                    found += here and "attempt" in row and row.get("status") not in {*FINAL, "running"}
        return found

    def drain(self, device: str, *, reason: str = "", by: str = "") -> bool:
        """Give a device nothing new: what runs there finishes, what was to come waits or goes elsewhere. What is taken
        back is taken back there all the same.

        Args:
            device: its id.
            reason: shown to whoever looks at devices.
            by: who asks; kept with the device.

        Returns:
            False where it was drained before.

        Raises:
            UnknownDevice: there is none of that name.
            Unreachable: the ledger does not answer.
        """
        return self._ledger.drain(device, by=by or self._name, reason=reason)

    def undrain(self, device: str, *, by: str = "") -> int | None:
        """Give a device work again, and send out what waits for it.

        Returns:
            How many messages went out; None where it was not drained.

        Raises:
            UnknownDevice, Unreachable: as for `drain`.
        """
        return self._ledger.undrain(device, by=by or self._name)
