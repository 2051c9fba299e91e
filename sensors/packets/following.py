"""Bytes of a capture file that is still being written: what is there, then what is added to it, as ``tail -f`` does.

The file is looked at several times a second. Its end is the end of what was written so far, never the end of the capture: that comes when
the one who follows is told to stop, when the file was silent for as long as allowed, or when the file is no longer the one that was begun.
Silence says nothing about time: a writer holds packets back in a buffer (``tcpdump`` without ``-U`` does so until it is full), so the wall
clock never moves the clock of a followed file; see :class:`Follow`.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from infra.errors import CaptureError

log = logging.getLogger(__name__)

POLL_S = 0.1  # between two looks at a silent file
_GRACE = 10  # looks at a file whose name another has taken: its writer may still be emptying its buffer
_REMEMBERED = 64  # last bytes read, compared at every look with what the file holds now


class Ending(Enum):
    """Why the following of a file ended."""

    STOPPED = "stopped"
    SILENT = "silent"  # for ``timeout_s``
    REPLACED = "replaced"  # another file has its name; it was read to its end
    CUT = "cut"  # truncated, or written anew in place


@dataclass
class Follow:
    """How to follow a file, and how that ended.

    The packets, and so the flow records, are those of the finished file: only packets move the clock. While the file is silent its open
    flows stay open; they are closed by the next packets, or by the end of the following, as at the end of a file.

    Attributes
    ----------
    timeout_s : float
        End after so many seconds without a new byte, the time before the file exists included; 0: never.
    stop : threading.Event
        Set from anywhere, a signal handler too: ends the following, in the middle of the file if need be.
    idle : callable, optional
        Called in the reading thread at every look that finds nothing new.
    poll_s : float
        Seconds between two such looks.
    ending : Ending or None
        Why it ended; None before.
    grace_s : float
        A pipe alone: after ``stop`` read on for so many seconds at most, for its writer to end.
    problem : str
        One line when the file could not be followed on (``REPLACED``, ``CUT``), else empty.
    """

    timeout_s: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)
    idle: Callable[[], None] | None = None
    poll_s: float = POLL_S
    grace_s: float = 0.0
    ending: Ending | None = None
    problem: str = ""

    def abandon(self) -> None:
        """End it now, whatever is still to come."""
        self.grace_s = 0.0
        self.stop.set()


class Speaker(Protocol):
    """What :class:`Heartbeats` needs of a publisher."""

    @property
    def in_run(self) -> bool: ...

    def heartbeat(self, clock: int) -> None: ...


class Heartbeats:
    """Called while a file is silent: repeats the sensor's last clock, so that the sensor is not taken for dead.

    The clock itself does not move, see :class:`Follow`. Before the first packet nothing is said: a run without a clock would hold up the
    other sensors of its domain.

    Parameters
    ----------
    publisher
        Speaks.
    every_s
        At most this often.
    """

    def __init__(self, publisher: Speaker, every_s: float) -> None:
        self._publisher = publisher
        self._every = every_s
        self._last = float("-inf")

    def __call__(self) -> None:
        now = time.monotonic()
        if self._publisher.in_run and now - self._last >= self._every:
            self._last = now
            self._publisher.heartbeat(0)  # the publisher never goes back: this repeats what it said last


class FollowedStream:
    """Sequential reader of a growing file; the counterpart of :class:`sensors.packets.bytestream.ByteStream`.

    Parameters
    ----------
    path
        A plain file, or where one will be.
    follow
        How; its ``ending`` and ``problem`` are set.

    Raises
    ------
    CaptureError
        The folder is missing, or the file is not a plain one or cannot be read; raised by :meth:`read_into` when it appears later.
    """

    damage, failed = "", False  # of compressed data, which cannot be followed; what cannot be read is an error
    live = True

    def __init__(self, path: str | Path, follow: Follow) -> None:
        self.path = Path(path)
        self.follow = follow
        self.bytes_read = 0
        self.size = 0  # as of the last look; a number, since other threads ask for it
        self._fd = -1
        self._last = b""
        self._silent_since: float | None = None
        self._looks_since_replaced = 0
        try:
            if not self.path.parent.is_dir():
                raise CaptureError(
                    f"capture file {path}: no folder {self.path.parent}", "check the path; only the file itself is waited for"
                )
            self._open()
        except ValueError as e:  # a NUL byte in the name
            raise CaptureError(f"capture file {str(path)!r}: {e}") from e

    @property
    def ending(self) -> Ending | None:
        """Why the following ended; None before."""
        return self.follow.ending

    @property
    def over(self) -> bool:
        """No byte will follow."""
        return self.follow.ending is not None

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def dry(self) -> bool:
        """Nothing new is there: reading would wait."""
        self.size = os.fstat(self._fd).st_size if self._fd >= 0 else 0
        return self.size <= self.bytes_read

    def read_into(self, view: memoryview) -> int:
        """Read what is there into ``view``, waiting for the first byte of it; 0 at the end."""
        while len(view) and not self.over:
            if self.follow.stop.is_set():
                self._end(Ending.STOPPED)
                break
            got = self._read(view) if self._fd >= 0 or self._open() else 0
            if got:
                self._silent_since = None
                self._looks_since_replaced = 0
                return got
            if not self.over and not self._replaced():
                self._wait()
        return 0

    def _open(self) -> bool:
        """Open the file; False when there is none yet."""
        try:
            # A named pipe would make the opening itself wait.
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except PermissionError as e:
            raise CaptureError(f"capture file {self.path}: permission denied", f"make it readable: chmod +r {self.path}") from e
        except OSError as e:
            raise CaptureError(f"capture file {self.path}: {e.strerror}") from e
        mode = os.fstat(self._fd).st_mode
        if not stat.S_ISREG(mode):
            self.close()
            what = "is a directory" if stat.S_ISDIR(mode) else "is not a plain file"
            raise CaptureError(f"capture file {self.path}: {what} and cannot be followed", "name a pcap or pcapng file")
        return True

    def _read(self, view: memoryview) -> int:
        """Bytes behind the last ones, if these are still what they were."""
        # In one call, so that no rewriting can come between the comparison and the reading.
        again = bytearray(len(self._last))
        try:
            got = os.preadv(self._fd, [again, view], self.bytes_read - len(again)) - len(again)
        except OSError as e:
            raise CaptureError(f"capture file {self.path}: {e.strerror} at byte {self.bytes_read}") from e
        if got < 0 or again != self._last:
            self._end(
                Ending.CUT,
                f"capture file {self.path}: truncated or written anew while it was followed, {self.bytes_read} bytes of it had been read; "
                "the packets in them are used",
            )
            return 0
        if got:
            self.bytes_read += got
            self.size = max(self.size, self.bytes_read)
            self._last = (self._last + bytes(view[max(0, got - _REMEMBERED) : got]))[-_REMEMBERED:]
        return got

    def _replaced(self) -> bool:
        """Deal with another file under the name; True when there is nothing to wait for."""
        if self._fd < 0:
            return False
        try:
            now = os.stat(self.path)
        except OSError:  # moved away or deleted: its writer may go on
            return False
        if os.path.samestat(now, os.fstat(self._fd)):
            self._looks_since_replaced = 0
            return False
        if not self.bytes_read:  # nothing is lost with a file that never held anything
            self.close()
            return False
        self._looks_since_replaced += 1
        if self._looks_since_replaced <= _GRACE:
            return False
        self._end(
            Ending.REPLACED,
            f"capture file {self.path}: another file took its name while it was followed; the first one was read to its end",
        )
        return True

    def _wait(self) -> None:
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        pause = self.follow.poll_s
        if self.follow.timeout_s:
            left = self._silent_since + self.follow.timeout_s - now
            if left <= 0:
                self._end(Ending.SILENT)
                if self._fd < 0:
                    raise CaptureError(f"capture file {self.path}: no such file, {self.follow.timeout_s:g} s long", "check the path")
                return
            pause = min(pause, left)
        if self.follow.idle is not None:
            self.follow.idle()
        # Not stop.wait(): its lock, held by the main thread, would keep a signal handler of that thread from setting it.
        time.sleep(pause)

    def _end(self, ending: Ending, problem: str = "") -> None:
        self.follow.ending, self.follow.problem = ending, problem
        if problem:
            log.warning("%s", problem)
