"""`rex up`, `worker`, `coordinator`: this process becomes the parent of the processes of a role."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from executor.cli.connecting import find_cluster, settings
from executor.model.errors import SettingsInvalid, Unreachable


@dataclass(frozen=True)
class UpWanted:
    """Of what a whole cluster consists."""

    devices: Sequence[str]
    concurrency: int
    scale: Mapping[str, int]
    """Worker processes of a device, where it is not one."""
    flower: int | None
    """Its port, if it is wanted."""


def up(wanted: UpWanted, *, as_json: bool, config: Path | None) -> NoReturn:
    """Become the parent of a whole cluster.

    Raises:
        SettingsInvalid: a cluster is configured elsewhere.
    """
    if settings(config).broker_url is not None:
        raise SettingsInvalid(
            "`rex up` starts a server of its own, and broker_url is set: start `rex coordinator` and `rex worker` "
            "for that cluster, or unset REX_BROKER_URL"
        )
    arguments = [*_devices(wanted.devices), "--concurrency", str(wanted.concurrency)]
    for device, number in wanted.scale.items():
        arguments += ["--scale", f"{device}={number}"]
    if wanted.flower is not None:
        arguments += ["--flower", str(wanted.flower)]
    _become("up", arguments, as_json=as_json, config=config, environ=dict(os.environ))


def worker(
    devices: Sequence[str], agent: str | None, concurrency: int, *, as_json: bool, config: Path | None
) -> NoReturn:
    """Become the parent of a worker; the device may also stand in REX_DEVICE.

    Raises:
        SettingsInvalid: no device is named.
    """
    listed = list(devices) or _listed("REX_DEVICE")
    if not listed:
        raise SettingsInvalid("a worker serves a device: name it, as in `rex worker --device edge-1`")
    environ = _addressed(config)
    if agent is not None:
        listed = [name if ":" in name else f"{name}:{agent}" for name in listed]
    arguments = [*_devices(listed), "--concurrency", str(concurrency)]
    _become("worker", arguments, as_json=as_json, config=config, environ=environ)


def coordinator(*, as_json: bool, config: Path | None) -> NoReturn:
    """Become the parent of a coordinator."""
    _become("coordinator", [], as_json=as_json, config=config, environ=_addressed(config))


def announce(labels: Sequence[str], capabilities: Sequence[str]) -> None:
    """Hand labels and capabilities on to the process that this one becomes, beside those of the environment.

    Raises:
        SettingsInvalid: a label has two values.
    """
    from executor.model.device import parse_capabilities, parse_labels

    for name, given, parse in (
        ("REX_LABELS", labels, parse_labels),
        ("REX_CAPABILITIES", capabilities, parse_capabilities),
    ):
        listed = [*_listed(name), *given]
        try:
            parse(listed)
        except ValueError as error:
            raise SettingsInvalid(f"{name}: {error}") from None
        if listed:
            os.environ[name] = ",".join(dict.fromkeys(listed))


def _listed(variable: str) -> list[str]:
    """What stands between the commas of a variable."""
    return [part for written in os.environ.get(variable, "").split(",") if (part := written.strip())]


def _devices(devices: Sequence[str]) -> list[str]:
    return [part for device in dict.fromkeys(devices) for part in ("--device", device)]


def _addressed(config: Path | None) -> dict[str, str]:
    """Our environment with the addresses of the cluster, found as every other command finds it."""
    found = settings(config)
    cluster = find_cluster(found)
    if cluster is None:
        raise Unreachable("no cluster to join: set REX_BROKER_URL, or start everything here with `rex up`")
    return {
        **os.environ,
        "REX_BROKER_URL": cluster.broker_url,
        "REX_LEDGER_URL": cluster.ledger_url,
    }


def _become(
    role: str, arguments: list[str], *, as_json: bool, config: Path | None, environ: dict[str, str]
) -> NoReturn:
    if config is not None:
        environ["REX_CONFIG"] = str(config.expanduser().absolute())
    argv = [sys.executable, "-P", "-m", "workers.cluster", role, *arguments, *(["--json"] if as_json else [])]
    sys.stdout.flush()
    # held back until the new program listens: it takes them over and lets them through
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    os.execve(argv[0], argv, environ)  # noqa: S606 - one process less, and signals reach it directly
