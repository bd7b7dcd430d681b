"""How many worker processes a device should have: pure.

More as soon as work waits too long or too much of it does; fewer only when there was little to do for a while. Between
the two lies what changes nothing, so that the number does not swing.
"""

import math
from dataclasses import dataclass, replace

STEADY_S = 3.0
"""After a change nothing is changed for so long: what it did has to be seen first."""


@dataclass(frozen=True)
class Bounds:
    """What was set."""

    least: int
    most: int
    depth: int
    """Waiting messages for each process from which on there are too few."""
    wait_s: float
    """Longest time that an action should wait for a worker."""
    idle_s: float
    """After so long with room to spare one process ends."""

    @property
    def fixed(self) -> bool:
        """Nothing is to be decided."""
        return self.least >= self.most


@dataclass(frozen=True)
class Load:
    """What was seen at one look."""

    wanted: int
    """Processes that there are to be."""
    registered: int
    """Those that serve the device by now."""
    room: int
    """Actions that one process runs at once."""
    running: int
    waiting: int
    """Messages that nobody has taken."""
    oldest_s: float
    """For how long the first of them has waited."""


@dataclass(frozen=True)
class Past:
    """What has to be remembered of earlier looks."""

    changed_at: float = -math.inf
    """When the number was changed last, by a monotonic clock."""
    spare_since: float | None = None
    """Since when one process fewer would have done; None: it would not."""


def decide(load: Load, bounds: Bounds, past: Past, now: float) -> tuple[int, Past]:
    """How many processes there are to be, and what is to be remembered until the next look.

    A device that a person has taken out (no process is wanted) stays out.
    """
    if load.wanted == 0:
        return 0, Past()
    within = max(bounds.least, min(bounds.most, load.wanted))
    past = replace(past, spare_since=_spare_since(load, past, now))
    if now - past.changed_at < STEADY_S or load.registered < min(load.wanted, within):
        return load.wanted, past  # those that were asked for last are not there yet
    if within != load.wanted:
        return within, Past(now)
    if load.wanted < bounds.most and _too_few(load, bounds):
        return min(bounds.most, max(load.wanted + 1, math.ceil(load.waiting / bounds.depth))), Past(now)
    spare = past.spare_since is not None and now - past.spare_since >= bounds.idle_s
    if load.wanted > bounds.least and spare:
        return load.wanted - 1, Past(now)
    return load.wanted, past


def _too_few(load: Load, bounds: Bounds) -> bool:
    return load.waiting > 0 and (load.waiting > bounds.depth * load.wanted or load.oldest_s > bounds.wait_s)


def _spare_since(load: Load, past: Past, now: float) -> float | None:
    """One fewer would have been at most half busy, with nothing waiting."""
    spare = load.waiting == 0 and load.running * 2 <= load.room * (load.wanted - 1)
    return (now if past.spare_since is None else past.spare_since) if spare else None
