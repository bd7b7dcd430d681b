"""What `rex plan` does."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executor.cli.output import note, say, say_json
from executor.model.placement import Beside, Placed, Wanted

if TYPE_CHECKING:
    from config.settings import Settings
    from executor.model.placement import Devices
    from executor.model.plan import Step
    from executor.planning import Planned

ANY = "any"
"""Stands for the device of an action that names none, as long as no cluster is asked."""
EACH = "each"
"""Stands for the devices of a fan-out that names none."""


class Unasked:
    """The fleet where there is no cluster to ask: devices are chosen at the run."""

    def prepare(self, wanted: Collection[Wanted], *, named: Collection[str], least: int, most: int) -> None:
        """Nothing is known beforehand."""

    def place(self, wanted: Wanted, beside: Sequence[Beside] = (), *, in_turn: bool = False) -> Placed:  # noqa: ARG002
        """In a sequence beside what comes before, as at the run."""
        near = beside[0].device if beside and in_turn and beside[0].device != EACH else ANY
        return Placed(near, "chosen at the run")

    def select(
        self, labels: Mapping[str, str], agent: str | None, capabilities: Sequence[str]  # noqa: ARG002
    ) -> list[str]:  # fmt: skip
        """Whoever it will be."""
        return [EACH]

    def lacks(self, device: str, capabilities: Sequence[str]) -> str:  # noqa: ARG002
        """Nothing that is known."""
        return ""


def plan(file: Path, *, as_json: bool, config: Path | None) -> int:
    """Show the plan, with the devices of the cluster where one can be reached.

    Raises:
        NoDevice: in that cluster none can do what an action asks.
        StrategyInvalid: with everything that is wrong.
    """
    from executor.catalogue import InstalledCatalogue
    from executor.cli.connecting import settings
    from executor.cli.strategies import read_strategy
    from executor.planning import make_plan

    strategy, _, _ = read_strategy(file)
    found = settings(config)
    fleet = _fleet(found)
    if isinstance(fleet, Unasked) and strategy.rollback is not None:
        # the devices for which it names instances are not known
        strategy = strategy.model_copy(update={"rollback": strategy.rollback.model_copy(update={"actions": None})})
    planned = make_plan(strategy, found, InstalledCatalogue(), lambda: fleet)
    told = {**_as_json(planned), "cluster": not isinstance(fleet, Unasked)}
    if as_json:
        say_json(told)
    else:
        say("\n".join(_tree(told)))
    return 0


def _fleet(found: "Settings") -> "Devices":
    """The devices of the cluster; where there is none to ask, what stands for them."""
    from executor.cli.connecting import find_cluster
    from executor.distribution import Fleet
    from executor.ledger.device_view import NOT_YET
    from executor.model.device import Announcement, Health
    from executor.model.errors import Unreachable

    cluster = find_cluster(found)
    if cluster is None:
        return Unasked()
    try:
        with cluster.client() as client:
            workers, devices = client.workers(), client.devices(cluster.queues())
    except Unreachable as error:
        note(f"warning: {error}; so no devices are chosen here")
        return Unasked()
    return Fleet(
        {one["incarnation"]: Announcement.model_validate(one) for one in workers},
        {one["incarnation"]: one["busy"] for one in workers},
        queued={one["device"]: one["queued"] or 0 for one in devices},
        # whoever was not looked at yet is no worse than others, as for a coordinator
        health={one["device"]: Health.model_validate(one) for one in devices if one["reasons"] != [NOT_YET]},
        drained=[one["device"] for one in devices if one["drained"]],
    )


def _as_json(planned: "Planned") -> dict[str, Any]:
    stages = [
        {
            "stage": number,
            "kind": stage.kind,
            "name": stage.name,
            "canvas": "chain" if stage.kind == "sequence" else "chord",
            "messages": [
                {
                    "device": device,
                    "queue": _queue(device),
                    "actions": [_action(planned.steps[name]) for name in message],
                }
                for message, device in zip(stage.messages, stage.queues, strict=True)
            ],
            "verify": list(stage.verify),
        }
        for number, stage in enumerate(planned.plan.stages)
    ]
    return {
        "strategy": planned.plan.strategy,
        "devices": planned.devices,
        "parallel": planned.parallel,
        "timeout_s": planned.timeout_s,
        "rollback": planned.rollback,
        "stages": stages,
        "success_criteria": list(planned.plan.success_criteria),
    }


def _queue(device: str) -> str | None:
    from config.queues import device_queue

    return None if device in (ANY, EACH) else device_queue(device)


def _action(step: "Step") -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": step.id,
        "uses": step.call.uses,
        "device": None if step.device in (ANY, EACH) else step.device,
        "placed": step.placed or None,
    }
    if step.fan_out is not None:
        told["fan_out"] = {"of": step.fan_out.of, "at_once": step.fan_out.at_once or None}
    return told


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _tree(told: dict[str, Any]) -> Iterator[str]:
    count = sum(len(message["actions"]) for stage in told["stages"] for message in stage["messages"])
    yield (
        f"{told['strategy']}: {_counted(count, 'action')} in {_counted(len(told['stages']), 'stage')} "
        f"on {', '.join(told['devices'])}; at most {told['parallel']} at once, {told['timeout_s']:g} s in all"
    )
    if not told["cluster"] and {ANY, EACH} & set(told["devices"]):
        yield "├─ no cluster was asked: devices that are not named are chosen at the run"
    for stage in told["stages"]:
        name = f" {stage['name']!r}" if stage["name"] else ""
        what = "one after the other" if stage["kind"] == "sequence" else "side by side"
        yield f"├─ stage {stage['stage']}{name}: {stage['canvas']}, {what}{_at_once(stage)}"
        for message in stage["messages"]:
            yield from _message(message)
        for condition in stage["verify"]:
            yield f"│  ├─ verify: {condition}"
        yield "│  └─ advance"
    for criterion in told["success_criteria"]:
        yield f"├─ must hold: {criterion}"
    back = "nothing is taken back" if told["rollback"] == "none" else "what was done is taken back, newest first"
    yield f"└─ when it fails: {back} ({told['rollback']})"


def _at_once(stage: dict[str, Any]) -> str:
    """``restart on at most 2 at once`` of each fan-out that rolls."""
    found = [one["fan_out"] for message in stage["messages"] for one in message["actions"] if "fan_out" in one]
    rolling = {one["of"]: one["at_once"] for one in found if one["at_once"]}
    return "".join(f"; {of} on at most {_counted(count, 'device')} at once" for of, count in rolling.items())


def _message(message: dict[str, Any]) -> Iterator[str]:
    listed = ", ".join(f"{one['id']} ({one['uses']})" for one in message["actions"])
    fused = f", {len(message['actions'])} fused" if len(message["actions"]) > 1 else ""
    nobody = "each device that fits" if message["device"] == EACH else "the least loaded device that can"
    yield f"│  ├─ message to {message['queue'] or nobody}{fused}: {listed}"
    for one in message["actions"]:
        if one["placed"] and one["device"]:
            yield f"│  │     {one['id']} there: {one['placed']}"
