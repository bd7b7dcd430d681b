"""The composition root: the one place where concrete adapters are named and put together."""

import contextlib
import logging
import os
import platform
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from config.queues import CONTROL
from config.settings import Settings, load_settings
from executor.action import ActionType, Json, Run
from executor.address import parse
from executor.broker.looking import DeviceQueues, queued
from executor.canvas import stage_canvas
from executor.catalogue import InstalledCatalogue
from executor.distribution.failover import place_with
from executor.engine import ExecutionEngine
from executor.ledger.valkey import ValkeyLedger
from executor.model.device import Announcement
from executor.model.errors import NO_DEVICE, AccessRefused, ActionError, JoinRefused, LedgerTrouble, Unreachable
from executor.model.execution import Claimed
from executor.ports import Holding
from executor.resolution import ResolutionExecutor
from executor.task_names import CONCLUDE
from rollback.manager import RollbackManager
from rollback.stores import FileStore
from workers.announcing import Gauge, Tally, agents_of, announcement, here_of, join
from workers.autoscale import Autoscaler, BrokerQueues
from workers.health import HealthWatch
from workers.lease import Leases
from workers.leaving import Leaving
from workers.letters import letters_of
from workers.presence import Presence
from workers.publisher import BatchingCelery, CeleryOutlet, Publisher
from workers.run import ActionRun, perform
from workers.runner import Runner
from workers.stages import StageWatch
from workers.states import DeviceStates
from workers.underway import Underway
from workers.upkeep import Upkeep
from workers.watchdog import Watchdog

_log = logging.getLogger("rex.worker")

_PATIENCE_S = 600.0
"""A worker outlives a server that is away for so long; what it did is settled when the server is back."""


class DevicePerformer:
    """Runs action code on this device."""

    def __init__(
        self,
        ledger: ValkeyLedger,
        saved: FileStore,
        *,
        max_result_bytes: int,
        roots: tuple[str, ...],
        agents: Mapping[str, str],
        state_of: Callable[[str], Json],
    ) -> None:
        self._ledger = ledger
        self._saved = saved
        self._max_result_bytes = max_result_bytes
        self._roots = roots
        self._agents = agents
        self._state_of = state_of

    def prepare(
        self, claimed: Claimed, parameters: BaseModel, hold: Holding, snapshot: Json | None, deadline: float
    ) -> Run:
        step = claimed.step
        if step.agent is not None and self._agents.get(step.device) != step.agent:
            served = self._agents.get(step.device)
            raise ActionError(
                f"{step.device} is {f'an agent of kind {served}' if served else 'no agent'} here, and {step.id} is for "
                f"one of kind {step.agent}: start it with `rex worker --device {step.device} --agent {step.agent}`",
                NO_DEVICE,
            )
        return ActionRun(
            parameters=parameters,
            execution=claimed.execution,
            action=step.id,
            device=step.device,
            attempt=claimed.attempt,
            key=f"{claimed.execution}/{claimed.generation}/{step.id}",
            idempotent=step.idempotent,
            deadline=deadline,
            cancelled=hold.cancelled,
            guard=hold.guard,
            saved=self._saved,
            report=lambda fraction, message: self._ledger.progress(claimed, fraction, message),
            snapshot=snapshot,
            state=self._state_of(step.device),
            roots=self._roots,
            max_result_bytes=self._max_result_bytes,
        )

    def perform(self, kind: ActionType, method: Any, run: Any, *arguments: Any) -> Any:
        return perform(kind, method, run, *arguments)


class Part(Protocol):
    """A thread of a node."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Node:
    """One worker process: what it is made of, and its life."""

    def __init__(self, app: BatchingCelery, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self.name = f"{platform.node()}-{os.getpid()}"
        self.incarnation = f"{self.name}-{uuid.uuid4().hex[:12]}"
        self.leaving = Leaving(self._retreat)
        self._parts: list[Part] = []
        self._states: DeviceStates | None = None
        self._announced: Announcement | None = None

    @cached_property
    def ledger(self) -> ValkeyLedger:
        ledger = ValkeyLedger(
            str(self.settings.ledger_url),
            name=f"rex:{self.incarnation}",
            patience_s=_PATIENCE_S,
            power_safe=self.settings.distributed.durability == "power",
        )
        ledger.outlet = CeleryOutlet(self.app, ledger, self.underway)
        return ledger

    @cached_property
    def underway(self) -> Underway:
        # the ledger's own outlet needs it: it is asked for later
        return Underway(lambda entry: self.ledger.postpone(entry))  # noqa: PLW0108

    @cached_property
    def impatient_ledger(self) -> ValkeyLedger:
        """For renewals, of which the next one tries again, and for the end, which waits for no lost server."""
        return ValkeyLedger(str(self.settings.ledger_url), name=f"rex:{self.incarnation}", patience_s=0.5)

    @cached_property
    def catalogue(self) -> InstalledCatalogue:
        return InstalledCatalogue()

    @cached_property
    def executor(self) -> ResolutionExecutor:
        broker, ledger = str(self.settings.broker_url), str(self.settings.ledger_url)
        queues = None if broker == ledger else DeviceQueues(broker)
        return ResolutionExecutor(self.ledger, self.catalogue, self.settings, queues)

    @cached_property
    def rollback(self) -> RollbackManager:
        return RollbackManager(self.ledger, self.settings)

    @cached_property
    def leases(self) -> Leases:
        distributed = self.settings.distributed
        return Leases(
            self.impatient_ledger,
            self.incarnation,
            renewal_s=distributed.lease_renewal.total_seconds(),
            silence_s=distributed.lease_silence.total_seconds(),
            on_fenced=_end_now,
            on_forgotten=self._announce_again,
            on_news=self._notice,
            vitals=self.gauge.fresh,
        )

    @cached_property
    def store(self) -> FileStore:
        return FileStore(Path(self.settings.state_dir) / "saved", self.settings.rollback.store_max_bytes)

    @cached_property
    def runner(self) -> Runner:
        roots = self.settings.rollback.snapshot_roots
        performer = DevicePerformer(
            self.ledger,
            self.store,
            max_result_bytes=self.settings.execution.max_result_bytes,
            roots=roots,
            agents=self.agents,
            state_of=self._state_of,
        )
        engine = ExecutionEngine(self.catalogue, performer, self.ledger, here=here_of(os.environ))
        return Runner(self.ledger, engine, self.leases, self.tally, lambda: self.leaving.begun)

    @cached_property
    def tally(self) -> Tally:
        return Tally()

    @cached_property
    def gauge(self) -> Gauge:
        return Gauge(self.settings.state_dir, self.tally)

    @cached_property
    def agents(self) -> dict[str, str]:
        """Which of our devices is an agent, and of which kind."""
        return agents_of(os.environ)

    def join(self, queues: Sequence[str], concurrency: int) -> None:
        """Announce this process, before it consumes; and begin what its role asks for.

        Raises:
            SettingsInvalid, JoinRefused, AccessRefused: it cannot be one of this cluster's, now or later.
        """
        self._knock()
        announced = announcement(
            queues=queues,
            concurrency=concurrency,
            actions=list(self.catalogue.names()),
            state_dir=self.settings.state_dir,
            environ=os.environ,
            incarnation=self.incarnation,
            now_ms=self.ledger.now_ms(),
        )
        if announced.devices:
            self._warm_up()
        self._begin(Presence(str(self.settings.ledger_url), self.incarnation))
        join(self.ledger, self.incarnation, announced)
        self._announced = announced
        self._begin(self.gauge)
        beat = os.environ.get("REX_BEAT_FD")
        self.leases.start(int(beat) if beat else None)
        self._begin(self.leaving)
        if CONTROL in queues:
            self._coordinate()
        if announced.devices:
            self._serve(announced.devices)

    def _knock(self) -> None:
        """Find out at once where trying for long does not help, and say where it may.

        Raises:
            AccessRefused: ledger or broker refuse our password.
        """
        broker, ledger = str(self.settings.broker_url), str(self.settings.ledger_url)
        doors: list[Callable[[], object]] = [self.impatient_ledger.ping]
        if broker != ledger:
            doors.append(lambda: queued(broker, [CONTROL]))
        for ask in doors:
            try:
                ask()
            except AccessRefused:
                raise
            except Unreachable as error:
                _log.warning("%s; trying until it answers", error)

    def _coordinate(self) -> None:
        # an execution whose last stage has ended is concluded by whoever saw it, without a message of its own
        def conclude(execution: str) -> None:
            with self.underway.keeping(f"con:{execution}"):
                self.executor.conclude(execution)

        self.ledger.outlet = CeleryOutlet(self.app, self.ledger, self.underway, {CONCLUDE: conclude})
        publisher = Publisher(self.ledger, CeleryOutlet(self.app, self.ledger, self.underway))
        letters = letters_of(self.app, str(self.settings.broker_url))
        stages = StageWatch(
            self.ledger, letters, self._publish_again, lambda: place_with(self.executor.fleet()),
            self.settings.distributed.device_wait,
        )  # fmt: skip
        watchdog = Watchdog(
            self.ledger, letters, stages, HealthWatch(self.ledger, self.settings), self.settings,
            name=self.incarnation, one_machine=parse(str(self.settings.ledger_url)).socket is not None,
        )  # fmt: skip
        self._begin(publisher, watchdog)
        if os.environ.get("REX_LOCAL_CLUSTER"):
            state_dir, distributed = Path(self.settings.state_dir), self.settings.distributed
            self._begin(Autoscaler(self.ledger, BrokerQueues(self.app), state_dir, distributed))

    def _serve(self, devices: Sequence[str]) -> None:
        _ = self.runner  # made before threads ask for it
        self._states = DeviceStates(self.ledger, self.incarnation, Path(self.settings.state_dir) / "state", devices)
        self._begin(self._states, Upkeep(self.store, self.ledger, self.settings.execution.retention))

    def _begin(self, *parts: Part) -> None:
        for part in parts:
            part.start()
            self._parts.append(part)

    def _retreat(self) -> None:
        with contextlib.suppress(LedgerTrouble):  # who is not told finds out when we have left
            self.ledger.retreat(self.incarnation)

    def leave(self) -> None:
        """End in order."""
        for part in self._parts:
            part.stop()
        self.leases.stop()
        with contextlib.suppress(LedgerTrouble):  # away, or full: the watchdog sees to what is left
            self.impatient_ledger.leave(self.incarnation)

    def _announce_again(self) -> None:
        """A server that lost its last moments, or comes back empty, gives work to nobody whom it does not know."""
        if self._announced is None or self.leaving.begun:
            return
        _log.warning("the ledger does not know %s any more; announcing it again", self.incarnation)
        try:
            self.impatient_ledger.register(self.incarnation, self._announced)
        except JoinRefused as error:
            _log.error("it is refused: %s", error)
            _end_now()

    def _notice(self, news: int) -> None:
        if self._states is not None:
            self._states.notice(news)

    def _state_of(self, device: str) -> Json:
        return {} if self._states is None else self._states.of(device)

    def _warm_up(self) -> None:
        """Load every type, so that the first action does not pay for it: before this worker is announced, or, where one
        run waits for its own cluster, meanwhile."""
        if os.environ.get("REX_WARM_UP") == "later":
            threading.Thread(target=self._load_types, name="rex-warm-up", daemon=True).start()
        else:
            self._load_types()

    def _load_types(self) -> None:
        from executor import expressions

        for uses in self.catalogue.names():
            try:
                self.catalogue.get(uses)
            except KeyError as error:
                self.gauge.cannot_load(uses, getattr(error, "reason", str(error)))
        expressions.evaluate("1 + 1", {})

    def _publish_again(self, execution: str, generation: int, stage: int, names: list[str]) -> None:
        plan = self.ledger.plan(execution, generation)
        if plan is not None:
            moved = self.ledger.moved_to(execution, generation, plan.stages[stage].steps)
            stage_canvas(self.app, plan, execution, generation, stage, only=names, moved=moved).apply_async()


def _end_now() -> None:
    """End this process at once: whatever it would still say does not count."""
    os._exit(70)


def node_of(app: BatchingCelery) -> Node:
    """The one node of this process's app."""
    node: Node | None = getattr(app, "rex_node", None)
    if node is None:
        node = app.rex_node = Node(app, load_settings())
    return node
