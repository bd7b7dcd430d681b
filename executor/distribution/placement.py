"""Which device does what: the fleet as the ledger knows it, and the choice of the least loaded."""

import heapq
from collections import Counter
from collections.abc import Mapping

from executor.model.device import Announcement
from executor.model.errors import RexError


class NoDevice(RexError):
    """No living device offers an action type."""

    def __init__(self, uses: str, devices: int, agent: str | None = None) -> None:
        living = f"{devices} living device{'s' * (devices != 1)}" if devices else "no living device at all"
        kind, option = (f" of the agent kind {agent!r}", f" --agent {agent}") if agent else ("", "")
        super().__init__(
            f"no device{kind} offers {uses}: there is {living}. Start a worker that has it, such as "
            f"`rex worker --device ID{option}`, or name a device in the strategy"
        )


class Fleet:
    """Living devices with what they offer and how loaded they are; one per planning."""

    def __init__(self, workers: Mapping[str, Announcement], busy: Mapping[str, int]) -> None:
        """
        Args:
            workers: living workers by incarnation, as they announced themselves.
            busy: how many actions each of them holds.
        """
        self._offers: dict[str, set[str]] = {}
        self._load: Counter[str] = Counter()
        self._room: Counter[str] = Counter()
        self._agents: dict[str, str] = {}
        for name, worker in workers.items():
            for device in worker.devices:
                self._offers.setdefault(device, set()).update(worker.actions)
                self._load[device] += busy.get(name, 0)
                self._room[device] += worker.concurrency
            self._agents.update(worker.agents)
        self._able: dict[tuple[str, str | None], list[tuple[float, str]]] = {}
        """Heaps of the devices that offer a type and are of a kind, each with its load when it was last looked at."""

    @property
    def devices(self) -> set[str]:
        return set(self._offers)

    def place(self, uses: str, near: str | None, agent: str | None = None) -> str:
        """The least loaded device that offers `uses`; `near` when it does, so that neighbours stay together.

        Args:
            uses: the action type.
            near: where the neighbours are.
            agent: only devices of that kind of agent; None: any.

        Raises:
            NoDevice: none offers it.
        """
        if near is not None and self._can(near, uses, agent):
            return near
        if (uses, agent) not in self._able:
            able = [(self._share(name), name) for name in self._offers if self._can(name, uses, agent)]
            heapq.heapify(able)
            self._able[uses, agent] = able
        able = self._able[uses, agent]
        if not able:
            raise NoDevice(uses, len(self._offers), agent)
        # what was given to a device for another type only made it fuller: its place is found when it comes to the top
        while able[0][0] != (share := self._share(able[0][1])):
            heapq.heapreplace(able, (share, able[0][1]))
        chosen = able[0][1]
        self._load[chosen] += 1
        return chosen

    def _can(self, device: str, uses: str, agent: str | None) -> bool:
        return uses in self._offers.get(device, ()) and agent in (None, self._agents.get(device))

    def _share(self, device: str) -> float:
        return self._load[device] / max(1, self._room[device])
