"""A real RabbitMQ node for tests: on loopback, in a private folder, gone with the process that started it.

It takes seconds to start, so one serves a whole test session; each cluster has a virtual host of its own.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from support.waiting import wait_until

_USER = "rex"


def require_rabbitmq() -> Path:
    """The server's program; without it tests skip at home, and fail in continuous integration."""
    # Debian's on the PATH changes to a user and a folder of its own
    debian = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    found = str(debian) if debian.exists() else shutil.which("rabbitmq-server")
    if found is None or shutil.which("erl_call") is None or shutil.which("epmd") is None:
        reason = "no RabbitMQ server is installed: apt install rabbitmq-server"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(found)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class RabbitNode:
    """A node that has nothing to do with others on this machine: own name, cookie, ports and port mapper."""

    def __init__(self, folder: Path, configuration: str = "") -> None:
        self.program = require_rabbitmq()
        self.folder = folder
        for each in (folder, folder / "log"):
            each.mkdir(parents=True, exist_ok=True)
        self.password = secrets.token_hex(8)
        self.port, self._epmd_port, self._peer_port = free_port(), free_port(), free_port()
        self._cookie = secrets.token_hex(8).upper()
        cookie = folder / ".erlang.cookie"
        cookie.write_text(self._cookie)
        cookie.chmod(0o400)
        (folder / "plugins").write_text("[].")
        (folder / "env").touch()
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"default_user = {_USER}\ndefault_pass = {self.password}\n"
            "log.file.level = info\ndisk_free_limit.absolute = 50MB\n" + configuration
        )
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    def start(self) -> "RabbitNode":
        """Start it, again on its data where it ran before."""
        environ = {
            **os.environ,
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "rex@localhost",
            "RABBITMQ_DIST_PORT": str(self._peer_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # few threads that do not spin; and the start script becomes the server, so that its id is ours
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        if self._epmd is None:
            self._epmd = self._run("epmd", ["epmd", "-port", str(self._epmd_port)], environ)
            wait_until(lambda: _listens(self._epmd_port), description="epmd listens")
        self._process = self._run("server", [str(self.program)], environ)
        wait_until(self._answers, description=f"RabbitMQ in {self.folder} answers", timeout_s=60)
        wait_until(self._leads, description="every queue has a leader", timeout_s=60)
        return self

    def virtual_host(self) -> str:
        """The address of a new, empty one."""
        name = f"v{next(self._numbers)}"
        self.evaluate(
            f'rabbit_vhost:add(<<"{name}">>, <<"{_USER}">>), rabbit_auth_backend_internal:set_permissions('
            f'<<"{_USER}">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"{_USER}">>).'
        )
        return f"amqp://{_USER}:{self.password}@127.0.0.1:{self.port}/{name}"

    def limit_deliveries(self, url: str, times: int) -> None:
        """Let the server drop a message that was handed out more often, in the virtual host of `url`."""
        name = url.rpartition("/")[2]
        self.evaluate(
            f'rabbit_policy:set(<<"{name}">>, <<"limit">>, <<".*">>, [{{<<"delivery-limit">>, {times}}}], 0, '
            f'<<"queues">>, <<"{_USER}">>).'
        )

    def end_consumers_after(self, timeout_ms: int) -> None:
        """Close the channel of a consumer that keeps a message longer; of connections from now on."""
        self.evaluate(
            f"application:set_env(rabbit, consumer_timeout, {timeout_ms}), "
            f"application:set_env(rabbit, channel_tick_interval, {timeout_ms // 4})."
        )

    def close_connections(self) -> None:
        """The server closes every client connection, as an operator would."""
        self.evaluate('[rabbit_networking:close_connection(P, <<"test">>) || P <- rabbit_networking:connections()].')

    def evaluate(self, code: str) -> str:
        """What the node answers to Erlang code; much faster than rabbitmqctl."""
        done = subprocess.run(
            ["erl_call", "-c", self._cookie, "-n", "rex@localhost", "-e"], input=code + "\n",
            env={**os.environ, "HOME": str(self.folder), "ERL_EPMD_PORT": str(self._epmd_port)}, check=False,
            text=True, capture_output=True,
        )  # fmt: skip
        assert done.stdout.startswith("{ok, "), f"{code}: {done.stdout}{done.stderr}"
        return done.stdout.strip()[5:-1]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the server, not the port mapper; `start` goes on with what is on disk."""
        if self._process is not None:
            os.killpg(self._process.pid, number)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End everything that we started."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def _run(self, name: str, argv: list[str], environ: dict[str, str]) -> "subprocess.Popen[bytes]":
        # it ends with us, however we end
        with (self.folder / f"{name}.out").open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *argv], env=environ, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "server.out").read_text()[-3000:]
        return _listens(self.port) and self.evaluate("rabbit:is_running().") == "true"

    def _leads(self) -> bool:
        """Whether each quorum queue has a leader; where one has not, do as operators do.

        The only member of a queue may fail to elect itself after its node was killed (rabbitmq-server issue 10070, on
        old releases).
        """
        without = (
            "[amqqueue:get_pid(Q) || Q <- rabbit_amqqueue:list(), amqqueue:get_type(Q) =:= rabbit_quorum_queue, "
            "ra_leaderboard:lookup_leader(element(1, amqqueue:get_pid(Q))) =:= undefined]"
        )
        return self.evaluate(f"Left = {without}, [ra:trigger_election(Id) || Id <- Left], Left.") == "[]"


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running_node(folder: Path, configuration: str = "") -> Iterator[RabbitNode]:
    """A node for as long as it is needed; what is left of one that did not start is ended too."""
    node = RabbitNode(folder, configuration)
    try:
        yield node.start()
    finally:
        node.stop()
