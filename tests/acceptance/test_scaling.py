"""`rex scale`: worker processes of a local cluster come and go under load, and nothing is lost or done twice."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import Effects, action, strategy
from support.commands import Rex
from support.waiting import wait_until

from executor import ResolutionClient
from workers.cluster.__main__ import main

pytestmark = pytest.mark.cluster


@pytest.fixture
def rex(tmp_path: Path) -> Iterator[Rex]:
    made = Rex(tmp_path)
    yield made
    made.close()


def workers(client: ResolutionClient, device: str) -> int:
    return sum(device in worker["devices"] for worker in client.workers())


def test_workers_come_and_go_under_load(rex: Rex) -> None:
    """From one to three to one to none, and a device that was not there before; every effect once."""
    effects = Effects(rex.folder / "effects")
    with rex.up("--device", "edge-1", "--concurrency", "2", EFFECTS=str(effects.path)) as told:
        client = ResolutionClient(told["broker_url"], patience_s=10)
        executions = [
            client.submit(strategy(f"s{n}", [action(f"s{n}-{m}", effects, then="sleep 0.2") for m in range(10)]))
            for n in range(8)
        ]
        wait_until(lambda: len(effects.lines()) >= 3, description="they have begun")
        assert rex.json("scale", "edge-1", "3") == {"device": "edge-1", "workers": 3, "before": 1, "reached": True}
        assert workers(client, "edge-1") == 3
        assert rex("scale", "edge-1", "1").stdout == "edge-1: 1 worker process (before: 3)\n"
        assert workers(client, "edge-1") == 1
        reports = [client.result(name, timeout_s=60) for name in executions]
        assert {report["status"] for report in reports} == {"completed"}
        wanted = {f"do:s{n}-{m}" for n in range(8) for m in range(10)}
        assert Counter(effects.lines()) == dict.fromkeys(wanted, 1)
        assert {row["attempts"] for report in reports for row in report["actions"].values()} == {1}
        assert rex("scale", "edge-1", "0").returncode == 0
        assert rex("scale", "edge-2", "1").returncode == 0
        assert [workers(client, name) for name in ("edge-1", "edge-2")] == [0, 1]
        client.close()


def test_the_number_at_the_start_and_nonsense_in_the_file(rex: Rex) -> None:
    """`rex up --scale`; what a file says that no one can follow changes nothing, and the next good one is followed."""
    with rex.up("--device", "edge-1", "--scale", "edge-1=2") as told:
        client = ResolutionClient(told["broker_url"], patience_s=10)
        assert workers(client, "edge-1") == 2
        file = rex.state / "scale.json"
        for nonsense in ("{", "[]", '{"edge-1": -1}', '{"edge-1": 1e9}', '{"edge-1": true}', '{"a b": 1}', '{"x": 65}'):
            file.write_text(nonsense)
            refused = rex("scale", "edge-1", "1")
            assert refused.returncode == 2, refused.stderr
            assert "Traceback" not in refused.stderr
        assert workers(client, "edge-1") == 2
        file.write_text('{"edge-1": 2}')
        assert rex("scale", "edge-1", "1").returncode == 0
        assert workers(client, "edge-1") == 1
        client.close()


def test_what_is_refused(rex: Rex) -> None:
    """No cluster here, a cluster elsewhere, numbers that cannot be: each with what to do."""
    assert rex("scale", "edge-1", "2").returncode == 7
    elsewhere = rex("scale", "edge-1", "2", REX_BROKER_URL="redis://127.0.0.1:1/0")
    assert elsewhere.returncode == 2
    assert "docker compose up --scale" in elsewhere.stderr
    assert "kubectl scale" in elsewhere.stderr
    for wrong in (("edge-1", "-1"), ("edge-1", "65"), ("edge-1", "two")):
        assert rex("scale", *wrong).returncode == 2
    assert rex("up", "--device", "edge-1", "--scale", "edge-1=many").returncode == 2


def test_a_number_that_the_cluster_would_take_back_is_refused(rex: Rex) -> None:
    """One that scales by itself leaves 0 alone, and goes back into its bounds from anything else."""
    with rex.up("--device", "edge-1", REX_DISTRIBUTED__SCALE_MIN="2", REX_DISTRIBUTED__SCALE_MAX="4"):
        for number in (1, 10):
            refused = rex("scale", "edge-1", number)
            assert refused.returncode == 2
            assert refused.stderr == (
                "rex: this cluster scales by itself: edge-1 can have 2 (distributed.scale_min) to 4 "
                f"(distributed.scale_max) worker processes, or 0, not {number}; start `rex up` with other bounds\n"
            )
        assert rex("scale", "edge-1", "0").returncode == 0


def test_the_parent_says_what_is_wrong_with_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    """It may be called without `rex`, and argparse would tell of nothing but an invalid value."""
    with pytest.raises(SystemExit):
        main(["up", "--device", "edge-1", "--scale", "edge-1=65"])
    assert "edge-1 can have 0 to 64 worker processes on one machine, not 65" in capsys.readouterr().err
