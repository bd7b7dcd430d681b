"""``make demo``: a real service is recovered, then a change that fails is taken back. Leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
REX = Path(sys.executable).parent / "rex"
DEVICES = ("edge-1", "edge-2", "edge-3")
BROKEN = "# site.conf\nworkers=none\nbackend=primary\n"


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def health(url: str) -> str:
    """What the service answers: status and text."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return f"{answer.status} {answer.read().decode().strip()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode().strip()}"


@contextmanager
def service(workdir: Path) -> Iterator[str]:
    """The service as a process; gives its address."""
    process = subprocess.Popen(
        [sys.executable, HERE / "service.py", workdir / "site.conf"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def cluster(environ: dict[str, str]) -> Iterator[None]:
    """Server, coordinator, and a worker for each device; `rex run` finds it by itself."""
    devices = [part for device in DEVICES for part in ("--device", device)]
    log = Path(environ["REX_STATE_DIR"]).with_name("cluster.log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [REX, "up", "--json", *devices], env=environ, stdout=subprocess.PIPE, stderr=output, text=True,
            start_new_session=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            sys.exit(f"{log.read_text()}\nthe cluster does not start")
        print(f"{', '.join(json.loads(line)['pids'])} are running", flush=True)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def run(strategy: str, workdir: Path, url: str, environ: dict[str, str]) -> int:
    command = ["run", HERE / strategy, "--input", f"workdir={workdir}", "--input", f"url={url}"]
    print("$ rex run", os.path.relpath(HERE / strategy), "--input workdir=... --input url=...", flush=True)
    return subprocess.run([REX, *command], env=environ, check=False).returncode


def world(workdir: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and mode, but for the log of what was done."""
    return {
        path.name: (path.read_bytes(), path.stat().st_mode)
        for path in sorted(workdir.iterdir())
        if path.name != "traffic.log"
    }


def recovered(workdir: Path, url: str, environ: dict[str, str]) -> bool:
    say("1. A bad configuration was rolled out: the service is down")
    print(f"{url}/health answers {health(url)}")
    status = run("recover.yaml", workdir, url, environ)
    print(f"{url}/health answers {health(url)}")
    return status == 0 and health(url).startswith("200 ")


def taken_back(workdir: Path, url: str, environ: dict[str, str]) -> bool:
    say("2. A change that fails at its last action: everything before it is taken back")
    before, answered = world(workdir), health(url)
    status = run("migrate.yaml", workdir, url, environ)
    same = world(workdir) == before
    print(f"{url}/health answers {health(url)}")
    print(f"files as they were, byte for byte and with their modes: {'yes' if same else 'NO'}")
    print(f"what was done, and taken back: {', '.join((workdir / 'traffic.log').read_text().splitlines())}")
    return status == 1 and same and health(url) == answered


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="rex-demo-") as folder:
        workdir = Path(folder) / "site"
        workdir.mkdir()
        (workdir / "site.conf").write_text(BROKEN)
        (workdir / "cache.db").write_bytes(bytes(range(256)))
        (workdir / "cache.db").chmod(0o640)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("REX_")}
        environ["REX_STATE_DIR"] = str(Path(folder) / "state")
        say("Starting a server, a coordinator and a worker for each of three devices")
        with service(workdir) as url, cluster(environ):
            good = recovered(workdir, url, environ) and taken_back(workdir, url, environ)
    if not good:
        say("The demo did not go as it should: please report what stands above")
        return 1
    say("Done; nothing is left running, and nothing is left behind")
    print("Where to go on:")
    print("  .venv/bin/rex run examples/demo/recover.yaml --help   the command, with its exit statuses")
    print("  .venv/bin/rex actions                                 what actions there are")
    print("  .venv/bin/rex up --device edge-1 --flower             a cluster that stays, with Flower")
    print("  docs/                                                 the tutorial and the reference")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
