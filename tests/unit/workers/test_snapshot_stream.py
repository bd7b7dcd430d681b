"""Streams in pieces: what went in comes out, or nothing does."""

import os
from pathlib import Path

import pytest
from support.worlds import Bench

from executor.action import Json
from executor.model.errors import ActionCancelled, ActionError
from workers.actions import saved_stream
from workers.actions.wait import Wait
from workers.run import ActionRun


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ActionRun:
    """An attempt whose pieces are of 10 bytes."""
    monkeypatch.setattr(saved_stream, "PIECE_BYTES", 10)
    return Bench().run(Wait(), **{"for": "1s"})


def save(run: ActionRun, content: bytes, portion: int) -> Json:
    with run.saved.batch() as batch:
        stream = saved_stream.SavingStream(run, batch)
        for begin in range(0, len(content), portion):
            stream.write(content[begin : begin + portion])
        return stream.end()


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 20, 6003])
@pytest.mark.parametrize("portion", [1, 7, 10, 25, 10_000])
def test_what_went_in_comes_out(run: ActionRun, size: int, portion: int) -> None:
    """In whatever portions it came; a long list of names lies in the store itself."""
    content = os.urandom(size)
    saved = save(run, content, portion)
    assert saved["bytes"] == size
    assert ("list" in saved) == (size > 5000)
    assert b"".join(saved_stream.pieces(run, saved_stream.whole(run, saved, "it"))) == content


def test_a_damaged_list_or_piece_is_found(run: ActionRun) -> None:
    """Before anything is read of it."""
    saved = save(run, os.urandom(6000), 100)
    kept = run.saved._kept  # type: ignore[attr-defined]
    names = saved_stream.whole(run, saved, "it")
    del kept[names[17]]
    with pytest.raises(
        ActionError, match=f"1 of its 600 pieces are missing or damaged.*{names[17]}; nothing was changed"
    ):
        saved_stream.whole(run, saved, "it")
    del kept[saved["list"]]
    with pytest.raises(ActionError, match=f"what was saved of it cannot be used: 1 of its 1 pieces.*{saved['list']}"):
        saved_stream.whole(run, saved, "it")


def test_a_cancelled_run_saves_and_reads_no_further_piece(run: ActionRun) -> None:
    """Between two pieces it is asked."""
    saved = save(run, b"x" * 30, 30)
    reading = saved_stream.pieces(run, saved["pieces"])
    assert next(reading) == b"x" * 10
    run._cancelled = lambda: True
    with pytest.raises(ActionCancelled):
        next(reading)
    with pytest.raises(ActionCancelled):
        save(run, b"y" * 10, 10)


def test_copies_are_private_and_what_a_killed_attempt_left_goes(
    run: ActionRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of the same action is removed, a link of that name is not followed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with saved_stream.scratch(run) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        prefix = folder.name[: folder.name.rindex("-") + 1]
    assert not list(tmp_path.iterdir())
    (tmp_path / f"{prefix}old").mkdir()
    (tmp_path / f"{prefix}old" / "copy").write_text("x")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    (tmp_path / f"{prefix}link").symlink_to(tmp_path / "precious")
    with saved_stream.scratch(run):
        assert not (tmp_path / f"{prefix}old").exists()
    assert (tmp_path / "precious" / "file").exists()


def test_paths_outside_the_roots_are_refused(run: ActionRun, tmp_path: Path) -> None:
    """Also where a root is only the beginning of a name."""
    run.roots = (str(tmp_path / "app"),)
    saved_stream.require_below_roots(run, str(tmp_path / "app"))
    saved_stream.require_below_roots(run, str(tmp_path / "app" / "db"))
    for outside in (tmp_path, tmp_path / "app2"):
        with pytest.raises(ActionError, match=r"rollback\.snapshot_roots"):
            saved_stream.require_below_roots(run, str(outside))
