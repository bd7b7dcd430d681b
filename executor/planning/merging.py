"""What an action takes over from ``defaults``, where that stands, and what it needs."""

from executor.model.strategy import Action, Defaults, Need, Strategy

_PLACES = frozenset({"device", "devices", "max_unavailable"})


def merged(action: Action, defaults: Defaults | None) -> Action:
    """The action with every field that it does not say itself; one that says where it runs takes over no place."""
    if defaults is None:
        return action
    said = {name for name in action.model_fields_set if getattr(action, name) is not None}
    taken = {"uses"} | (_PLACES if "device" in said else {"device"} if "devices" in said else set())
    names = [name for name in defaults.model_fields_set if getattr(defaults, name) is not None]
    filled = {name: getattr(defaults, name) for name in names if name not in said and name not in taken}
    return action.model_copy(update=filled) if filled else action


def needs_of(action: Action) -> list[tuple[str, bool]]:
    """The needs of an action: id, and whether it is enough that it ended."""
    return [
        (need.id, need.require == "ended") if isinstance(need, Need) else (need, False) for need in action.needs or []
    ]


def path_of(strategy: Strategy, action: Action, field: str) -> str:
    """The path of a field in the strategy, as a problem names it; of one that was taken over, that in ``defaults``."""
    # what was taken over is the very same value
    if strategy.defaults is not None and getattr(strategy.defaults, field) is getattr(action, field):
        return f"defaults.{field}"
    for number, phase in enumerate(strategy.phases or ()):
        for index, one in enumerate(phase.actions):
            if one.id == action.id:
                return f"phases[{number}].actions[{index}].{field}"
    ids = [one.id for one in strategy.actions or ()]
    return f"actions[{ids.index(action.id)}].{field}" if action.id in ids else f"{action.id}.{field}"
