"""`rex sync`: give devices a document, and say who has it."""

from collections.abc import Sequence
from pathlib import Path

from executor.cli.connecting import connect, settings
from executor.cli.output import note, say, say_json
from executor.cli.statuses import COMPLETED, STILL_RUNS, WRONG
from executor.documents import load_file


def sync(file: Path, devices: Sequence[str] | None, *, as_json: bool, wait_s: float | None, config: Path | None) -> int:
    """Write the document in `file`, and wait for the devices."""
    state = load_file(Path("/dev/stdin") if str(file) == "-" else file).data
    timeout_s = settings(config).distributed.synchronization_interval.total_seconds() if wait_s is None else wait_s
    with connect(config).client() as client:
        try:
            told = client.synchronize_state(state, devices=devices or None, timeout_s=timeout_s)
        except ValueError as error:
            note(f"rex: {error}")
            return WRONG
    if as_json:
        say_json(told)
    else:
        have = len(told["devices"]) - len(told["missing"])
        say(f"version {told['version']}: {have} of {len(told['devices'])} devices have it")
        for name in told["missing"]:
            say(f"  {name}: {told['devices'][name]['reason']}")
    return COMPLETED if told["complete"] else STILL_RUNS
