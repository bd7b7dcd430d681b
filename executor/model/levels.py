"""Needs as levels: what is in one level may run side by side."""

from collections import deque
from collections.abc import Mapping, Sequence


def levels(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The level of each name, from 0: one above the highest of those that it needs.

    Args:
        needs: what each name needs; every name that is needed is a key itself.

    Returns:
        Levels by name; names that stand in a circle of needs, or behind one, have none.
    """
    waiting = {name: len(needed) for name, needed in needs.items()}
    followers: dict[str, list[str]] = {name: [] for name in needs}
    for name, needed in needs.items():
        for one in needed:
            followers[one].append(name)
    ready = deque(name for name, count in waiting.items() if count == 0)
    found = dict.fromkeys(ready, 0)
    while ready:
        done = ready.popleft()
        for name in followers[done]:
            waiting[name] -= 1
            if waiting[name] == 0:
                found[name] = max(found[one] for one in needs[name]) + 1
                ready.append(name)
    return found
