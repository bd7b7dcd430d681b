"""TLS to a real server: for the ledger, the messages and the results; and what is said when it cannot be."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import Cluster, action, strategy
from support.commands import Rex
from support.rabbitmq import free_port, running_node
from support.tls import Certificates, TlsServer

from executor import ResolutionClient
from executor.broker.looking import queued
from executor.model.errors import AccessRefused, Unreachable


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made for these tests."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[TlsServer]:
    """A server that asks for TLS, and for a certificate of ours."""
    made = TlsServer(tmp_path_factory.mktemp("tls"), certificates)
    try:
        yield made.start()
    finally:
        made.stop()


def said(url: str, *, patience_s: float = 60) -> str:
    """What a client says that cannot connect; it does not try for as long as it would wait for a lost server."""
    with ResolutionClient(url, patience_s=patience_s) as client, pytest.raises(Unreachable) as caught:
        client.list()
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


@pytest.mark.cluster
def test_a_strategy_runs_over_tls_alone(tmp_path: Path, server: TlsServer) -> None:
    """Messages, ledger and results of chords; the plain port is not used by anybody but the test."""
    cluster = Cluster(tmp_path, REX_BROKER_URL=server.url, REX_LEDGER_URL=server.url)
    cluster.client = ResolutionClient(server.url, patience_s=30)
    try:
        cluster.coordinator()
        cluster.worker("edge-1")
        cluster.ready()
        actions = [action(f"a{n}", cluster.effects) for n in range(3)]
        report = cluster.run(strategy("secured", actions, model="parallel"))
        assert report["status"] == "completed"
        assert sorted(cluster.effects.lines()) == ["do:a0", "do:a1", "do:a2"]
        assert queued(server.url, ["device.edge-1", "control"]) == {"device.edge-1": 0, "control": 0}
        (tmp_path / "shell").mkdir()
        looked = Rex(tmp_path / "shell")("doctor", REX_BROKER_URL=server.url)
        assert f"the certificate is checked against {server.certificates.authority}" in looked.stdout
        assert "hunter2" not in looked.stdout + looked.stderr + cluster.logs()
    finally:
        cluster.close()


def test_an_unknown_authority_is_refused_at_once(server: TlsServer) -> None:
    """A certificate that another authority signed is nobody's; and the remedy is named."""
    stranger = server.certificates.stranger
    url = server.url.replace(str(server.certificates.authority), str(stranger))
    assert "certificate is not accepted" in said(url)
    assert "name its authority with ssl_ca_certs" in said(url)
    with pytest.raises(AccessRefused):
        queued(url, ["control"])


def test_the_name_in_the_certificate_counts(server: TlsServer) -> None:
    """A certificate for localhost does not stand for another name of the same host."""
    url = server.url.replace("@localhost:", "@127.0.0.2:")
    assert "certificate is not accepted" in said(url)
    with ResolutionClient(url + "&ssl_check_hostname=false") as client:
        assert isinstance(client.list(), list)


def test_a_missing_file_is_named(server: TlsServer) -> None:
    """Before anything is connected."""
    authority = str(server.certificates.authority)
    assert "ssl_ca_certs=/no/such.pem" in said(server.url.replace(authority, "/no/such.pem"))


def test_a_plain_port_is_told_from_a_wrong_certificate(server: TlsServer) -> None:
    """The remedy is another port or another address, not another authority."""
    url = server.url.replace(str(server.port), str(server.plain_port))
    assert "does this port speak TLS?" in said(url, patience_s=0)


@pytest.mark.rabbitmq
@pytest.mark.long
def test_rabbitmq_over_tls(tmp_path: Path, certificates: Certificates) -> None:
    """amqps:// checks the certificate too."""
    certificate, key = certificates.server
    port = free_port()
    with running_node(
        tmp_path,
        f"listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {certificates.authority}\n"
        f"ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\nssl_options.verify = verify_none\n",
    ) as node:
        plain = node.virtual_host().replace(f"127.0.0.1:{node.port}", f"localhost:{port}")
        url = plain.replace("amqp://", "amqps://")
        assert queued(f"{url}?ssl_ca_certs={certificates.authority}", ["control"]) == {"control": 0}
        with pytest.raises(Unreachable, match="certificate verify failed"):
            queued(f"{url}?ssl_ca_certs={certificates.stranger}", ["control"])
