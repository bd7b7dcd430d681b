"""Every event: its name, what it says, and the fields of its ``data``.

Each is written by the ledger's script that makes the change (executor/ledger/lua), to the stream of its execution and
to the common one; those of devices belong to no execution, and have a stream of their own. A test holds that this table
and the scripts name the same events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from executor.model.execution import TERMINAL


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of event."""

    name: str
    meaning: str
    data: Mapping[str, str] = field(default_factory=dict)
    """Field to what stands in it; a name that ends in ``?`` is not always there."""


_STRATEGY = {"strategy": "name of the strategy"}
_ENDED = {**_STRATEGY, "success": "whether it completed", "error": "the error that ended it, or null"}
_ACTION = {"action": "id of the action; `snapshot/N`: what is saved before the first action"}
_STEP = {
    "action": "the action that is taken back; `ID/fallback`: its fallback; `snapshot/N`: what was saved is restored; "
    "`verify/N`: a probe of `rollback.verify`"
}
_ERROR = {"error": "what went wrong"}
_LAST = {
    "status": "`succeeded`, `failed`, `timed_out`, `skipped` or `cancelled`",
    "result?": "what it returned",
    "error?": "what went wrong",
    "reason?": "why it was skipped, or never began",
}


def _of_actions(prefix: str, what: str, subject: Mapping[str, str]) -> tuple[Event, ...]:
    return (
        Event(f"{prefix}:waiting", f"No living worker serves the device of {what}.", {**subject, **_ERROR}),
        Event(
            f"{prefix}:started",
            f"A worker began an attempt at {what}.",
            {
                **subject,
                "device": "where it runs",
                "attempt": "from 1",
                "mode": "`execute`; `probe`: a former holder died, and it is found out first whether it was done",
            },
        ),
        Event(
            f"{prefix}:progress",
            f"How far {what} is, as its type reports it.",
            {**subject, "fraction": "0.0 to 1.0", "message": "text, may be empty"},
        ),
        Event(
            f"{prefix}:retrying",
            f"An attempt at {what} failed, and there will be another.",
            {**subject, "attempt": "the one that failed", "delay_ms": "until the next", **_ERROR},
        ),
        Event(
            f"{prefix}:interrupted",
            f"The worker that ran {what} is gone; another takes over.",
            {**subject, **_ERROR},
        ),
        Event(
            f"{prefix}:moved",
            f"{_upper(what)} goes to another device, as its own is lost or drained.",
            {**subject, "from": "the device that it was on", "to": "the other one", "reason": "text"},
        ),
        Event(f"{prefix}:completed", f"{_upper(what)} succeeded.", {**subject, **_LAST}),
        Event(f"{prefix}:failed", f"{_upper(what)} failed or timed out, for good.", {**subject, **_LAST}),
        Event(f"{prefix}:skipped", f"{_upper(what)} had nothing to do.", {**subject, **_LAST}),
        Event(f"{prefix}:cancelled", f"{_upper(what)} was ended, or kept from beginning.", {**subject, **_LAST}),
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


_THOUGHT = {"device": "its id", "state": "healthy, degraded, unhealthy or unknown", "reasons": "in plain words"}
_OF_DEVICES = (
    Event(
        "distributed:topology:changed",
        "Devices have got their first worker, or lost their last.",
        {"joined": "devices that are served now", "left": "devices that are not served any more"},
    ),
    Event(
        "distributed:device:failed",
        "The last worker of a device was declared dead; of an execution: something of it goes on without that device.",
        {"device": "its id", "error": "which worker died, or what is said of the device"},
    ),
    Event(
        "distributed:device:replaced",
        "A device came back with another store: what its former one saved is not there.",
        {
            "device": "its id",
            "host": "who serves it now",
            "store": "id of the new store",
            "former": "`host` and `store`",
        },
    ),
    Event(
        "distributed:device:available",
        "A device may be given work again: it was not known, not served, or unhealthy.",
        _THOUGHT,
    ),
    Event(
        "distributed:device:unavailable",
        "A device is unhealthy, or nobody serves it any more.",
        _THOUGHT,
    ),
    Event(
        "distributed:device:drained",
        "A person or a service has a device given nothing new.",
        {"device": "its id", "by": "who", "reason": "why; may be empty"},
    ),
    Event("distributed:device:undrained", "A device is given work again.", {"device": "its id", "by": "who"}),
    Event(
        "system:resource:depleted",
        "A device uses more of a resource than its threshold.",
        {"device": "its id", "resource": "`cpu`, `memory` or `disk`", "percent": "used", "threshold": "percent"},
    ),
    Event(
        "system:resource:available",
        "It uses less again.",
        {"device": "its id", "resource": "`cpu`, `memory` or `disk`"},
    ),
)

EVENTS: tuple[Event, ...] = (
    Event("execution:submitted", "A strategy was accepted; from here on it is not lost.", _STRATEGY),
    Event("execution:waiting", "It cannot begin yet.", {"reason": "what it waits for"}),
    Event("execution:started", "It is planned, and its first stage is about to open.", _STRATEGY),
    Event(
        "distributed:execution:started",
        "It is planned on more than one device.",
        {"devices": "their ids"},
    ),
    Event(
        "execution:stage:started",
        "A stage opened: its actions may be claimed.",
        {"generation": "0 forward, 1 back", "stage": "from 0", "actions": "how many it has"},
    ),
    *_of_actions("execution:action", "an action", _ACTION),
    Event(
        "execution:stopping",
        "No action begins any more; what runs is ended, or left to finish.",
        {
            "mode": "`rollback`: what was done is taken back; `stop`: it stays; of a rollback `cut`: its time is over, "
            "`halt`: what must hold between two phases does not",
            "error": "why",
        },
    ),
    Event(
        "rollback:started",
        "Nothing runs any more; what was done is being taken back.",
        {"reason": "the error; of a rollback that somebody asked for later, who asked"},
    ),
    Event(
        "rollback:waiting",
        "A guided rollback waits for a person's choice.",
        {
            "wait_ms": "how long, until the configured default is taken",
            "offer": "for each action what its undo would do, and what can be chosen",
        },
    ),
    Event(
        "rollback:chosen",
        "A person has chosen what is undone, kept, or tried again.",
        {"by": "who", "choices": "by action: `undo`, `keep` or `retry`"},
    ),
    Event(
        "rollback:planned",
        "The mechanism is chosen, and the way back begins.",
        {
            "steps": "how many the way back has",
            "chosen": "`mechanism`, what was `asked`, `reasons`, `estimates` of each way, what is `kept`, `by` whom",
        },
    ),
    Event(
        "execution:resumed",
        "A person lets a guided one go on: what had failed runs again.",
        {"by": "who", "actions": "how many actions of its stage run"},
    ),
    *_of_actions("rollback:action", "a step of the way back", _STEP),
    Event(
        "rollback:completed",
        "The rollback went through to its end.",
        {"success": "whether nothing is left", "status": "`completed`; `partial`: something is left; `disabled`"},
    ),
    Event("rollback:failed", "A probe of `rollback.verify` did not hold after the rollback.", {"error": "text"}),
    Event(
        "distributed:synchronization:completed",
        "All devices of a synchronisation have its document; none where all had acknowledged it before.",
        {
            "devices": "their ids",
            "version": "of the document: the highest of any of them",
            "executionId": "for which it was done, or null",
        },
    ),
    Event(
        "distributed:execution:completed",
        "One that was planned on more than one device has ended; how, says the next event.",
        {"results": "by device how many actions ended as `succeeded`, `failed`, `timed_out`, `skipped`, `cancelled`"},
    ),
    Event("execution:completed", "It reached its goal.", _ENDED),
    Event("execution:failed", "It did not reach its goal.", _ENDED),
    Event("execution:cancelled", "A person or a service ended it.", _ENDED),
    Event("execution:refused", "Nothing ran: the strategy or its inputs are wrong.", _ENDED),
    Event("execution:rolled_back", "A completed one was taken back, as somebody asked.", _ENDED),
    *_OF_DEVICES,
)
"""In the order in which a run meets them."""

BY_NAME: Mapping[str, Event] = {event.name: event for event in EVENTS}

LAST_EVENTS = frozenset(f"execution:{state}" for state in TERMINAL)
"""After one of them there is no other of that execution, unless somebody has it taken back later."""

ENVELOPE: Mapping[str, str] = {
    "id": "of this event, unique",
    "seq": "number within its execution, from 1, without gaps",
    "event": "its name",
    "executionId": "the execution; `fleet`: it belongs to none, and `seq` counts those of the fleet",
    "timestamp": "milliseconds since 1970 by the server's clock, UTC",
    "data": "what the tables below say",
}
"""What every event has."""
