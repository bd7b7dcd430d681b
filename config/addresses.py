"""Addresses of broker and ledger: which are accepted, and how they are shown."""

import re
from urllib.parse import urlsplit

LEDGER_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel", "sentinels")
BROKER_SCHEMES = (*LEDGER_SCHEMES, "amqp", "amqps")
_UNREADABLE = "has no readable host and port (inside a password write / as %2F, # as %23, @ as %40)"


def scheme_of(url: str) -> str:
    return url.partition("://")[0]


def check_url(name: str, url: str, schemes: tuple[str, ...]) -> None:
    """Refuse an address that nothing could connect to; messages never quote it, for its password's sake.

    Options are left to who connects: `executor.address` reads them.

    Raises:
        ValueError: another scheme, no host or socket, or a part that cannot be read.
    """
    if scheme_of(url) not in schemes:
        raise ValueError(f"{name} must begin with one of {', '.join(f'{scheme}://' for scheme in schemes)}")
    if scheme_of(url) == "redis+socket":
        if not urlsplit(url).path.strip("/"):
            raise ValueError(f"{name} names no socket")
        return
    try:
        netloc = urlsplit(url).netloc
        hosts = [urlsplit(f"//{one}") for one in netloc.rpartition("@")[2].split(",")]
        _ = [host.port for host in hosts]  # read for its check: it raises for a port that is no number
    except ValueError:
        raise ValueError(f"{name} {_UNREADABLE}") from None
    if "@" in url.partition("://")[2][len(netloc) :]:
        # what stands before it is the rest of a password, not a path or an option
        raise ValueError(f"{name} {_UNREADABLE}")
    if not all(host.hostname for host in hosts):
        raise ValueError(f"{name} names no host")


def mask_url(url: str) -> str:
    """`url` with its passwords, in the authority or in the query, replaced by ``***``.

    Works on text, not on a parsed URL: one that is wrong, with a bare slash in its password for instance, is
    just what ends up in an error message.
    """
    hidden = re.sub(r"(://[^:@/?#]*:).*@", r"\1***@", url)
    return re.sub(r"([?&;][^=&;]*password[^=&;]*=)[^&;#]*", r"\1***", hidden, flags=re.IGNORECASE)
