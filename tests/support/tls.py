"""Certificates that are made for a test, and a real server that asks for TLS."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import redis

from support.rabbitmq import free_port
from support.waiting import wait_until


class Certificates:
    """An authority with what it has signed, for localhost and for a client; and another that has signed nothing."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = self._authority(folder, "authority")
        self.stranger = self._authority(folder, "stranger")
        self.server = self._signed(folder, "server", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.client = self._signed(folder, "client", "extendedKeyUsage=clientAuth")

    @property
    def options(self) -> str:
        """What an address of ours says of them, with a certificate of the client."""
        certificate, key = self.client
        return f"ssl_ca_certs={self.authority}&ssl_certfile={certificate}&ssl_keyfile={key}&ssl_cert_reqs=required"

    @staticmethod
    def _authority(folder: Path, name: str) -> Path:
        made = folder / f"{name}.pem"
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", str(folder / f"{name}.key"), "-out", str(made),
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip
        return made

    def _signed(self, folder: Path, name: str, extension: str) -> tuple[Path, Path]:
        key, asked, made = (folder / f"{name}.{ending}" for ending in ("key", "csr", "pem"))
        (folder / f"{name}.ext").write_text(extension + "\n")
        _openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", str(key), "-out", str(asked),
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", str(asked), "-CA", str(self.authority), "-CAkey", str(folder / "authority.key"),
            "-CAcreateserial", "-days", "2", "-extfile", str(folder / f"{name}.ext"), "-out", str(made),
        )  # fmt: skip
        return made, key


class TlsServer:
    """A redis-server on a port of loopback that speaks TLS alone, and asks clients for a certificate."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        self._program = _require("redis-server", "no server with TLS is installed: apt install redis-server")
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificates = certificates
        self.port, self.plain_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"rediss://:hunter2@localhost:{self.port}/0?{self.certificates.options}"

    def start(self) -> "TlsServer":
        certificate, key = self.certificates.server
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program, "--port", str(self.plain_port), "--tls-port", str(self.port),
                    "--bind", "127.0.0.1", "127.0.0.2",
                    "--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file",
                    str(self.certificates.authority), "--requirepass", "hunter2", "--dir", str(self.folder),
                    "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction",
                ],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self._answers, description="the server answers")
        return self

    def stop(self) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        client = redis.Redis(port=self.plain_port, password="hunter2")
        try:
            return bool(client.ping())
        except redis.exceptions.RedisError:
            return False
        finally:
            client.close()


def _require(program: str, reason: str) -> str:
    found = shutil.which(program)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def _openssl(*arguments: str) -> None:
    program = _require("openssl", "no openssl is installed: apt install openssl")
    subprocess.run([program, *arguments], check=True, capture_output=True)
