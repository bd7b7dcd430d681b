"""What the `file.*` types do, they undo: bytes, mode and times exactly; and never over someone else's change."""

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from support.worlds import Bench

from executor.action import ActionType, Found, Undo
from executor.model.errors import ActionCancelled, ActionError, ActionTimedOut, ChangedSince
from workers.actions.file_create import Create
from workers.actions.file_delete import Delete
from workers.actions.file_edit import Edit
from workers.run import perform

OLD = "# settings\nport=80\nname=old # kept\nlast"
CREATE, EDIT, DELETE = Create(), Edit(), Delete()

PATCH = """--- a/site.conf
+++ b/site.conf
@@ -1,4 +1,4 @@
 # settings
-port=80
+port=8080
 name=old # kept
 last
\\ No newline at end of file
"""

CHANGES: list[tuple[str, ActionType, dict[str, Any], str | None]] = [
    ("create over", CREATE, {"content": "new", "overwrite": True, "mode": "0600"}, "new"),
    ("content", EDIT, {"content": "whole new\n"}, "whole new\n"),
    ("append", EDIT, {"append": "\nmore\n"}, OLD + "\nmore\n"),
    ("replace", EDIT, {"replace": {"pattern": "^port=.*$", "with": r"port=\1"}}, OLD.replace("80", r"\1")),
    ("replace literal", EDIT, {"replace": {"pattern": "old", "with": "young"}}, OLD.replace("old", "young")),
    (
        "replace groups",
        EDIT,
        {"replace": {"pattern": r"^(\w+)=(\w+)", "with": r"\1 = \2", "groups": True, "count": 1}},
        OLD.replace("port=80", "port = 80"),
    ),
    ("patch", EDIT, {"patch": PATCH}, OLD.replace("80", "8080")),
    ("delete", DELETE, {}, None),
]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "site.conf"
    path.write_text(OLD)
    path.chmod(0o640)
    os.utime(path, ns=(1_500_000_000_123_456_789, 1_600_000_000_987_654_321))
    return path


def whole(path: Path) -> tuple[bytes, int, int, int, int]:
    found = path.stat()
    return path.read_bytes(), stat.S_IMODE(found.st_mode), found.st_mtime_ns, found.st_uid, found.st_gid


@pytest.mark.parametrize(("name", "kind", "change", "expected"), CHANGES, ids=[change[0] for change in CHANGES])
def test_every_change_is_done_and_undone_exactly(
    bench: Bench, conf: Path, name: str, kind: ActionType, change: dict[str, Any], expected: str | None
) -> None:
    before, atime = whole(conf), conf.stat().st_atime_ns
    _, undo = bench.do(kind, path=str(conf), **change)
    assert (conf.read_text() if conf.exists() else None) == expected
    if name not in ("create over", "delete"):
        assert stat.S_IMODE(conf.stat().st_mode) == 0o640
    assert undo() == {"path": str(conf), "restored": True}
    assert conf.stat().st_atime_ns == atime
    assert whole(conf) == before
    assert undo() == {"path": str(conf), "restored": False}, "a second time does no harm"
    assert [path.name for path in conf.parent.iterdir()] == ["site.conf"]


@pytest.mark.parametrize(("name", "kind", "change", "expected"), CHANGES, ids=[change[0] for change in CHANGES])
def test_what_others_changed_since_is_left_alone(
    bench: Bench, conf: Path, name: str, kind: ActionType, change: dict[str, Any], expected: str | None
) -> None:
    _, undo = bench.do(kind, path=str(conf), **change)
    conf.write_text("somebody else's")
    with pytest.raises(ChangedSince, match=r"was changed since .* by someone else"):
        undo()
    assert conf.read_text() == "somebody else's"


@pytest.mark.parametrize(("name", "kind", "change", "expected"), CHANGES, ids=[change[0] for change in CHANGES])
def test_a_probe_tells_done_from_not_done(
    bench: Bench, conf: Path, name: str, kind: ActionType, change: dict[str, Any], expected: str | None
) -> None:
    run = bench.begin(kind, path=str(conf), **change)
    assert perform(kind, "check", run) is Found.NOT_DONE
    perform(kind, "execute", run)
    assert perform(kind, "check", run) is Found.DONE
    after = conf.read_bytes() if conf.exists() else None
    result = perform(kind, "execute", run)
    assert (conf.read_bytes() if conf.exists() else None) == after, "a second attempt does not do it twice"
    assert result.get("changed", True)
    conf.write_text("somebody else's")
    assert perform(kind, "check", run) is Found.UNKNOWN


@pytest.mark.parametrize(
    ("kind", "change", "before", "after"),
    [
        (CREATE, {"content": "new", "overwrite": True}, Found.NOT_DONE, Found.DONE),
        (EDIT, {"content": "new"}, Found.NOT_DONE, Found.DONE),
        (EDIT, {"append": "x"}, Found.UNKNOWN, Found.UNKNOWN),
        (EDIT, {"replace": {"pattern": "^port=.*$", "with": "port=81"}}, Found.NOT_DONE, Found.DONE),
        (EDIT, {"replace": {"pattern": "old", "with": "older"}}, Found.UNKNOWN, Found.UNKNOWN),
        (EDIT, {"replace": {"pattern": "old", "with": "young"}}, Found.NOT_DONE, Found.UNKNOWN),
        (EDIT, {"patch": PATCH}, Found.NOT_DONE, Found.UNKNOWN),
        (DELETE, {}, Found.NOT_DONE, Found.DONE),
    ],
)
def test_a_probe_without_a_snapshot_does_not_guess(
    bench: Bench, conf: Path, kind: ActionType, change: dict[str, Any], before: Found, after: Found
) -> None:
    assert perform(kind, "check", bench.run(kind, path=str(conf), **change)) is before
    bench.execute(kind, path=str(conf), **change)
    assert perform(kind, "check", bench.run(kind, path=str(conf), **change)) is after


def test_an_attempt_that_died_before_its_effect_leaves_nothing(bench: Bench, conf: Path) -> None:
    before = whole(conf)
    run = bench.begin(EDIT, path=str(conf), content="new")
    from workers.actions.atomic import prefix_of

    (conf.parent / f"{prefix_of(run.key)}dead").write_text("half of the new con")
    assert bench.undo(EDIT, run) == {"path": str(conf), "restored": False}
    assert whole(conf) == before
    assert [path.name for path in conf.parent.iterdir()] == ["site.conf"]


def test_an_attempt_that_died_after_its_effect_is_undone_without_its_result(bench: Bench, conf: Path) -> None:
    before = whole(conf)
    run = bench.begin(EDIT, path=str(conf), content="new")
    perform(EDIT, "execute", run)
    bench.undo(EDIT, run, result=None)
    assert whole(conf) == before


def test_a_changed_mode_alone_is_put_right_again(bench: Bench, conf: Path) -> None:
    before = whole(conf)
    _, undo = bench.do(CREATE, path=str(conf), content=OLD, mode="0600", overwrite=True)
    assert stat.S_IMODE(conf.stat().st_mode) == 0o600
    assert undo()["restored"]
    assert whole(conf) == before


def test_create_makes_directories_and_takes_them_away(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "new.txt"
    result, undo = bench.do(CREATE, path=str(path), content="hé", mode="0751", parents=True)
    assert result["created"]
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == ("hé".encode(), 0o751)
    undo()
    undo()
    assert list(tmp_path.iterdir()) == []


def test_created_directories_that_others_use_stay(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "new.txt"
    _, undo = bench.do(CREATE, path=str(path), content="x", parents=True)
    (tmp_path / "a" / "mine").touch()
    undo()
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["mine"]


def test_create_copies_bytes_and_follows_the_umask(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(range(256)))
    plain = tmp_path / "plain"
    plain.touch()
    bench.do(CREATE, path=str(tmp_path / "copy"), source=str(source))
    assert (tmp_path / "copy").read_bytes() == bytes(range(256))
    assert (tmp_path / "copy").stat().st_mode == plain.stat().st_mode


def test_create_does_not_replace_without_being_told(bench: Bench, conf: Path) -> None:
    before = whole(conf)
    with pytest.raises(ActionError, match="overwrite: true"):
        bench.begin(CREATE, path=str(conf), content=OLD)
    assert whole(conf) == before


def test_a_link_is_followed_once_and_the_result_names_the_file(bench: Bench, conf: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(conf)
    result, undo = bench.do(EDIT, path=str(link), content="new")
    assert result["path"] == str(conf)
    assert link.is_symlink()
    link.unlink()
    link.symlink_to("/elsewhere")
    undo()
    assert conf.read_text() == OLD


def test_what_is_no_file_is_refused(bench: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing" / "there")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "one").write_text("x")
    os.link(tmp_path / "one", tmp_path / "two")
    cases = {
        str(tmp_path): "a directory",
        str(tmp_path / "pipe"): "a named pipe",
        "/dev/null": "a character device",
        str(tmp_path / "loop"): "leads nowhere",
        str(tmp_path / "one"): "2 names",
        "relative/path": "relative",
        str(tmp_path / "absent"): "does not exist",
        str(tmp_path / "one" / "below"): "Not a directory",
    }
    for path, said in cases.items():
        for kind, change in ((EDIT, {"append": "x"}), (DELETE, {})):
            with pytest.raises(ActionError, match=said) as caught:
                bench.begin(kind, path=path, **change)
            assert not caught.value.classification.retryable
    with pytest.raises(ActionError, match="does not exist"):
        bench.begin(CREATE, path=str(tmp_path / "dangling"), content="x")


def test_delete_may_find_nothing(bench: Bench, tmp_path: Path) -> None:
    result, undo = bench.do(DELETE, path=str(tmp_path / "absent"), missing_ok=True)
    assert result == {"path": str(tmp_path / "absent"), "deleted": False}
    undo()
    assert not list(tmp_path.iterdir())


def test_bytes_that_are_not_text_survive_an_edit(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "latin"
    path.write_bytes(b"caf\xe9=1\r\nport=1\r\n")
    bench.do(EDIT, path=str(path), replace={"pattern": "port=1", "with": "port=2"})
    assert path.read_bytes() == b"caf\xe9=1\r\nport=2\r\n"


def test_an_edit_shows_its_diff(bench: Bench, conf: Path) -> None:
    result, _ = bench.do(EDIT, path=str(conf), replace={"pattern": "^port=.*$", "with": "port=81"})
    assert "-port=80\n+port=81\n" in result["diff"]
    assert "@@ -1,4 +1,4 @@" in result["diff"]
    assert result["changed"]


def test_a_huge_diff_takes_no_time(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_text("".join(f"line {n % 7}\n" for n in range(50_000)))
    begun = time.monotonic()
    result, _ = bench.do(EDIT, path=str(path), content="".join(f"line {n % 5}\n" for n in range(50_000)))
    assert time.monotonic() - begun < 3
    assert len(result["diff"]) < 20_000


def test_a_pattern_must_match(bench: Bench, conf: Path) -> None:
    with pytest.raises(ActionError, match="matches nothing"):
        bench.begin(EDIT, path=str(conf), replace={"pattern": "^nowhere", "with": "x"})
    result, _ = bench.do(EDIT, path=str(conf), replace={"pattern": "^nowhere", "with": "x", "must_match": False})
    assert not result["changed"]


def test_a_pattern_that_backtracks_for_ever_is_cut_at_the_deadline(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_text("a" * 60 + "!")
    begun = time.monotonic()
    with pytest.raises(ActionTimedOut, match="deadline"):
        bench.execute(EDIT, path=str(path), timeout_s=0.5, replace={"pattern": "(a+)+$", "with": "x"})
    assert time.monotonic() - begun < 2
    assert path.read_text() == "a" * 60 + "!"


def test_a_pattern_in_a_large_file_gives_the_same_as_in_a_small_one(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"port=80\xff\n" * 20_000)
    bench.do(EDIT, path=str(path), replace={"pattern": "^port=(.*)$", "with": r"p \1", "groups": True})
    assert path.read_bytes() == b"p 80\xff\n" * 20_000


def test_a_patch_that_does_not_fit_names_hunk_and_line(bench: Bench, conf: Path) -> None:
    conf.write_text(OLD.replace("80", "81"))
    with pytest.raises(ActionError, match=r"hunk 1 .* line 2: expected 'port=80\\n', found 'port=81\\n'"):
        bench.begin(EDIT, path=str(conf), patch=PATCH)


def test_nothing_is_written_after_cancel_or_deadline(bench: Bench, conf: Path) -> None:
    before = whole(conf)
    run = bench.begin(EDIT, path=str(conf), content="new")
    run.deadline = time.monotonic()
    with pytest.raises(ActionTimedOut):
        perform(EDIT, "execute", run)
    bench.cancel.set()
    with pytest.raises(ActionCancelled):
        perform(EDIT, "execute", run)
    assert whole(conf) == before
    assert [path.name for path in conf.parent.iterdir()] == ["site.conf"]


def test_a_directory_that_cannot_be_written_says_so(bench: Bench) -> None:
    with pytest.raises(ActionError, match=r"cannot write /proc/rex-test: ") as caught:
        bench.execute(CREATE, path="/proc/rex-test", content="x")
    assert not caught.value.classification.retryable


def test_a_full_disk_leaves_the_file_whole(bench: Bench, conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    before = whole(conf)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(ActionError, match="cannot write"):
            bench.execute(EDIT, path=str(conf), content="x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert whole(conf) == before
    assert [path.name for path in conf.parent.iterdir()] == ["site.conf"]


def test_secrets_reach_the_file_and_nothing_else(bench: Bench, conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "swordfish")
    run = bench.begin(EDIT, path=str(conf), content="secret://env/DB_PASSWORD")
    result = perform(EDIT, "execute", run)
    assert conf.read_text() == "swordfish"
    assert "swordfish" not in json.dumps([run.snapshot, result])
    assert result["diff"] == ""


def test_problems_are_found_before_the_run() -> None:
    def paths(kind: ActionType, **parameters: Any) -> list[str]:
        return [path for path, _ in kind.problems(parameters)]

    assert paths(CREATE, path="/x") == [""]
    assert paths(CREATE, path="/x", content="a", source="/b") == ["source"]
    assert paths(CREATE, path="${{ inputs.x }}", content="${{ inputs.y }}") == []
    assert paths(EDIT, path="/x", replace={"pattern": "(", "with": ""}) == ["replace.pattern"]
    assert paths(EDIT, path="/x", replace="${{ inputs.r }}") == []
    assert paths(EDIT, path="/x", patch="nonsense") == ["patch"]
    assert paths(EDIT, path="/x", set={"a..b": 1}) == ["set.a..b"]


@pytest.mark.parametrize("back", [False, True])
def test_what_others_write_right_before_a_removal_is_not_lost(bench: Bench, tmp_path: Path, back: bool) -> None:
    """They write after the file was compared, right before the effect."""
    path = tmp_path / "file"
    if back:
        kind: Any = Create()
        run = bench.begin(kind, path=str(path), content="ours")
        arguments: tuple[Any, ...] = (Undo(snapshot=run.snapshot, result=perform(kind, "execute", run)),)
        again = bench.run(kind, key="another key")
    else:
        path.write_text("before")
        kind, arguments = Delete(), ()
        again = bench.begin(kind, path=str(path))
    again._guard = lambda: (path.write_text("by someone else"), None)[1]
    with pytest.raises(ActionError, match="changed by someone else"):
        perform(kind, "compensate" if back else "execute", again, *arguments)
    assert path.read_text() == "by someone else"
