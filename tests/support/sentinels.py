"""A primary, a replica and three sentinels as processes, to see one server take over from the other."""

import os
import signal
import subprocess
from pathlib import Path

import redis

from support.rabbitmq import free_port
from support.server import server_binary
from support.waiting import wait_until

MASTER = "rex"
PASSWORD = "hunter2"
OF_SENTINELS = "hunter3"
_DOWN_AFTER_MS = 800


class Watched:
    """Servers on loopback that sentinels watch; the first is the primary at first."""

    def __init__(self, folder: Path, *, least_replicas: int = 0) -> None:
        self.folder = folder
        self.ports = [free_port(), free_port()]
        self.sentinel_ports = [free_port() for _ in range(3)]
        self._least_replicas = least_replicas
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        return f"sentinel://:{PASSWORD}@{hosts}/0?master={MASTER}&sentinel_password={OF_SENTINELS}"

    def start(self) -> "Watched":
        self.start_server(0)
        self.start_server(1)
        wait_until(lambda: self._replicas() == 1, description="the replica follows")
        for port in self.sentinel_ports:
            self._start_sentinel(port)
        wait_until(self._all_is_seen, description="the sentinels see the replica and one another")
        return self

    def start_server(self, number: int) -> None:
        """Start a server on its data; the sentinels tell it whom to follow."""
        port = self.ports[number]
        folder = self.folder / f"server-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        own = [] if number == 0 else ["--replicaof", "127.0.0.1", str(self.ports[0])]
        self._run(
            port,
            [
                server_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder),
                "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction",
                "--requirepass", PASSWORD, "--primaryauth", PASSWORD,
                "--repl-diskless-sync-delay", "0", "--min-replicas-to-write", str(self._least_replicas), *own,
            ],
        )  # fmt: skip

    def primary(self) -> int:
        """The port of the server that the sentinels call primary."""
        return int(self._sentinel(self.sentinel_ports[0]).sentinel_get_master_addr_by_name(MASTER)[1])

    def kill(self, port: int) -> None:
        process = self._processes.pop(port)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def client(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, password=PASSWORD, decode_responses=True)

    def stop(self) -> None:
        for port in list(self._processes):
            self.kill(port)

    def _start_sentinel(self, port: int) -> None:
        file = self.folder / f"sentinel-{port}.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self.folder}\nrequirepass {OF_SENTINELS}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {self.ports[0]} 2\nsentinel auth-pass {MASTER} {PASSWORD}\n"
            f"sentinel down-after-milliseconds {MASTER} {_DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {MASTER} 5000\n"
        )
        self._run(port, [server_binary(), str(file), "--sentinel"])

    def _run(self, port: int, argv: list[str]) -> None:
        with (self.folder / f"{port}.log").open("ab") as log:
            self._processes[port] = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def _replicas(self) -> int:
        try:
            lines = self.client(self.ports[0]).info("replication")
        except redis.exceptions.RedisError:
            return 0
        return sum(1 for name, value in lines.items() if name.startswith("slave") and "state=online" in str(value)) or (
            sum(1 for value in lines.values() if isinstance(value, dict) and value.get("state") == "online")
        )

    def _all_is_seen(self) -> bool:
        try:
            told = [self._sentinel(port).sentinel_master(MASTER) for port in self.sentinel_ports]
        except redis.exceptions.RedisError:
            return False
        return all(one["num-slaves"] == 1 and one["num-other-sentinels"] == 2 for one in told)

    def _sentinel(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, password=OF_SENTINELS, decode_responses=True)
