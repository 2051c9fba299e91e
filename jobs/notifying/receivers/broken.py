"""Why a connection came to nothing, in words for people, whatever library says it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from infra.errors import one_line


class BrokenConnection(NamedTuple):
    """What happened, and what to do about it."""

    words: str
    hint: str


#: What to do where nothing comes back in time.
LATE = "is it the right host and port, and does a firewall drop what is sent there? timeout_s sets the time"
OFF = BrokenConnection("it broke off the connection", "does it speak this protocol on that port, with TLS or without?")


def why(error: BaseException) -> BrokenConnection | None:
    """The cause of a failed connection; None: it is no failure of a connection, or one that is not known.

    Libraries wrap what the system says, some in errors whose text is that of their objects: the first cause that is known counts.
    """
    return next((found for one in _within(error) if (found := _known(one)) is not None), None)


def _known(error: BaseException) -> BrokenConnection | None:
    if isinstance(error, ConnectionRefusedError):
        return BrokenConnection("connection refused: nobody listens on that port", "start it, or mend host and port")
    if isinstance(error, socket.gaierror):
        return BrokenConnection("the name of the host cannot be resolved", "mend the name, or the DNS of this machine")
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "name its authority in ca (a PEM file), or mend the name of the host"
        return BrokenConnection(f"its certificate is not trusted: {one_line(error.verify_message)}", hint)
    if isinstance(error, ssl.SSLError):
        said = (error.reason or str(error)).replace("_", " ").lower()
        return BrokenConnection(f"no TLS with it: {one_line(said)}", "does it speak TLS on that port? else set it to go without")
    if isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return OFF
    # A class of a library's own says by its text what it means, not by the system's number.
    if isinstance(error, OSError) and type(error) in (OSError, PermissionError) and error.errno and error.strerror:
        return BrokenConnection(one_line(error.strerror.lower()), "mend host and port, or the network of this machine")
    return None


def _within(error: BaseException) -> Iterator[BaseException]:
    """An error and all that it was made of, what lies deepest first."""
    todo, seen = [error], list[BaseException]()
    while todo:
        one = todo.pop(0)
        if one in seen:
            continue
        seen.append(one)
        inner = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        todo += [other for other in inner if isinstance(other, BaseException)]
    return reversed(seen)
