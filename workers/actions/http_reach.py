"""Whether the server that a request names is the same one, asked from another device."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from executor.action import Json


def same_from_elsewhere(parameters: Json) -> bool:
    """`parameters` as written.

    What an expression names is not known; a loopback or link-local address is another server on every device; and a
    secret is read from the environment of its device, which another may not have.
    """
    url = parameters.get("url")
    if not isinstance(url, str) or _holds_secret(parameters):
        return False
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return False
    if not host or "${{" in parts.netloc:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost" and not host.endswith((".localhost", ".local"))
    return not (address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast)


def _holds_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_secret(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_holds_secret(inner) for inner in value)
    return isinstance(value, str) and "secret://" in value
