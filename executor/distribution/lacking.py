"""Why no device can do what is asked, in words that say what there is instead."""

from collections.abc import Iterable, Mapping, Sequence

from executor.distribution.devices import Candidate
from executor.model.placement import Wanted

_MANY = 12
_FEW = 4


def offer_of(wanted: Wanted) -> str:
    """What a device must have: ``offer command and announce gpu``."""
    parts = [f"offer {wanted.uses[0]}"] if wanted.uses else []
    if wanted.capabilities:
        parts.append(f"announce {', '.join(wanted.capabilities)}")
    if wanted.agent:
        parts.append(f"are agents of kind {wanted.agent}")
    return " and ".join(parts)


def why_none(wanted: Wanted, devices: Iterable[Candidate]) -> str:
    """What stands in the way: the first of what is asked that no device has, and what there is of that kind."""
    known = list(devices)
    living = [one for one in known if not one.drained]
    told = _why(wanted, living)
    if able := [one.name for one in known if one.drained and one.can(wanted)]:
        told += f"; {_listed(able)} could, but {'is' if len(able) == 1 else 'are'} drained"
    elif drained := [one.name for one in known if one.drained]:
        told += f"; {_listed(drained)} {'is' if len(drained) == 1 else 'are'} drained"
    return f"{told}. {_remedy(wanted)}"


def _remedy(wanted: Wanted) -> str:
    options = f" --agent {wanted.agent}" if wanted.agent else ""
    for name in wanted.capabilities:
        options += f" --label {name}" if "=" in name else f" --capability {name}"
    return f"Start a worker that can do it, such as `rex worker --device ID{options}`, or ask for something else"


def _why(wanted: Wanted, living: Sequence[Candidate]) -> str:
    what = f" for {wanted.uses[0]}" if wanted.uses else ""
    if not living:
        return f"there is no living device{what}"
    left = [one for one in living if wanted.agent in (None, one.agent)]
    if not left:
        kinds = _grouped((one.agent, one.name) for one in living if one.agent)
        return f"no living device is an agent of kind {wanted.agent!r}: {kinds or 'there is no agent at all'}"
    if missing := [name for name in wanted.capabilities if not any(name in one.announced for one in left)]:
        return "; ".join([*_no_label(missing, left), *_no_capability(missing, left)])
    named = [one for one in left if one.announced.issuperset(wanted.capabilities)]
    if not named:
        lacks = [f"{one.name} lacks {', '.join(sorted(set(wanted.capabilities) - one.announced))}" for one in left]
        return f"no living device has all of {', '.join(wanted.capabilities)}: {_listed(lacks, _FEW)}"
    counted = f"{len(named)} living device{'s' * (len(named) != 1)}"
    lacking = [uses for uses in wanted.uses if not any(uses in one.actions for one in named)]
    if not lacking:
        return f"no living device offers all of {', '.join(wanted.uses)}: there {_are(named)} {counted}"
    return f"no living device offers {', '.join(lacking)}: there {_are(named)} {counted}"


def _are(some: Sequence[object]) -> str:
    return "is" if len(some) == 1 else "are"


def _no_label(missing: Iterable[str], living: Sequence[Candidate]) -> Iterable[str]:
    for label in (name for name in missing if "=" in name):
        name = label.partition("=")[0]
        labels = [(each, one.name) for one in living for each in sorted(one.announced) if "=" in each]
        same = [(each, device) for each, device in labels if each.partition("=")[0] == name]
        there = _grouped(same) or _grouped(labels) or "none has a label"
        yield f"no living device has the label {label}: {there}"


def _no_capability(missing: Iterable[str], living: Sequence[Candidate]) -> Iterable[str]:
    if plain := [name for name in missing if "=" not in name]:
        there = _grouped((each, one.name) for one in living for each in sorted(one.announced) if "=" not in each)
        yield f"no living device announces {', '.join(plain)}: {there or 'none announces any capability'}"


def _grouped(pairs: Iterable[tuple[str | None, str]]) -> str:
    """``there are zone=eu (edge-1, edge-2), zone=us (edge-3)``; empty where there is nothing."""
    by_name: dict[str, list[str]] = {}
    for name, device in pairs:
        by_name.setdefault(str(name), []).append(device)
    listed = [f"{name} ({_listed(by_name[name], _FEW)})" for name in sorted(by_name)]
    return f"there {_are(listed)} {_listed(listed)}" if listed else ""


def _listed(names: Sequence[str], most: int = _MANY) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def announced_by(device: Candidate) -> str:
    """What a device announces, for people."""
    return _listed(sorted(device.announced)) or "nothing"


def too_few(living: Mapping[str, Candidate], least: int) -> str:
    """Fewer devices live than ``distributed.min_devices`` asks for."""
    names = [one.name for one in living.values() if not one.drained]
    there = f"{len(names)} ({_listed(names)})" if names else "none"
    return (
        f"fewer devices live than distributed.min_devices asks for: {there} of {least}. "
        "Start more with `rex worker --device ID`, or lower distributed.min_devices"
    )


def too_wide(wanted: Iterable[Wanted], most: int) -> str:
    """No `most` devices together can do all of that."""
    asked = "; ".join(dict.fromkeys(offer_of(one) for one in wanted))
    return (
        f"an execution may use {most} device{'s' * (most != 1)} that it does not name (distributed.max_devices; one "
        f"where distributed.enabled is false), and no such few can do all that is asked for: devices that {asked}. "
        "Name devices in the strategy, or raise distributed.max_devices"
    )
