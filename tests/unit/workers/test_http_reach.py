"""Which requests reach the same server from another device."""

import pytest

from executor.action import ActionType
from workers.actions.assertion import Assert
from workers.actions.http_check import Check
from workers.actions.http_request import Request
from workers.actions.snapshot_files import SnapshotFiles
from workers.actions.wait import Wait


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://api.example.org/hosts/7", True),
        ("http://10.0.0.5:8080/", True),
        ("https://api.example.org/${{ inputs.path }}", True),
        ("http://localhost:80/", False),
        ("http://db.localhost/", False),
        ("http://printer.local/", False),
        ("http://127.0.0.2/", False),
        ("http://[::1]:80/", False),
        ("http://169.254.169.254/latest", False),
        ("http://0.0.0.0/", False),
        ("http://${{ inputs.host }}/", False),
        ("${{ inputs.url }}", False),
        ("http://[::1", False),
        ("/path", False),
    ],
)
@pytest.mark.parametrize("kind", [Check(), Request()])
def test_by_its_host(kind: ActionType, url: str, same: bool) -> None:
    assert kind.reach({"url": url}) is same


def test_a_secret_is_read_from_its_device() -> None:
    url = "https://api.example.org/"
    assert not Request().reach({"url": url, "headers": {"Authorization": "Bearer secret://env/TOKEN"}})
    assert not Request().reach({"url": url, "json": {"list": ["secret://env/TOKEN"]}})
    assert not Request().reach({"url": 7})


def test_what_changes_nothing_and_what_needs_saved_bytes() -> None:
    assert Wait().reach({"for": "1s"})
    assert Assert().reach({"that": "true"})
    assert not SnapshotFiles().reach({"path": "/srv"})
