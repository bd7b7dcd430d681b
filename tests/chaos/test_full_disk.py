"""A device whose store has no room: the action fails before its effect, and says so."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import Cluster, action, strategy

pytestmark = pytest.mark.cluster


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(f"a small file system is needed: {mounted.stderr.decode()}")
        pytest.skip(f"mounting needs root: {mounted.stderr.decode()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_full_for_the_undo_store(cluster: Cluster, full_disk: Path, tmp_path: Path) -> None:
    cluster.coordinator()
    cluster.worker("edge-1", REX_STATE_DIR=str(full_disk))
    cluster.ready()
    big = tmp_path / "big.conf"
    big.write_bytes(os.urandom(200_000))
    before = big.read_bytes()
    edit = {"id": "edit", "uses": "file.edit", "with": {"path": str(big), "content": "short"}}
    report = cluster.run(strategy("full", [action("a", cluster.effects), edit]))
    assert report["status"] == "failed"
    assert report["actions"]["edit"]["error"]["classification"]["type"] == "resource"
    assert "No space left" in report["error"]["message"]
    assert big.read_bytes() == before
    assert cluster.effects.lines() == ["do:a", "undo:a"]
    assert report["rollback"]["status"] == "completed"


def test_a_store_with_a_limit(cluster: Cluster, tmp_path: Path) -> None:
    cluster.coordinator()
    cluster.worker("edge-1", REX_ROLLBACK__STORE_MAX_BYTES="100")
    cluster.ready()
    path = tmp_path / "a.conf"
    before = secrets.token_hex(500)  # what can be compressed would fit
    path.write_text(before)
    edit = {"id": "edit", "uses": "file.edit", "with": {"path": str(path), "content": "short"}, "retry": "none"}
    report = cluster.run(strategy("limited", [edit]))
    assert report["status"] == "failed"
    assert report["error"]["classification"]["type"] == "resource"
    assert path.read_text() == before
