"""Which device does what: the fleet as the ledger knows it, and the choice of the least loaded."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from executor.model.errors import RexError


class NoDevice(RexError):
    """No living device offers an action type."""

    def __init__(self, uses: str, devices: int) -> None:
        living = f"{devices} living device{'s' * (devices != 1)}" if devices else "no living device at all"
        super().__init__(
            f"no device offers {uses}: there is {living}. Start a worker that has it, such as "
            "`rex worker --device ID`, or name a device in the strategy"
        )


class Fleet:
    """Living devices with what they offer and how loaded they are; one per planning."""

    def __init__(self, workers: Mapping[str, Mapping[str, Any]], busy: Mapping[str, int]) -> None:
        """
        Args:
            workers: living workers by incarnation, as they announced themselves.
            busy: how many actions each of them holds.
        """
        self._offers: dict[str, set[str]] = {}
        self._load: Counter[str] = Counter()
        self._room: Counter[str] = Counter()
        for name, worker in workers.items():
            for device in worker["devices"]:
                self._offers.setdefault(device, set()).update(worker["actions"])
                self._load[device] += busy.get(name, 0)
                self._room[device] += worker["concurrency"]

    @property
    def devices(self) -> set[str]:
        return set(self._offers)

    def place(self, uses: str, near: str | None) -> str:
        """The least loaded device that offers `uses`; `near` when it does, so that neighbours stay together.

        Raises:
            NoDevice: none offers it.
        """
        if near is not None and uses in self._offers.get(near, ()):
            return near
        able = [device for device, offered in self._offers.items() if uses in offered]
        if not able:
            raise NoDevice(uses, len(self._offers))
        chosen = min(able, key=lambda device: (self._load[device] / max(1, self._room[device]), device))
        self._load[chosen] += 1
        return chosen
