"""Names as text: of files, sensors and domains, which the system gives as bytes that need not be UTF-8.

Python holds such bytes as lone surrogates (PEP 383), which no encoder takes: not a terminal, not JSON, not Arrow, not a Kafka header.
"""

from __future__ import annotations

import codecs
import re
import sys
from os import PathLike, fspath

#: What shows nothing and changes how the text around it is read: soft hyphen, vowel separator, zero-width characters, byte order mark;
#: marks, embeddings, overrides and isolates of the direction (Unicode Standard Annex 9); shapes, annotation, tags.
#: With them a name could be made to look like another.
_INVISIBLE = "\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
#: Lone surrogates, control characters, the two separators that some programs take for the end of a line, and what is invisible.
_UNFIT = re.compile(f"[\ud800-\udfff\x00-\x1f\x7f-\x9f\u2028\u2029{_INVISIBLE}]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(name: str | PathLike[str]) -> str:
    r"""``name`` as one line of valid UTF-8.

    Bytes that are not UTF-8 come out as ``\xNN``, other lone surrogates as ``\udNNN``, control characters as ``\n``, ``\x1b`` and the like,
    and so do characters that are invisible or turn the direction of the text around them, as ``\u202e``.
    The same name always gives the same text; a name without any of these stays as it is.

    Examples
    --------
    >>> printable(os.fsdecode(b"caf\xe9.pcap"))
    'caf\\xe9.pcap'
    """
    return _UNFIT.sub(lambda match: _escaped(match[0]), fspath(name))


def valid_text(text: str) -> str:
    r"""``text`` as valid UTF-8: as :func:`printable`, but lines and other control characters stay."""
    return _LONE_SURROGATE.sub(lambda match: _escaped(match[0]), text)


def visible(text: str) -> str:
    r"""``text`` for a terminal: as :func:`printable`, but ends of lines and tabs stay.

    Examples
    --------
    >>> visible("\x1b[2J\nnext")
    '\\x1b[2J\nnext'
    """
    return _UNFIT.sub(lambda match: match[0] if match[0] in "\n\t" else _escaped(match[0]), text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte, as os.fsdecode keeps it
        code -= 0xDC00
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    r"""Codec error handler: as :func:`printable`, and ``\uNNNN`` for what the encoding of the terminal lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(map(_escaped, bad)), error.end


def escape_on_output() -> None:
    """Have standard output and standard error escape what their encoding cannot hold, instead of failing in the middle of a line."""
    codecs.register_error("flowlake.escape", _escape_unencodable)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # none: closed, or replaced by a test
        if reconfigure is not None:
            reconfigure(errors="flowlake.escape")
