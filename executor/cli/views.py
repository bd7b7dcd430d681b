"""How somebody who waits is shown what happens: a table on a terminal, lines elsewhere, nothing for JSON."""

import time
from typing import TYPE_CHECKING, Any, Protocol, Self

from executor.cli.lines import line_of
from executor.cli.output import harmless, note, on_terminal, say
from executor.cli.progress import Progress, Row

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {
    "running": "cyan", "succeeded": "green", "failed": "red", "timed_out": "red", "waiting": "yellow",
    "skipped": "dim", "cancelled": "dim", "pending": "dim",
}  # fmt: skip
_URGENT = ("running", "waiting", "failed", "timed_out")


class View(Protocol):
    """Somebody who watches."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def event(self, event: dict[str, Any]) -> None: ...
    def tick(self) -> None: ...
    def tell(self, text: str) -> None: ...


def view_for(progress: Progress, title: str, *, as_json: bool, interval_s: float) -> View:
    """The view that fits where the output goes."""
    if as_json:
        return Silent()
    return Table(progress, title, interval_s) if on_terminal() else Lines()


class Silent:
    """Standard output belongs to the JSON at the end; only what somebody has to act on is said, on standard error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def event(self, event: dict[str, Any]) -> None:
        if event["event"].endswith(":waiting"):
            self.tell(line_of(event) or "")

    def tick(self) -> None: ...

    def tell(self, text: str) -> None:
        note(text)


class Lines(Silent):
    """A line for each event."""

    def event(self, event: dict[str, Any]) -> None:
        line = line_of(event)
        if line is not None:
            say(line)


class Table:
    """The actions in a table, drawn anew each `interval_s` seconds, and soon after something has happened."""

    def __init__(self, progress: Progress, title: str, interval_s: float) -> None:
        from rich.console import Console
        from rich.live import Live

        self._progress = progress
        self._title = title
        self._console = Console()
        self._live = Live(console=self._console, refresh_per_second=1 / interval_s, get_renderable=self._draw)
        self._changed = True

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def event(self, event: dict[str, Any]) -> None:
        self._changed = True
        if event["event"].endswith(":waiting"):
            self.tell(line_of(event) or "")

    def tick(self) -> None:
        if self._changed:
            self._changed = False
            self._live.refresh()

    def tell(self, text: str) -> None:
        self._console.print(harmless(text), markup=False, highlight=False)

    def _draw(self) -> "RenderableType":
        from rich.table import Table as RichTable
        from rich.text import Text

        title = Text(harmless(f"{self._title}: {self._progress.state}"))
        table = RichTable(title=title, title_justify="left", box=None, pad_edge=False)
        for head in ("action", "status", "device", "attempts", "time", "rollback"):
            table.add_column(head, no_wrap=True, overflow="ellipsis")
        # it alone gives way: a column that may not wrap would take its room from the others
        table.add_column("", overflow="ellipsis", ratio=1)
        rows = self._shown()
        for name, row in rows:
            status = Text(row.status, style=_COLOURS.get(row.status, ""))
            attempts = str(row.attempts) if row.attempts else ""
            remark = Text(harmless(row.note[:200]), no_wrap=True, overflow="ellipsis")
            table.add_row(Text(name), status, row.device, attempts, _time(row), row.undo, remark)
        hidden = len(self._progress.rows) - len(rows)
        if hidden:
            done = sum(row.finished_ms is not None for row in self._progress.rows.values())
            table.caption = f"{hidden} more; {done} of {len(self._progress.rows)} have ended"
        return table

    def _shown(self) -> list[tuple[str, Row]]:
        """As many as the terminal has lines; those that something happens with go first, in their own order."""
        rows = list(self._progress.rows.items())
        room = max(3, self._console.size.height - 6)
        if len(rows) <= room:
            return rows
        order = {name: n for n, (name, _) in enumerate(rows)}
        urgent = sorted(rows, key=lambda item: (item[1].status not in _URGENT, item[1].status != "pending"))
        return sorted(urgent[:room], key=lambda item: order[item[0]])


def _time(row: Row) -> str:
    if row.started_ms is None:
        return ""
    until = row.finished_ms if row.finished_ms is not None else round(time.time() * 1000)
    return f"{max(0, until - row.started_ms) / 1000:.2f} s"
