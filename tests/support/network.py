"""Hosts on a network of our own: network namespaces on one bridge, and cuts between them.

Nothing of the machine's own network is touched: every address, link, route and rule stands in a namespace made here.
Names hold our process id, so that test processes side by side do not meet, and what one that was killed left behind is
removed by the next.
"""

import contextlib
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import psutil
import pytest

HUB = "10.213.0.1"
PORT = 6379
WAYS = ("both", "to", "from")
"""Both ways; only what goes to the device is lost; only what comes from it is lost."""
_NAMES = re.compile(r"rex(\d+)-\w+")
_LINKS = Path("/run/netns")


def require_network() -> None:
    """Without namespaces, tests skip at home, and fail in continuous integration."""
    reason = _why_not()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@cache
def _why_not() -> str:
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux"), ("setpriv", "util-linux")):
        if shutil.which(program) is None:
            return f"`{program}` is not installed, and devices need a network of their own: apt install {package}"
    if os.geteuid() != 0:
        return "devices in network namespaces need root: run these tests as root, in a container or a virtual machine"
    try:
        network = Network()
        with contextlib.closing(network):
            network.join("probe")  # a machine may allow namespaces, and no links
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        return (
            f"`{' '.join(error.cmd)}` failed ({said}): the kernel has to allow network namespaces, veth and bridges; "
            "in a container that takes --privileged"
        )
    return ""


class Network:
    """A bridge, on which the server lives, and a host for each name that joins. Ended by `close`, whatever happened."""

    def __init__(self) -> None:
        _remove_left_behind()
        self._prefix = f"rex{os.getpid()}"
        self._numbers: dict[str, int] = {}
        self._cuts: dict[str, str] = {}
        try:
            self._make_hub()
        except subprocess.CalledProcessError:
            self.close()
            raise

    def _make_hub(self) -> None:
        _ip("netns", "add", self._name("hub"))
        for words in (
            ("link", "add", "bridge", "type", "bridge"),
            ("addr", "add", f"{HUB}/24", "dev", "bridge"),
            ("link", "set", "bridge", "up"),
            ("link", "set", "lo", "up"),
        ):
            self._on("hub", *words)
        self._let_rules_come_first("hub")

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    def join(self, host: str) -> None:
        """A new host, whose namespace is called as it is."""
        self._numbers[host] = number = 2 + len(self._numbers)
        _ip("netns", "add", self._name(host))
        self._on("hub", "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", self._name(host))
        self._on("hub", "link", "set", f"to{number}", "master", "bridge", "up")
        self._on(host, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        self._on(host, "link", "set", "eth0", "up")
        self._on(host, "link", "set", "lo", "up")
        self._let_rules_come_first(host)

    def address(self, host: str) -> str:
        return f"10.213.0.{self._numbers[host]}" if host in self._numbers else HUB

    def inside(self, host: str) -> list[str]:
        """What to put before a command for it to run on `host`, under the host's own name; ``hub`` is the server's."""
        named = f'echo "{host}" > /proc/sys/kernel/hostname && exec "$@"'
        # every one of them becomes the next: the process id stays. Should we be killed, it ends with us
        return [
            "setpriv",
            "--pdeathsig=KILL",
            "nsenter",
            f"--net={self.namespace(host)}",
            "unshare",
            "--uts",
            "sh",
            "-c",
            named,
            "sh",
        ]

    def namespace(self, host: str) -> Path:
        """The file by which a process may enter it."""
        return _LINKS / self._name(host)

    def cut(self, host: str, ways: str = "both") -> None:
        """Lose, silently, what goes to `host` from the hub, or comes from it, or both; connections stay as they are."""
        self.heal(host)
        self._cuts[host] = ways
        if ways == "both":
            self._on("hub", "link", "set", f"to{self._numbers[host]}", "down")
        elif ways == "to":
            self._on(host, "rule", "add", "pref", "5", "from", HUB, "blackhole")
        else:
            self._on("hub", "rule", "add", "pref", "5", "from", self.address(host), "blackhole")

    def heal(self, host: str) -> None:
        """Take its cut back; nothing where there is none."""
        match self._cuts.pop(host, None):
            case "both":
                self._on("hub", "link", "set", f"to{self._numbers[host]}", "up")
            case "to":
                self._on(host, "rule", "del", "pref", "5", "from", HUB, "blackhole")
            case "from":
                self._on("hub", "rule", "del", "pref", "5", "from", self.address(host), "blackhole")

    def close(self) -> None:
        """Remove all of it; processes that still run in it lose their network."""
        for host in ("hub", *self._numbers):
            if self.namespace(host).exists():
                _ip("netns", "del", self._name(host))

    def _let_rules_come_first(self, host: str) -> None:
        """The kernel asks first whether a packet is for itself; ours has to ask first whether the packet is lost."""
        self._on(host, "rule", "add", "pref", "10", "lookup", "local")
        self._on(host, "rule", "del", "pref", "0")

    def _name(self, host: str) -> str:
        return f"{self._prefix}-{host.replace('-', '_')}"

    def _on(self, host: str, *words: str) -> None:
        _ip("-n", self._name(host), *words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


def _remove_left_behind() -> None:
    for link in _LINKS.glob("rex*-*") if _LINKS.exists() else ():
        found = _NAMES.fullmatch(link.name)
        if found and not psutil.pid_exists(int(found[1])):
            _ip("netns", "del", link.name)
