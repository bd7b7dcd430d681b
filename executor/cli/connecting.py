"""Where the cluster is: the configured one, or the one that `rex up` runs on this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from executor.model.errors import SettingsInvalid, Unreachable

if TYPE_CHECKING:
    from config.settings import Settings
    from executor.client import ResolutionClient
    from executor.ports import Queues


@dataclass(frozen=True)
class Cluster:
    """Addresses of broker and ledger."""

    broker_url: str
    ledger_url: str
    interval_s: float = 1.0
    """How often live views are drawn anew."""

    def queues(self) -> "Queues | None":
        """The broker's queues; None where they lie on the ledger's server, which tells of them itself."""
        if self.broker_url == self.ledger_url:
            return None
        from executor.broker.looking import DeviceQueues

        return DeviceQueues(self.broker_url)

    def client(self, *, patience_s: float = 2.0) -> "ResolutionClient":
        """A client of its ledger."""
        from executor.client import ResolutionClient

        return ResolutionClient(self.ledger_url, name="cli", patience_s=patience_s)


def settings(config_file: Path | None) -> "Settings":
    """The settings of this call.

    Raises:
        SettingsInvalid: one of them is unknown or wrong.
    """
    from config import settings as configured

    try:
        return configured.load_settings(config_file)
    except configured.SettingsInvalid as error:
        raise SettingsInvalid(str(error)) from None


def find_cluster(found: "Settings") -> Cluster | None:
    """The cluster to talk to; None where there is none."""
    interval_s = found.monitoring.interval.total_seconds()
    if found.broker_url is not None and found.ledger_url is not None:
        return Cluster(found.broker_url, found.ledger_url, interval_s)
    from executor.cli.running import running_cluster

    told = running_cluster(found.state_dir)
    return None if told is None else Cluster(told["broker_url"], told["broker_url"], interval_s)


def connect(config_file: Path | None) -> Cluster:
    """The cluster to talk to.

    Raises:
        Unreachable: there is none.
    """
    found = find_cluster(settings(config_file))
    if found is None:
        raise Unreachable("no cluster: set REX_BROKER_URL to one, or start one here with `rex up --device edge-1`")
    return found
