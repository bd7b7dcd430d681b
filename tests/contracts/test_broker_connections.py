"""What the connections of the broker do when nobody answers any more."""

import socket
from pathlib import Path

from kombu import Connection
from support.rabbitmq import free_port
from support.server import Server

from config.celery import VANISHED_S
from executor.broker.addresses import broker_options


def test_a_server_whose_host_vanishes_is_not_waited_for_until_tcp_gives_up(tmp_path: Path) -> None:
    """Nothing says that it is gone: what it has not acknowledged for so long breaks the connection."""
    port = free_port()
    server = Server(tmp_path / "s", address=("127.0.0.1", port)).start()
    url = f"redis://127.0.0.1:{port}/0"
    try:
        with Connection(url, transport_options=broker_options(url, "me")) as connection:
            with connection.default_channel.conn_or_acquire() as client:
                made = client.connection_pool.get_connection()
                options = {
                    option: made._sock.getsockopt(socket.IPPROTO_TCP, option)
                    for option in (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE)
                }
                keeps = made._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                client.connection_pool.release(made)
            assert (options[socket.TCP_USER_TIMEOUT], keeps) == (VANISHED_S * 1000, 1)
            assert options[socket.TCP_KEEPIDLE] < VANISHED_S
    finally:
        server.close()
