"""Bytes of a capture file or pipe, plain or compressed (recognised by content), as blocks; keeps what a damaged file still holds.

Everything in front of damage is delivered, and the damage is reported once, at the end. A file is read block by block. Of a pipe (standard
input, a FIFO, what a shell's ``<(...)`` gives) each read gives what is there, so that packets are handed on as they come.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
import time
from pathlib import Path

from infra.errors import CaptureError
from sensors.packets.codecs import DamagedData, Decoder, codec_of, decoder_of, skippable
from sensors.packets.following import Ending, Follow

#: The name of standard input among capture files.
STDIN = Path("-")
_PIECE = 256 * 1024  # compressed bytes read at once
_MOST = 1024 * 1024  # decompressed bytes taken at once: bounds what a decompression bomb can do
_MEMBER_HEAD = 8  # bytes that tell what begins there


def described(path: str | Path) -> str:
    """What messages call a capture: ``capture file PATH``, or ``standard input``."""
    return "standard input" if Path(path) == STDIN else f"capture file {path}"


def is_pipe(path: Path) -> bool:
    """Standard input, or what is neither a plain file nor a folder: it is there once, and grows while it is read."""
    if path == STDIN:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISBLK(mode))


class ByteStream:
    """Sequential reader of one file or pipe.

    Parameters
    ----------
    path
        A file, a FIFO, or :data:`STDIN`.
    follow
        How a pipe is waited for: ``stop`` ends it (after ``grace_s``), ``timeout_s`` of silence does, ``idle`` is called meanwhile. Its
        ``ending`` is set when the reading ended so, before the end of the pipe.

    Attributes
    ----------
    size : int
        Bytes of the file on disk; 0 for a pipe.
    bytes_read : int
        Bytes read so far (compressed ones where it is compressed).
    codec : str
        Compression, empty for none.
    live : bool
        A pipe: more may come.
    over : bool
        Everything was given.
    damage : str
        Why it ended early; empty while it did not.
    failed : bool
        The damage is that the system could not read on.

    Raises
    ------
    CaptureError
        The file is missing, not a file, or not readable; standard input is closed, or a terminal.
    """

    def __init__(self, path: str | Path, follow: Follow | None = None) -> None:
        self.path = Path(path)
        self.damage = ""
        self.failed = self.over = False
        self.bytes_read = self.size = 0
        self._follow = follow or Follow()
        self._fd = _standard_input() if self.path == STDIN else self._opened()
        try:
            mode = os.fstat(self._fd).st_mode
            if stat.S_ISDIR(mode):
                raise CaptureError(f"{described(path)}: is a directory", "name a pcap or pcapng file")
            if os.isatty(self._fd):
                raise CaptureError(f"{described(path)}: is a terminal", "pipe a capture into it: tcpdump -U -w - | flowlake meter -")
            self.live = not (stat.S_ISREG(mode) or stat.S_ISBLK(mode))
            self.size = 0 if self.live else os.fstat(self._fd).st_size
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)
            self._silent_since: float | None = None
            self._stop_at: float | None = None
            self._raw, self._raw_over = b"", False
            self._ready = b""  # decoded, not given yet
            self._rescued: list[bytes] = []
            self._decoder: Decoder | None = None
            self._skip, self._members = 0, 0
            while len(self._raw) < _MEMBER_HEAD and (more := self._file_bytes(_PIECE)):
                self._raw += more
            self.codec = codec_of(self._raw)
        except BaseException:
            self.close()
            raise

    @property
    def ending(self) -> Ending | None:
        """Why a pipe was not read to its end."""
        return self._follow.ending

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def dry(self) -> bool:
        """Reading would wait for a pipe."""
        if not self.live or self._raw_over:
            return False
        self._ready = self._ready or self._next(_MOST, wait=False)
        return not self._ready and not self._raw_over

    def read_into(self, view: memoryview) -> int:
        """Fill ``view`` as far as the file goes, less only at the end; of a pipe what is there, after waiting for it. 0 at the end."""
        got = 0
        while got < len(view):
            piece = self._take_ready(len(view) - got) or self._next(len(view) - got)
            if not piece:
                self.over = True
                break
            view[got : got + len(piece)] = piece
            got += len(piece)
            if self.live:
                break
        return got

    # -- the file --------------------------------------------------------------------------------------------------------------

    def _opened(self) -> int:
        path = self.path
        try:
            # Not to wait for the writer of a FIFO here: it could not be interrupted.
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except FileNotFoundError as e:
            raise CaptureError(f"{described(path)}: no such file", "check the path") from e
        except PermissionError as e:
            raise CaptureError(f"{described(path)}: permission denied", f"make it readable: chmod +r {path}") from e
        except OSError as e:
            what = "is a socket" if e.errno == errno.ENXIO else e.strerror
            raise CaptureError(f"{described(path)}: {what}", "name a pcap or pcapng file") from e
        except ValueError as e:  # a NUL byte in the name
            raise CaptureError(f"{described(path)}: {e}") from e

    def _file_bytes(self, most: int, wait: bool = True) -> bytes:
        """Further bytes as they lie there; empty at the end, or when there are none yet and ``wait`` is false."""
        if self._raw_over or (self.live and not self._readable(wait)):
            return b""
        try:
            data = os.read(self._fd, most)
        except BlockingIOError:
            return self._file_bytes(most) if wait else b""
        except OSError as e:
            if not self.bytes_read:
                raise CaptureError(f"{described(self.path)}: {e.strerror}", "the system cannot read it") from e
            self.damage, self.failed, data = f"{e.strerror} when reading on", True, b""
        self.bytes_read += len(data)
        self._raw_over = not data
        self._silent_since = None
        return data

    def _readable(self, wait: bool) -> bool:
        """A pipe has bytes, or its end; False when it was ended from here, or there are none yet and ``wait`` is false."""
        if not wait:
            return bool(self._poll.poll(0))
        while not self._ended_from_here():
            if self._poll.poll(int(self._follow.poll_s * 1000)):
                return True
            if self._follow.idle is not None:
                self._follow.idle()
        self._raw_over = True
        return False

    def _ended_from_here(self) -> bool:
        """Told to stop some time ago, or silent for too long. The writer is given that time since Ctrl-C in a shell stops it as well."""
        follow, now = self._follow, time.monotonic()
        if follow.stop.is_set():
            self._stop_at = self._stop_at or now + follow.grace_s
            if now >= self._stop_at:
                follow.ending = Ending.STOPPED
        self._silent_since = self._silent_since or now
        if follow.timeout_s and now >= self._silent_since + follow.timeout_s:
            follow.ending = Ending.SILENT
        return follow.ending is not None

    # -- what is in it ---------------------------------------------------------------------------------------------------------

    def _take_ready(self, most: int) -> bytes:
        piece, self._ready = self._ready[:most], self._ready[most:]
        return piece

    def _next(self, most: int, wait: bool = True) -> bytes:
        """At most ``most`` further bytes; empty at the end, or when there are none yet and ``wait`` is false."""
        if self.codec:
            return self._decoded(min(most, _MOST), wait)
        if self._raw:
            piece, self._raw = self._raw[:most], self._raw[most:]
            return piece
        return self._file_bytes(most, wait)

    def _decoded(self, most: int, wait: bool) -> bytes:
        while True:
            if self._rescued:
                piece = self._rescued.pop(0)
                if len(piece) > most:
                    self._rescued.insert(0, piece[most:])
                return piece[:most]
            if self.damage or (self._decoder is None and not self._begin_member(wait)):
                return b""
            decoder = self._decoder
            assert decoder is not None
            given = b""
            if decoder.needs_input:
                given, self._raw = self._raw or self._file_bytes(_PIECE, wait), b""
                if not given:
                    self._cut_short()
                    return b""
            try:
                out = decoder.decode(given, most)
            except DamagedData as e:
                self._rescued = e.rescued
                self.damage = f"{self.codec} data are damaged ({e})"
                continue
            if decoder.eof:
                self._raw, self._decoder = decoder.unused + self._raw, None
            if out:
                return out

    def _begin_member(self, wait: bool) -> bool:
        """Have a decoder for what comes next, behind padding and frames without content; False at the end, or when it is not there yet."""
        while True:
            skipped = min(self._skip, len(self._raw))
            self._raw, self._skip = self._raw[skipped:], self._skip - skipped
            if self._members:
                self._raw = self._raw.lstrip(b"\0")  # a tape's, or a block device's
            if self._skip or (len(self._raw) < _MEMBER_HEAD and not self._raw_over):
                more = self._file_bytes(_PIECE, wait)
                if not more and (self._skip or not self._raw_over):
                    self._cut_short()
                    return False
                self._raw += more
            elif not self._raw:
                return False
            elif length := skippable(self._raw):
                self._skip = length
            elif codec := codec_of(self._raw):
                self.codec, self._decoder = codec, decoder_of(codec)
                self._members += 1
                return True
            else:
                self.damage = f"{self.codec} data are followed by something else"
                return False

    def _cut_short(self) -> None:
        """The file ends within compressed data, unless more of it may come or it was left before its end."""
        if self._raw_over and self.ending is None and not self.damage:
            self.damage = f"{self.codec} data end early"


def _standard_input() -> int:
    """A descriptor of its own for standard input.

    Raises
    ------
    CaptureError
        There is none.
    """
    hint = "pipe a capture into it: tcpdump -U -w - | flowlake meter -"
    try:
        # None: it was closed when Python started, and descriptor 0 may since be something else.
        return os.dup(0 if sys.stdin is not None else -1)
    except OSError as e:
        raise CaptureError("standard input: is closed", hint) from e
