"""Named points at which a fault test stops this process; inert unless ``REX_CRASH_POINT`` says otherwise.

``REX_CRASH_POINT=pre-settle:restart:KILL:/path/once`` sends the process that signal when it comes to that point with
that action, once for each file name: the file is created first, and where it exists already nothing happens.
"""

import os
import signal
import threading
from pathlib import Path


def crash_point(point: str, action: str = "") -> None:
    """Die or stop here when a fault test asked for it."""
    wanted = os.environ.get("REX_CRASH_POINT")
    if wanted is None:
        return
    at, of, how, once = wanted.split(":", 3)
    if at != point or of not in ("*", action):
        return
    try:
        Path(once).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.Signals[f"SIG{how}"])
    # a signal to the process may reach another thread first: this one must not go on meanwhile
    threading.Event().wait(0.5)
