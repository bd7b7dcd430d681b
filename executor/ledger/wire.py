"""Between our models and the plain text of the ledger, for every implementation alike.

What users wrote stays JSON text all the way: no script decodes it, so that big integers and empty lists come back as
they went in.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from executor.model.device import Announcement, Health, Vitals
from executor.model.errors import DeclaredDead, DeviceTaken, IncompatibleVersion
from executor.model.execution import FINAL, Answer, Claimed, Ended, Outgoing, readable_all
from executor.model.plan import Plan, Step, rules
from executor.model.state import Known, Synchronization

Lease = tuple[str, int, str]
"""Execution, generation, action."""

EFFECTS = ("none", "started", "unknown", "completed")
"""From best to worst; `completed` is worst because it certainly has to be taken back."""


def written(plan: Plan, steps: dict[str, Step]) -> list[str]:
    """Steps and their rules as arguments of a script: id, step, rule, id, ..."""
    flat: list[str] = []
    for name, rule in rules(plan, steps).items():
        flat += [name, steps[name].model_dump_json(exclude_defaults=True), json.dumps(rule)]
    return flat


def outcome_of(ended: Ended) -> str:
    """The inside of the outcome's JSON object, as the scripts store it and put it into events.

    Raises:
        ValueError: it is no end that an attempt can have, or its result is no JSON.
    """
    if ended.status != "retry" and ended.status not in FINAL:
        raise ValueError(f"an attempt cannot end as {ended.status!r}")
    if ended.effect not in EFFECTS:
        raise ValueError(f"an effect is one of {', '.join(EFFECTS)}, not {ended.effect!r}")
    if ended.error is not None:
        return '"error":' + json.dumps(ended.error)
    if ended.reason:
        return '"reason":' + json.dumps(ended.reason)
    return '"result":' + json.dumps(ended.result, allow_nan=False)


def outgoing(flat: list[str]) -> list[Outgoing]:
    return [Outgoing(flat[i], json.loads(flat[i + 1])) for i in range(0, len(flat), 2) if flat[i + 1]]


def fraction_of(fraction: float) -> str:
    """A progress that JSON can hold, between 0 and 1."""
    return f"{0.0 if math.isnan(fraction) else min(1.0, max(0.0, fraction)):.4f}"


def lease(member: str) -> Lease:
    execution, generation, action = member.split("|", 2)
    return execution, int(generation), action


def synchronization_parts(devices: Sequence[str], text: str, execution: str | None) -> list[str]:
    """The first arguments of the script that synchronises: the same document for the same devices has the same id."""
    about, named = json.dumps(execution), json.dumps(devices)
    name = hashlib.sha256("\0".join((about, named, text)).encode()).hexdigest()[:32]
    return [name, about, text, hashlib.sha256(text.encode()).hexdigest(), named]


def known_of(version: Any, acknowledged: Any, at_ms: Any) -> Known:
    return Known(int(version or 0), int(acknowledged or 0), int(at_ms or 0))


def synchronization_of(version: int, devices: Sequence[str], rows: Sequence[Any]) -> Synchronization:
    """What a script that synchronises says of each device, three parts each."""
    return Synchronization(version, {one: known_of(*rows[3 * n : 3 * n + 3]) for n, one in enumerate(devices)})


def _rows(reads: list[list[str]]) -> Iterator[list[str]]:
    """What a claim hands over of other actions; those of a fan-out come as one text."""
    for name, *fields in reads:
        if name:
            yield [name, *fields]
        else:
            yield from json.loads(fields[0])


def claim_answer(execution: str, generation: int, got: list[Any]) -> Claimed | Answer:
    """The reply of a script that claims."""
    if got[0] != "run":
        return Answer(got[0], got[1] if len(got) > 1 else "", got[2] if len(got) > 2 else "")
    _, _, token, attempt, mode, spec, strategy, inputs, context, reads, about, undo, undo_fallback, now, device = got
    step = Step.model_validate_json(spec)
    if device != step.device:
        step = step.model_copy(update={"device": device})
    undone: dict[str, Any] = {}
    if step.undoes is not None:
        outcome = json.loads(about[0]) if about[0] else {}
        undone = {
            "result": outcome.get("result"),
            "error": outcome.get("error") or (json.loads(about[2]) if about[2] else None),
            "snapshot": json.loads(about[1]) if about[1] else None,
        }
    return Claimed(
        execution=execution, generation=generation, token=token, attempt=int(attempt), probe=mode == "probe",
        step=step, strategy=strategy, inputs=json.loads(inputs) if inputs else {},
        context=json.loads(context) if context else {}, reads=readable_all(_rows(reads)),
        undone=undone, undo=json.loads(undo) if undo else None,
        undo_fallback=json.loads(undo_fallback) if undo_fallback else None,
        now_ms=int(now),
    )  # fmt: skip


def registered(incarnation: str, announced: Announcement, got: list[Any]) -> None:
    """The reply of a script that registers.

    Raises:
        DeviceTaken, IncompatibleVersion, DeclaredDead: it refuses.
    """
    if got[0] == "taken":
        raise DeviceTaken(got[1], got[2], got[3], int(got[4]))
    if got[0] == "protocol":
        raise IncompatibleVersion(announced.protocol, announced.version, int(got[1]))
    if got[0] == "fenced":
        raise DeclaredDead(incarnation)


def health_text(health: Health) -> str:
    """As the scripts store it; since when it is so, they add themselves."""
    return health.model_dump_json(exclude={"since_ms"})


def vitals_text(vitals: Vitals | None) -> str:
    return "" if vitals is None else vitals.model_dump_json(exclude_defaults=True)
