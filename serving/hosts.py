"""Whom a server on loopback listens to: the Host header, against DNS rebinding.

A web page of a stranger can make a name of its own resolve to 127.0.0.1 and have its visitors' browsers send requests
to a server there, past the same-origin policy. Such requests carry the stranger's name as their Host.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from polystilts.errors import PolystiltsError

#: Names by which a server on loopback is called.
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
#: In place of a name: every one.
ANY = "*"

# RFC 9110, 7.2: uri-host [":" port]; an IPv6 address stands in brackets.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(:[0-9]{0,5})?")
_ECHO = 100


class BadHost(PolystiltsError):
    """A Host header that is missing, malformed, or names none of the allowed hosts."""

    code = "bad_host"
    status = 400


def check_host(header: str | None, allowed: Collection[str]) -> None:
    """Whether a request may come in by this name; the port does not matter, nor do case and a final dot.

    Args:
        header: the Host header, None if there is none.
        allowed: names without port; `ANY` allows everything.

    Raises:
        BadHost: the request must be refused before anything else is done with it.
    """
    if ANY in allowed or header in allowed:
        return
    match = _HOST.fullmatch(header or "")
    if match is None or match[1].lower().rstrip(".") not in {name.lower().rstrip(".") for name in allowed}:
        raise BadHost(
            f"this server is not called {header[:_ECHO]!r}" if header else "the request has no Host header",
            param="Host",
            limit=", ".join(allowed),
            given=(header or "")[:_ECHO],
        )
