"""The Lua scripts beside this file, each with the shared prelude before it, and some with one more."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import redis
    from redis.commands.core import Script

_MORE = {
    "-- needs the prelude of the fleet\n": "prelude_fleet",
    "-- needs the prelude of claims\n": "prelude_claims",
}
"""The first line of a script that needs a further prelude, and which."""


@cache
def source(name: str) -> str:
    """The text of script `name` as the server gets it."""
    folder = files(__package__) / "lua"
    own = (folder / f"{name}.lua").read_text()
    preludes = ["prelude", *(more for line, more in _MORE.items() if own.startswith(line))]
    return "".join((folder / f"{prelude}.lua").read_text() for prelude in preludes) + own


def names() -> list[str]:
    """Every script, sorted."""
    folder = files(__package__) / "lua"
    return sorted(
        entry.name.removesuffix(".lua")
        for entry in folder.iterdir()
        if entry.name.endswith(".lua") and not entry.name.startswith("prelude")
    )


class Scripts:
    """The scripts on one client; loaded by the server on first use, and again after its restart."""

    def __init__(self, client: "redis.Redis", prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._registered: dict[str, Script] = {}

    def __call__(self, name: str, *arguments: Any) -> tuple[list[Any], list[str]]:
        """Run script `name`; returns its answer, and what the caller sends now (id, entry, id, entry, ...)."""
        from redis.exceptions import NoScriptError

        script = self._registered.get(name)
        if script is None:
            script = self._registered[name] = self._client.register_script(source(name))
        reply: Any
        try:
            reply = script(keys=[self._prefix], args=arguments)
        except NoScriptError:
            # the server was restarted between its loading and its call; with its text it cannot be missing
            reply = self._client.eval(source(name), 1, self._prefix, *arguments)
        return reply[0], reply[1]
