"""The service of the demo: a small HTTP server that obeys `site.conf`, read anew for each request.

It answers /health with 200 as long as its configuration makes sense, and with 503 and the reason otherwise.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def problem_of(settings: dict[str, str]) -> str | None:
    """What is wrong with the configuration; None: nothing."""
    if not settings.get("workers", "").isdigit() or int(settings["workers"]) < 1:
        return f"workers={settings.get('workers')} is no positive number"
    if settings.get("backend") not in ("primary", "replica"):
        return f"backend={settings.get('backend')} is neither primary nor replica"
    return None


class HealthPage(BaseHTTPRequestHandler):
    config: Path

    def do_GET(self) -> None:
        lines = self.config.read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        problem = problem_of(settings)
        body = (problem or f"serving with {settings['workers']} workers from {settings['backend']}") + "\n"
        self.send_response(503 if problem else 200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Quiet: the demo is about the strategies."""


if __name__ == "__main__":
    HealthPage.config = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), HealthPage)
    print(server.server_port, flush=True)
    server.serve_forever()
