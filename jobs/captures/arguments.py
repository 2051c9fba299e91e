"""What commands that read capture files share: how files are named, how pipes are waited for, what is said of files not read."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.errors import CaptureError, ConfigError
from infra.names import printable

if TYPE_CHECKING:
    from sensors.packets.files import Found, Problem
    from sensors.packets.following import Follow

#: Files that are not read and named one by one; the others are counted.
_NAMED = 5
#: How long the writer of a pipe may take to end after the signal that it got too, as from Ctrl-C in a shell; seconds.
_GRACE_S = 1.0


#: Standard input among captures, standard output among what is written.
DASH = Path("-")


def capture_path(text: str) -> Path:
    """A file as named on a command line: ``-`` is standard input or output, ``./-`` a file of that name."""
    path = Path(text)
    return path.absolute() if path == DASH and text != "-" else path


Captures = Annotated[
    list[Path],
    typer.Argument(
        metavar="CAPTURE",
        parser=capture_path,
        help="pcap or pcapng files, compressed too (gzip, zstd, lz4, xz, bzip2), folders of them, or - for stdin.",
    ),
]


def refuse_overwriting(out: Path | None, read: Sequence[Path | None], option: str = "--out") -> None:
    """Refuse an output that is among what is read.

    Raises
    ------
    ConfigError
        It is, perhaps under another name.
    """
    if out is not None and os.path.realpath(out) in {os.path.realpath(f) for f in read if f is not None and f != DASH}:
        raise ConfigError(f"{option} {out} is what is read", "name another file: it would be overwritten")


def waiting(found: Found) -> Follow | None:
    """How the pipes among the files are waited for; None where there is none."""
    from sensors.packets.following import Follow

    return Follow(grace_s=_GRACE_S) if found.pipes else None


def ending(waited: Follow, sending: threading.Event, linger_s: float = 10.0) -> Callable[[], None]:
    """What a signal does while a file is followed: the first one ends the reading, and what was read is still sent.

    ``sending`` is set, and what is not sent given up, by the second one, or when the broker did not take it all in ``linger_s``.
    """

    def give_up() -> None:
        waited.stop.wait()
        sending.wait(linger_s)
        sending.set()

    # Begun now, since little is safe to do in a signal handler.
    threading.Thread(target=give_up, name="give up", daemon=True).start()
    return lambda: (sending if waited.stop.is_set() else waited.stop).set()


def tell_unread(skipped: Sequence[Problem], failed: Sequence[Problem]) -> None:
    """Name on standard error what is not read: captures that cannot be, all of them; other files of folders, some."""
    from sensors.packets.files import reasons

    for problem in skipped[:_NAMED]:
        print(f"skipped {printable(problem.file)}: {problem.why}", file=sys.stderr)
    if more := skipped[_NAMED:]:
        print(f"skipped {len(more):,} more: {reasons(more)}", file=sys.stderr)
    for problem in failed:
        print(f"unreadable {printable(problem.file)}: {problem.why}", file=sys.stderr)


def raise_unread(found: Found, failed: Sequence[Problem], done: str) -> None:
    """End with an error when there were captures that could not be read.

    Raises
    ------
    CaptureError
        Some could not.
    """
    if failed:
        files = len(found.files) + len(found.failed)
        what = "1 capture file" if len(failed) == 1 else f"{len(failed):,} capture files"
        raise CaptureError(f"{what} of {files:,} could not be read, or not to the end", f"named above; everything else is {done}")
