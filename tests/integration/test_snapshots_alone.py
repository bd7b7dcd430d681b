"""Snapshots that are taken, and restored, without a run: `RollbackManager.create_snapshot`, `restore_from_snapshot`."""

from pathlib import Path

import pytest
from support.cluster import Cluster

from config.settings import Settings
from executor.ledger.valkey import ValkeyLedger
from executor.model.strategy import Strategy
from rollback.manager import RollbackManager

pytestmark = pytest.mark.cluster


def test_a_snapshot_is_taken_and_restored(cluster: Cluster, tmp_path: Path) -> None:
    """None of the strategy's actions runs; what was changed since comes back by a person's word only."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "kept").write_text("before")
    strategy = Strategy.model_validate(
        {
            "name": "nightly",
            "defaults": {"device": "edge-1"},
            "inputs": {"tree": {"type": "string", "required": True}},
            "snapshot": [{"uses": "snapshot.files", "with": {"path": "${{ inputs.tree }}"}}],
            "actions": [{"id": "never", "uses": "command", "with": {"run": f"touch {tmp_path}/ran"}}],
        }
    )
    ledger = ValkeyLedger(cluster.server.url)
    manager = RollbackManager(ledger, Settings())
    try:
        execution = manager.create_snapshot(strategy, {"tree": str(tree)})
        report = cluster.result(execution)
        assert (report["status"], report["snapshots"][0]["saved"]["files"]) == ("completed", 1)
        (tree / "kept").write_text("after")
        (tree / "added").write_text("new")
        assert manager.restore_from_snapshot(execution, by="me") == ("ok", "")
        report = cluster.result(execution)
        (left,) = report["rollback"]["remaining"]
        assert "changed since" in left["reason"]
        assert (tree / "kept").read_text() == "after"
        assert manager.restore_from_snapshot(execution, by="me", force=True) == ("ok", "")
        report = cluster.result(execution)
    finally:
        ledger.close()
    assert (report["status"], report["rollback"]["status"]) == ("rolled_back", "completed")
    assert [(path.name, path.read_text()) for path in tree.iterdir()] == [("kept", "before")]
    assert not (tmp_path / "ran").exists()
