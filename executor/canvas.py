"""A stage as a Celery canvas, by task names; knows no worker code.

A sequence is a chain, a group is a chord. Each ends in one plain task, `advance`, and carries one bound error callback,
`rollback.begin`: a bound one is always enqueued, an unbound one would run inside the failing worker.
"""

from collections.abc import Collection, Mapping
from typing import Any

from celery import Celery, chain, chord, group
from celery.canvas import Signature

from config.queues import CONTROL, device_queue
from executor import task_names
from executor.model.fan_out import action_of
from executor.model.plan import Plan, message_id


def shown_name(strategy: str, actions: Collection[str], device: str, *, generation: int = 0) -> str:
    """What Flower shows as the name of a message."""
    listed = list(actions)
    what = _shown_step(listed[0], generation)
    more = f" +{len(listed) - 1}" if len(listed) > 1 else ""
    return f"{strategy} / {what}{more} @ {device}"


def shown_arguments(strategy: str, actions: Collection[str], device: str, attempt: int, *, generation: int = 0) -> str:
    """What Flower shows as the arguments of a message."""
    shown = ", ".join(_shown_step(action, generation) for action in actions)
    return f"(strategy={strategy}, action={shown}, device={device}, attempt={attempt})"


def _shown_step(step: str, generation: int) -> str:
    """``snapshot 1``; a step of the way back says so: ``undo restart``, ``restore snapshot 1``, ``verify 1``.

    An instance of a fan-out is called as its action: beside it stands the device.
    """
    name, _, of = step.partition("/")
    name = action_of(name)
    if name in ("verify", "snapshot") and of:
        return f"restore {name} {of}" if name == "snapshot" and generation > 0 else f"{name} {of}"
    if generation == 0:
        return name
    return f"undo fallback of {name}" if of else f"undo {name}"


def stage_canvas(
    app: Celery,
    plan: Plan,
    execution: str,
    generation: int,
    number: int,
    *,
    only: Collection[str] | None = None,
    moved: Mapping[str, str] | None = None,
) -> Signature:
    """The canvas of stage `number`, ready to be sent; the same ids however often it is made.

    Args:
        app: the app by whose names the tasks go.
        plan: the plan of that generation.
        execution: its id.
        generation: 0 forward, 1 back.
        number: which stage.
        only: when given, publish again only the messages in which one of these actions is next, whose own were lost;
            of a sequence also what follows.
        moved: devices of actions that were moved away from where the plan has them.
    """
    stage = plan.stages[number]
    messages: list[Signature] = []
    for actions, planned in zip(stage.messages, stage.queues, strict=True):
        lost = [name for name in actions if only is not None and name in only]
        if only is not None and not lost and not (messages and stage.kind == "sequence"):
            continue
        rest = actions[actions.index(lost[0]) :] if lost else actions
        device = (moved or {}).get(rest[0], planned)
        messages.append(
            app.signature(task_names.RUN, args=(execution, generation, list(rest)), immutable=True).set(
                task_id=message_id(execution, generation, number, rest[0]),
                queue=device_queue(device),
                shadow=shown_name(plan.strategy, rest, device, generation=generation),
                argsrepr=shown_arguments(plan.strategy, rest, device, 1, generation=generation),
            )
        )
    advance = app.signature(
        task_names.ADVANCE,
        args=(execution, generation, number),
        immutable=True,
        options={
            # no step can be called that: none begins with a slash
            "task_id": message_id(execution, generation, number, "/advance"),
            "queue": CONTROL,
            "shadow": f"{plan.strategy} / advance to stage {number + 1}",
        },
    )
    errback = _error_callback(app, plan.strategy, execution)
    if stage.kind == "sequence":
        canvas = chain(*messages, advance)
        canvas.link_error(errback)
        return canvas
    if only is not None:
        # members published again carry no chord: the ledger counts, and sends `advance` itself
        return group(messages, app=app)
    body = advance
    body.link_error(errback)
    return chord(messages, body, app=app)


def _error_callback(app: Celery, strategy: str, execution: str) -> Signature:
    return app.signature(
        task_names.BEGIN_ROLLBACK,
        args=(execution,),
        immutable=True,
        # whoever publishes a task whose result is kept subscribes to that result
        options={"queue": CONTROL, "shadow": f"{strategy} / begin rollback", "ignore_result": True},
    )


def parked_message(signature: dict[str, Any], attempt: int | None = None) -> dict[str, Any]:
    """A parked message as it goes out again; shows which attempt it is."""
    if attempt is not None:
        options = signature["options"]
        shown = str(options.get("argsrepr") or "")
        head, found, _ = shown.rpartition("attempt=")
        if found:
            options["argsrepr"] = f"{head}attempt={attempt})"
    return signature
