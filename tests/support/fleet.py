"""Devices as hosts of their own: real workers under their real parent, each with its own disk, on a network of ours.

One server and two coordinators live on the hub. Tests reach the server over its unix socket, which no cut concerns.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import redis

from executor import ResolutionClient
from executor.ledger.valkey import ValkeyLedger
from support.network import HUB, PORT, Network
from support.proxy import Proxy, listening_inside
from support.server import Server
from support.waiting import wait_until

REX = Path(sys.executable).parent / "rex"
COORDINATORS = ("control-1", "control-2")
LEASE_S = 2.0
"""`distributed.lease_silence`, as it is by default."""
_PROXY_PORT = 7000
_ON_SMALL_DISK = 'mount -t tmpfs -o size=$DISK_BYTES tmpfs "$REX_STATE_DIR" && exec "$@"'
"""In a mount namespace of its own: nobody has to unmount it."""


class Fleet:
    """A server, two coordinators, and a host for each device; everything is ended by `close`."""

    def __init__(self, folder: Path, devices: Sequence[str], **settings: str) -> None:
        self.folder = folder
        self.devices = tuple(devices)
        self.network = Network()
        self.password = secrets.token_hex(16)
        self.parents: dict[str, subprocess.Popen[bytes]] = {}
        self.proxies: dict[str, Proxy] = {}
        self._settings = settings
        self._made: dict[str, tuple[list[str], dict[str, str]]] = {}
        self.server = Server(
            folder / "srv", inside=self.network.inside("hub"), address=(HUB, PORT), password=self.password
        )
        try:
            self.server.start()
            self.client = ResolutionClient(self.server.url, patience_s=30)
            self.ledger = ValkeyLedger(self.server.url, patience_s=30)
            for device in devices:
                self.network.join(device)
        except BaseException:
            self.close()
            raise

    # -- starting -----------------------------------------------------------------------------------------------------

    def start(self, concurrency: int = 4, **environment: str) -> "Fleet":
        """Everything, until all have announced themselves."""
        for name in COORDINATORS:
            self.coordinator(name)
        for device in self.devices:
            self.worker(device, concurrency=concurrency, **environment)
        return self.ready()

    def coordinator(self, name: str) -> None:
        self._start(name, ["coordinator"], self.environment(name))

    def worker(
        self,
        device: str,
        *,
        name: str | None = None,
        host: str | None = None,
        concurrency: int = 4,
        disk_bytes: int | None = None,
        **environment: str,
    ) -> None:
        """A worker of `device`, under its parent.

        Args:
            device: whom it serves.
            name: under which the parent is known here, where it is not the device's only one.
            host: another one than that of the device's name; it reaches the same disk.
            concurrency: how many actions at once.
            disk_bytes: size of a disk of its own, which is empty now and gone with it, and seen by `disk_inside`.
            environment: more of it.
        """
        words = ["worker", "--device", device, "--concurrency", str(concurrency)]
        if host is not None and host not in self.network.hosts:
            self.network.join(host)
        if disk_bytes is not None:
            environment["DISK_BYTES"] = str(disk_bytes)
        self._start(name or device, words, self.environment(device, **environment), host=host or device)

    def behind_proxy(self, device: str) -> Proxy:
        """A proxy on the device's host; workers that start from now on talk through it."""
        listener = listening_inside(self.network.namespace(device), _PROXY_PORT)
        self.proxies[device] = Proxy(listener, self.server.socket)
        return self.proxies[device]

    def environment(self, host: str, **more: str) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("REX_")}
        address = f"127.0.0.1:{_PROXY_PORT}" if host in self.proxies else f"{HUB}:{PORT}"
        url = f"redis://:{self.password}@{address}/0"
        return {
            **own, "HOME": str(self.folder), "REX_BROKER_URL": url, "REX_LEDGER_URL": url,
            "REX_STATE_DIR": str(self.disk(host)), "EFFECTS": str(self.log_of(host)), **self._settings, **more,
        }  # fmt: skip

    def _start(self, name: str, words: list[str], environment: dict[str, str], *, host: str = "hub") -> None:
        self._made[name] = (words, {**environment, "HOST": host})
        Path(environment["REX_STATE_DIR"]).mkdir(parents=True, exist_ok=True)
        before = self.network.inside(host)
        if "DISK_BYTES" in environment:
            before += ["unshare", "--mount", "sh", "-c", _ON_SMALL_DISK, "sh"]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.parents[name] = subprocess.Popen(
                [*before, str(REX), *words], cwd=self.folder, env=environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def again(self, name: str) -> None:
        """Start the parent of that name anew, as its host's init would."""
        words, environment = self._made[name]
        self._start(name, words, environment, host=environment["HOST"])

    def ready(self) -> "Fleet":
        """Wait until everybody's child has announced itself, and stays."""
        wait_until(self._all_serve, description="all have announced themselves", timeout_s=60, told=self.logs)
        return self

    def _all_serve(self) -> bool:
        # a host has its own name, and process ids are those of the machine
        pids = {worker["pid"] for worker in self.client.workers()}
        return all((child := self.child(name)) is not None and child.pid in pids for name in self.parents)

    # -- what there is ------------------------------------------------------------------------------------------------

    def disk(self, host: str) -> Path:
        """The state directory of a host."""
        return self.folder / "disks" / host

    def disk_inside(self, name: str) -> Path:
        """The state directory as that parent sees it."""
        return Path(f"/proc/{self.parents[name].pid}/root{self.disk(name)}")

    def log_of(self, host: str) -> Path:
        """Its effect log, which a reboot leaves alone: it is not the product's."""
        return self.folder / f"{host}.effects"

    def lines(self, host: str | None = None) -> list[str]:
        """Effect logs: lines of one host, or of all by their time since the machine's start."""
        hosts = [host] if host else [*self.devices]
        logs = [self.log_of(name) for name in hosts]
        found = [line for log in logs if log.exists() for line in log.read_text().splitlines()]
        return sorted(found, key=lambda line: float(line.split()[0]))

    def child(self, name: str) -> psutil.Process | None:
        """The worker process below a parent; None while there is none."""
        with suppress(psutil.Error):
            for process in psutil.Process(self.parents[name].pid).children():
                if "workers" in process.cmdline():
                    return process
        return None

    def redis(self) -> redis.Redis:
        return self.server.client()

    # -- faults -------------------------------------------------------------------------------------------------------

    def signal_child(self, name: str, number: signal.Signals) -> bool:
        """Whether there was one."""
        child = self.child(name)
        with suppress(psutil.Error):
            if child is not None:
                child.send_signal(number)
                return True
        return False

    def freeze_host(self, name: str) -> None:
        """Stop everything on a host, the parent first, or it would end a child that stands still."""
        for process in self._tree(name):
            with suppress(psutil.Error):
                process.suspend()

    def wake_host(self, name: str) -> None:
        """Let it go on, the parent last: so whoever was declared dead has a moment to act before it is ended."""
        for process in reversed(self._tree(name)):
            with suppress(psutil.Error):
                process.resume()

    def lose_host(self, name: str) -> None:
        """End everything on a host at once, as a lost supply of power does."""
        self.freeze_host(name)  # or a parent would start again what dies first
        for process in self._tree(name):
            with suppress(psutil.Error):
                process.kill()
        self.parents[name].wait(timeout=30)

    def _tree(self, name: str) -> list[psutil.Process]:
        parent = psutil.Process(self.parents[name].pid)
        return [parent, *parent.children(recursive=True)]

    def reboot(self, name: str, *, wiped: bool) -> None:
        """Lose the host, and start it again; `wiped` with an empty disk."""
        self.lose_host(name)
        if wiped:
            shutil.rmtree(self.disk(name))
        self.again(name)

    def heal(self) -> None:
        """Take back what can be: cuts, stopped processes, parents and a server that are gone."""
        for host in self.network.hosts:
            self.network.heal(host)
        for name, parent in self.parents.items():
            self.signal_child(name, signal.SIGCONT)
            if parent.poll() is not None:
                self.again(name)
        if not self.server.runs:
            self.server.start()

    # -- end ----------------------------------------------------------------------------------------------------------

    def logs(self) -> str:
        found = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-2500:]}" for path in found)

    def close(self) -> None:
        for name, parent in self.parents.items():
            if parent.poll() is None:
                self.lose_host(name)
        for proxy in self.proxies.values():
            proxy.close()
        if hasattr(self, "client"):
            self.client.close()
            self.ledger.close()
        self.server.stop()
        self.network.close()
