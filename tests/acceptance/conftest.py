"""What the tests of this folder share."""

from collections.abc import Iterator

import pytest
from support.cluster import Cluster


@pytest.fixture(scope="session")
def three_devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster of three devices, for all tests that leave it as it was."""
    made = Cluster(tmp_path_factory.mktemp("a"))
    made.coordinator()
    made.worker("edge-1")
    made.worker("edge-2", "edge-3", name="edge-23", REX_LABELS="zone=eu", REX_CAPABILITIES="compiler")
    try:
        yield made.ready()
    finally:
        made.close()
