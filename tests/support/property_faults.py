"""What befalls a cluster while drawn cases run on it: processes that die at a moment, or stand still."""

import itertools
import signal
import threading
from pathlib import Path

from support.cluster import Cluster
from support.property_cases import Fault

SERVES = {"edge": ("d1",), "rest": ("d2", "d3"), "control": ()}
_WORKER_POINTS = ("pre-settle", "claim", "settle")
_CONTROL_POINTS = ("begin", "advance", "pre-send:st", "pre-send:con")


class Victims:
    """The processes of a cluster, each with a crash point that is armed when a fault asks for it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._next = {"edge": itertools.cycle(_WORKER_POINTS), "rest": itertools.cycle(_WORKER_POINTS[::-1]),
                      "control": itertools.cycle(_CONTROL_POINTS)}  # fmt: skip
        self._point: dict[str, str] = {}

    def start(self, name: str) -> None:
        """Start a process with the next crash point; it is inert as long as its file is there."""
        self._point[name] = point = next(self._next[name])
        at, _, of = point.partition(":")
        self.disarm(name)
        environment = {"REX_CRASH_POINT": f"{at}:{of or '*'}:KILL:{self._armed(name)}"}
        if name == "control":
            self._cluster.coordinator(name, **environment)
        else:
            self._cluster.worker(*SERVES[name], name=name, **environment)

    def begin(self, fault: Fault) -> "Befallen":
        """Let it happen now."""
        return Befallen(self, self._cluster, fault)

    def arm(self, name: str) -> str:
        """Have it die when it comes to its point, which is answered."""
        self._armed(name).unlink()
        return self._point[name]

    def has_crashed(self, name: str) -> bool:
        return self._armed(name).exists()

    def disarm(self, name: str) -> None:
        self._armed(name).touch()

    def _armed(self, name: str) -> Path:
        return self._cluster.folder / f"once-{name}"


class Befallen:
    """One fault, until the cluster is whole again; a thread sees to that, as the parent of the processes would."""

    def __init__(self, victims: Victims, cluster: Cluster, fault: Fault) -> None:
        self._victims = victims
        self._cluster = cluster
        self.fault = fault
        self.hit = fault.kind != "crash"
        self.over = False
        """Nothing runs any more: what is armed still is taken back."""
        self.told = f"{fault.kind} {fault.victim} after {fault.event} no. {fault.count}"
        self._incarnations: set[str] = set()
        self._healed = threading.Event()
        getattr(self, f"_{fault.kind}")(fault.victim)
        threading.Thread(target=self._heal, name="healer", daemon=True).start()

    @property
    def healed(self) -> bool:
        return self._healed.is_set()

    def _kill(self, victim: str) -> None:
        if victim == "server":
            self._cluster.server.kill()
            self._cluster.server.start()
            self._healed.set()
        else:
            self._cluster.kill(victim)

    def _crash(self, victim: str) -> None:
        self.told += f" at {self._victims.arm(victim)}"

    def _freeze(self, victim: str) -> None:
        self._incarnations = self._living(victim)
        self._cluster.kill(victim, signal.SIGSTOP)

    def _living(self, victim: str) -> set[str]:
        pid = self._cluster.processes[victim].pid
        return {worker["incarnation"] for worker in self._cluster.client.workers() if worker["pid"] == pid}

    def _heal(self) -> None:
        while not self._healed.wait(0.05):
            self._look()

    def _look(self) -> None:
        victim = self.fault.victim
        process = self._cluster.processes[victim]
        if self._incarnations and not self._living(victim):
            # taken for dead: it wakes up, finds that out, and ends
            self._incarnations = set()
            process.send_signal(signal.SIGCONT)
        if self.fault.kind == "crash" and self.over and not self._victims.has_crashed(victim):
            self._victims.disarm(victim)
            self._healed.set()
        elif process.poll() is not None:
            self.hit = True
            self._cluster.gone(victim)
            self._victims.start(victim)
            self._healed.set()
