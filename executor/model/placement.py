"""What planning asks of the fleet, and what it is answered."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Wanted:
    """What an action asks of the device that it runs on."""

    uses: tuple[str, ...]
    """Its type first, then those of its fallback and of its ways back."""
    agent: str | None = None
    """The kind of agent that the device must be."""
    capabilities: tuple[str, ...] = ()
    """What the device must announce; ``name=value`` stands for a label."""


@dataclass(frozen=True)
class Beside:
    """A device that something related runs on."""

    device: str
    why: str
    """``configure, which it needs``."""


@dataclass(frozen=True)
class Placed:
    """The device that was chosen, and why, for people."""

    device: str
    why: str


class Devices(Protocol):
    """The fleet at the time of planning."""

    def prepare(self, wanted: Collection[Wanted], *, named: Collection[str], least: int, most: int) -> None:
        """Look at everything that will be asked, so that no choice takes the place of a later one.

        Args:
            wanted: all that `place` will be asked for.
            named: devices that the strategy names.
            least: fewer living devices than that, and nothing begins.
            most: over how many devices `place` may spread.

        Raises:
            NoDevice: fewer than `least` live, or `most` are too few for all of `wanted`.
        """

    def place(self, wanted: Wanted, beside: Sequence[Beside] = (), *, in_turn: bool = False) -> Placed:
        """The device for one action.

        Args:
            wanted: what it asks for.
            beside: devices that are preferred, the most related first.
            in_turn: it runs when those placed before have ended, so that it takes no room beside them.

        Raises:
            NoDevice: none can do it.
        """

    def select(self, labels: Mapping[str, str], agent: str | None, capabilities: Sequence[str]) -> list[str]:
        """Every living device that is not drained and has all of these, sorted.

        Raises:
            NoDevice: there is none; the message says what there is.
        """

    def lacks(self, device: str, capabilities: Sequence[str]) -> str:
        """What a living device does not announce, and what it does, for people; empty where it has all of it, or is
        not known."""
