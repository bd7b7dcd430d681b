"""Giving devices a document: settings, policies, feature flags; checked, written to the ledger, waited for."""

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from executor.model.device import Announcement
from executor.model.errors import ActionError
from executor.model.secrets import mentions_secret
from executor.model.state import Known, Synchronization
from executor.model.strategy import DeviceId
from executor.results import check_json

Json = dict[str, Any]

MAX_STATE_BYTES = 256 * 1024
MAX_DEVICES = 10_000
WAIT_S = 5.0
"""Default of ``distributed.synchronization_interval``."""
_LOOK_S = 0.05
_KNOWS_STATES = 2
"""Protocol from which on workers take documents."""
_DEVICE: TypeAdapter[str] = TypeAdapter(DeviceId)


class StatesLedger(Protocol):
    """What is needed of the ledger."""

    def synchronize(self, devices: Iterable[str], text: str, *, execution: str | None = None) -> Synchronization: ...
    def known(self, devices: Iterable[str]) -> dict[str, Known]: ...
    def workers(self) -> Mapping[str, Announcement]: ...


def state_text(state: object) -> str:
    """A document as it is kept: the same text for the same content.

    Raises:
        ValueError: it is no map, holds what is not JSON or names a secret, or is too large.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"a state is a map of names to values, not {type(state).__name__}")  # noqa: TRY004 - one for all
    plain = dict(state)
    try:
        check_json(plain, "state")
    except ActionError as error:
        raise ValueError(str(error)) from None
    if (path := _secret_in(plain, "state")) is not None:
        raise ValueError(
            f"{path} names a secret, which a state may not hold: it is written down as it is. "
            "Let the action read the secret where it is used"
        )
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    size = len(text.encode())
    if size > MAX_STATE_BYTES:
        raise ValueError(f"the state is {size} bytes of JSON, more than {MAX_STATE_BYTES}: put large data into a file")
    return text


def _secret_in(value: Any, path: str) -> str | None:
    """Where a text mentions a secret, if one does."""
    if mentions_secret(value):
        return path
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        inner = [
            pair for name, held in value.items() for pair in ((f"a key of {path}", name), (f"{path}.{name}", held))
        ]
    elif isinstance(value, (list, tuple)):
        inner = [(f"{path}[{number}]", held) for number, held in enumerate(value)]
    return next((found for where, held in inner if (found := _secret_in(held, where)) is not None), None)


def synchronize_state(
    ledger: StatesLedger, devices: Iterable[str] | None, state: object, *, timeout_s: float = WAIT_S,
    execution: str | None = None,
) -> Json:  # fmt: skip
    """Give devices a document, and wait until they have it.

    Args:
        ledger: where it goes.
        devices: their ids; None: all that are served now. Those that nobody serves get it when they are back.
        state: a map of JSON values, up to 256 KB; the same content again is no new version.
        timeout_s: for how many seconds they are waited for.
        execution: for which this is done; stands in the event.

    Returns:
        ``version``, ``complete``, ``devices`` (by id ``version``, ``acknowledged`` and ``reason``), and ``missing``:
        who has not acknowledged it.

    Raises:
        ValueError: the document may not be kept so, or there is no device, or something is no device's id.
        Unreachable: the ledger does not answer.
    """
    text = state_text(state)
    served = _served(ledger)
    listed = sorted(served if devices is None else set(_checked(devices)))
    if not listed:
        raise ValueError("no device is named, and none is served: name one, or start a worker with `rex worker`")
    made = ledger.synchronize(listed, text, execution=execution)
    wanted = {name: known.version for name, known in made.devices.items()}
    until = time.monotonic() + timeout_s
    known = dict(made.devices)
    while _missing(known, wanted) and (left := until - time.monotonic()) > 0:
        time.sleep(min(_LOOK_S, left))
        known = ledger.known(listed)
    return _told(made.version, known, wanted, _served(ledger))


def _checked(devices: Iterable[str]) -> list[str]:
    listed = list(devices)
    if len(listed) > MAX_DEVICES:
        raise ValueError(f"{len(listed)} devices are more than the {MAX_DEVICES} that can be synchronised at once")
    for device in listed:
        try:
            _DEVICE.validate_python(device, strict=True)
        except ValidationError:
            raise ValueError(
                f"{device!r} is no device: letters, digits, dots, dashes and underscores, at most 63"
            ) from None
    return listed


def _served(ledger: StatesLedger) -> dict[str, int]:
    """The devices that are served, each with the newest protocol that a worker of it speaks."""
    found: dict[str, int] = {}
    for worker in ledger.workers().values():
        for device in worker.devices:
            found[device] = max(found.get(device, 0), worker.protocol)
    return found


def _missing(known: Mapping[str, Known], wanted: Mapping[str, int]) -> list[str]:
    return [name for name, version in wanted.items() if known[name].acknowledged < version]


def _told(version: int, known: Mapping[str, Known], wanted: Mapping[str, int], served: Mapping[str, int]) -> Json:
    missing = _missing(known, wanted)
    rows = {
        name: {
            "version": wanted[name],
            "acknowledged": name not in missing,
            "reason": _reason(name, known[name], wanted[name], served) if name in missing else None,
        }
        for name in wanted
    }
    return {"version": version, "complete": not missing, "devices": rows, "missing": missing}


def _reason(name: str, known: Known, wanted: int, served: Mapping[str, int]) -> str:
    if known.version > wanted:
        return f"a newer document, version {known.version}, has taken its place"
    if name not in served:
        return f"no worker serves it; it gets the document when one does: `rex worker --device {name}`"
    if served[name] < _KNOWS_STATES:
        return "its worker is of a release that knows no documents; it gets it from a newer one"
    return "its worker has not acknowledged it in time; its log says why, if it cannot write"
