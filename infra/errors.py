"""Errors a person is meant to read: one line that names the thing, and the way out."""

from __future__ import annotations

import re

from infra.names import printable

#: User and password of a URI. SQLAlchemy, unlike RFC 3986, lets a password hold "/" and "@"; a number and a slash are a port and a path.
_USERINFO = re.compile(r"://(?:[^:/@\s]*:(?!\d+/)\S*|[^/\s]*)@")


def one_line(said: BaseException | str, limit: int = 300) -> str:
    r"""What an exception or a program says, as one line fit for an error message, a log line or a Kafka header.

    Parameters
    ----------
    said
        An exception (without any words, its class is named), or text.
    limit
        Characters at most; longer text ends in ``...``.

    Returns
    -------
    str
        Without line breaks, control characters and lone surrogates (:func:`infra.names.printable`), and without the user and password of
        any URI.

    Examples
    --------
    >>> one_line(OSError("cannot reach\n  postgresql://me:secret@db/flows"))
    'cannot reach postgresql://db/flows'
    """
    words = " ".join(str(said).split())
    if not words and isinstance(said, BaseException):
        words = type(said).__name__
    text = printable(without_password(words))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def without_password(text: str) -> str:
    """``text`` with no user and no password in its URIs."""
    return _USERINFO.sub("://", text)


class FlowlakeError(Exception):
    """A failure with a known cause.

    ``str(error)`` is one line naming the value at fault and where it came from; ``hint`` says what to do next. Commands print
    both and exit with ``exit_code``; a stack trace is shown only with ``--debug`` (or ``FLOWLAKE_DEBUG=1``). What a line of text cannot
    hold, of a file's name say, is escaped (:func:`infra.names.printable`).
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(printable(message))
        self.hint = printable(hint)


class ConfigError(FlowlakeError):
    """A setting is missing, unknown or out of range."""

    exit_code = 2


class CaptureError(FlowlakeError):
    """A capture file or interface cannot be read."""

    exit_code = 3


class BrokerError(FlowlakeError):
    """The Kafka broker cannot be reached, or refuses."""

    exit_code = 4


class StoreError(FlowlakeError):
    """A store (lake, hot store, alerts) cannot be reached or written."""

    exit_code = 5


class ModelError(FlowlakeError):
    """The champion model is missing, corrupt or of another feature-schema version."""

    exit_code = 6


class StackError(FlowlakeError):
    """A part of the local stack is missing, of the wrong version, or does not start."""

    exit_code = 7


class CheckpointError(FlowlakeError):
    """A checkpoint does not fit: it belongs to another schema version, to other settings, or to a topic that is no more."""

    exit_code = 8


class InputError(FlowlakeError):
    """A file of another system (CSV, SQLite) cannot be read, or is not what it should be."""

    exit_code = 9


class ResponseError(FlowlakeError):
    """A block was refused by a guard rail, or the responder could not carry it out."""

    exit_code = 11
