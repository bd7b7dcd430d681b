"""Makes docs/images anew, from real runs: a terminal during `rex run`, and Flower beside a cluster.

    python docs/pictures.py

Needs Chromium for Flower. Pictures are made by hand, after a change that shows in them; no test compares them.
"""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).resolve().parent / "images"
BIN = Path(sys.executable).parent
COLUMNS = 116

STRATEGY = """\
name: restart-web
description: A new configuration that turns out to be wrong.
inputs:
  site: {type: string, required: true}
defaults:
  device: edge-1
  uses: command
  retry: none
actions:
  - id: configure
    uses: file.edit
    with: {path: "${{ inputs.site }}/site.conf", replace: {pattern: '^workers=.*$', with: workers=8}}
  - id: drain
    device: edge-2
    with: {run: "echo drain >> log; sleep 0.3", cwd: "${{ inputs.site }}"}
    compensate: {uses: command, with: {run: "echo serve again >> log", cwd: "${{ inputs.site }}"}}
  - id: restart
    retry: {max_attempts: 2}
    with: {run: "echo restart >> log; sleep 0.4; test -e tried || { touch tried; exit 1; }", cwd: "${{ inputs.site }}"}
    compensate: {uses: command, with: {run: "echo restart with the old >> log", cwd: "${{ inputs.site }}"}}
  - id: serves
    with: {run: "echo 503; exit 1"}
    compensate: none
"""


def wait_until(question: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 60
    while not question():
        if time.monotonic() > until:
            raise SystemExit(f"never came: {what}")
        time.sleep(0.1)


def on_terminal(argv: list[str], environ: dict[str, str], folder: Path) -> str:
    """What a program shows on a terminal, escapes included."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execve(argv[0], argv, environ)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    said = b""
    try:
        while part := os.read(terminal, 65536):
            said += part
    except OSError:  # the other end is closed
        pass
    os.waitpid(pid, 0)
    return said.decode()


def run_picture(environ: dict[str, str], folder: Path) -> None:
    """The last picture of the live table, and the summary below it."""
    said = on_terminal([str(BIN / "rex"), "run", "restart-web.yaml", "--input", f"site={folder}"], environ, folder)
    last = re.split(r"(?:\x1b\[1A|\x1b\[2K|\r)+(?!\n)", said.replace("\r\n", "\n"))[-1]
    shown = re.sub(r"\x1b\[\?\d+[lh]", "", last).replace(str(folder), "/srv/site").strip()
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    console.print(Text("$ rex run restart-web.yaml --input site=/srv/site", style="bold"))
    console.print(Text.from_ansi(shown))
    svg = console.export_svg(title="rex run", unique_id="rex-run")
    # a page that shows the picture must not load anything from elsewhere
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    (IMAGES / "run.svg").write_text(svg)


def flower_picture(port: int, folder: Path, name: str = "flower.png") -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or "google-chrome"
    subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={folder / 'chromium'}", f"--screenshot={IMAGES / name}", "--window-size=1400,760",
            "--virtual-time-budget=5000", f"http://127.0.0.1:{port}/tasks?limit=25",
        ],
        check=True, timeout=90, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def shows(port: int, wanted: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/tasks", timeout=5) as answer:
            tasks = json.load(answer).values()
    except (urllib.error.URLError, OSError):
        return False
    return sum(task["state"] in ("SUCCESS", "FAILURE") for task in tasks) >= wanted


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "restart-web.yaml").write_text(STRATEGY)
        (folder / "site.conf").write_text("workers=4\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        own = {name: value for name, value in os.environ.items() if not name.startswith("REX_")}
        environ = {**own, "REX_STATE_DIR": str(folder / "state"), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
        up = subprocess.Popen(
            [BIN / "rex", "up", "--device", "edge-1", "--device", "edge-2", "--flower", "--flower-port", str(port)],
            env=environ, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until((folder / "state" / "cluster.json").exists, "a cluster")
            wait_until(lambda: shows(port, 0), "Flower")
            time.sleep(3)  # Flower hears events only from now on
            run_picture(environ, folder)
            wait_until(lambda: shows(port, 7), "all actions in Flower")
            flower_picture(port, folder)
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(timeout=60)


if __name__ == "__main__":
    main()
