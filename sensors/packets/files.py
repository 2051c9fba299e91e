"""Which capture files are meant: files as named, pipes, and what lies in folders, decided by content and in the order of capture."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import CaptureError, ConfigError
from infra.names import printable
from sensors.packets import codecs
from sensors.packets.bytestream import STDIN, described, is_pipe
from sensors.packets.capture import CaptureReader, NoCaptureError

#: What capture files are called. Only for telling a file that should be one and is none from any other; ``.1``: rotated.
_ENDINGS = re.compile(rf"\.(pcap|pcapng|cap|dmp)\d*(\.\d+)?({'|'.join(map(re.escape, codecs.ENDINGS))})?$", re.IGNORECASE)


@dataclass(frozen=True)
class Problem:
    """A file that is not read, and why."""

    file: Path
    why: str

    @classmethod
    def of(cls, file: Path, error: CaptureError) -> Problem:
        """From what was raised, which names the file itself."""
        return cls(file, str(error).removeprefix(f"{printable(described(file))}: "))


@dataclass
class Found:
    """Capture files that can be read, in the order in which to read them.

    Attributes
    ----------
    files : list of Path
        As named; those of a folder by the time of their first packet, then by name, numbers by value.
    skipped : list of Problem
        What a folder holds beside captures.
    failed : list of Problem
        What should be a capture and cannot be read.
    """

    files: list[Path] = field(default_factory=list)
    skipped: list[Problem] = field(default_factory=list)
    failed: list[Problem] = field(default_factory=list)

    def check(self) -> None:
        """Something can be read.

        Raises
        ------
        CaptureError
            There are captures, and none of them can.
        """
        if not self.files:
            first = self.failed[0]
            others = f"; {len(self.failed) - 1:,} more cannot be read either" if len(self.failed) > 1 else ""
            raise CaptureError(f"{described(first.file)}: {first.why}{others}", "no other capture file is there")

    def open_all(self) -> None:
        """Have a look at every plain file, and move those that cannot be read to ``failed``.

        Raises
        ------
        CaptureError
            None can.
        """
        for path in [path for path in self.files if not is_pipe(path)]:
            try:
                CaptureReader(path).close()
            except CaptureError as e:
                if len(self.files) + len(self.failed) == 1:
                    raise
                self.files.remove(path)
                self.failed.append(Problem.of(path, e))
        self.check()

    @property
    def pipes(self) -> bool:
        """A pipe is among the files."""
        return any(map(is_pipe, self.files))


def find_captures(paths: Sequence[Path]) -> Found:
    """Files and pipes as named, and every capture file in the folders named.

    Raises
    ------
    ConfigError
        Standard input is named twice, or a folder holds no capture file.
    CaptureError
        A folder cannot be read.
    """
    if paths.count(STDIN) > 1:
        raise ConfigError(f"standard input is named {paths.count(STDIN)} times", "it can be read once: name - once")
    found = Found()
    for path in paths:
        if path != STDIN and os.path.isdir(path):  # False too where nobody may look; opening it will tell
            inside = _in_folder(path)
            if not inside.files and not inside.failed:
                held = reasons(inside.skipped) or "it is empty"
                raise ConfigError(
                    f"folder {path}: no capture file in it ({held})", "it is told by content; sub-folders are not looked into"
                )
            found.files += inside.files
            found.skipped += inside.skipped
            found.failed += inside.failed
        else:
            found.files.append(path)
    found.check()
    return found


def _in_folder(folder: Path) -> Found:
    try:
        names = sorted(os.listdir(folder), key=natural)
    except OSError as e:
        raise CaptureError(f"folder {folder}: {e.strerror}", "make it readable, or name the files in it") from e
    found = Found()
    began: dict[Path, int] = {}
    for path in (folder / name for name in names):
        try:
            first = _first_time(path)
            found.files.append(path)
            if first is not None:
                began[path] = first
        except _Skip as e:
            found.skipped.append(Problem(path, str(e)))
        except CaptureError as e:
            found.failed.append(Problem.of(path, e))
    # Stable: what has no packet, and so no time, goes first.
    found.files.sort(key=lambda path: began.get(path, -1))
    return found


class _Skip(Exception):
    """Not a capture file, and nobody would take it for one."""


def _first_time(path: Path) -> int | None:
    """Time of the first packet (ns) of an entry of a folder; None where there is none.

    Raises
    ------
    _Skip
        It is something else.
    CaptureError
        It is called a capture and is none, or cannot be read, so that nobody knows.
    """
    if path.name.startswith("."):
        raise _Skip("hidden")
    called_capture = _ENDINGS.search(path.name) is not None
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise NoCaptureError("a folder" if stat.S_ISDIR(mode) else "not a plain file", "")
        return CaptureReader(path).first_time()
    except NoCaptureError as e:
        if called_capture and not e.empty:
            raise
        raise _Skip(Problem.of(path, e).why) from e
    except OSError as e:
        raise CaptureError("a link to nothing" if isinstance(e, FileNotFoundError) else str(e.strerror)) from e


def natural(name: str) -> list[str | int]:
    """Sort key: ``cap.pcap2`` comes before ``cap.pcap10``, and both behind ``cap.pcap``."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split("([0-9]+)", name))]


def stem(path: Path) -> str:
    """The name of a capture without its endings: of compression, of rotation, of the format; ``stdin`` for standard input."""
    if path == STDIN:
        return "stdin"
    name = path.name
    for ending in codecs.ENDINGS:
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    rotated = name.rpartition(".")
    if rotated[2].isdecimal() and _ENDINGS.fullmatch(Path(rotated[0]).suffix):
        name = rotated[0]
    return printable(name.rsplit(".", 1)[0] or path.name)


def told(problems: Iterable[Problem]) -> list[dict[str, str]]:
    """For programs."""
    return [{"file": printable(p.file), "reason": p.why} for p in problems]


def reasons(problems: Sequence[Problem]) -> str:
    """How many for which reason."""
    counted: dict[str, int] = {}
    for problem in problems:
        why = re.sub(r" \(starts with .*\)", "", problem.why)  # different in each
        counted[why] = counted.get(why, 0) + 1
    return ", ".join(f"{n:,}: {why}" for why, n in sorted(counted.items(), key=lambda item: -item[1]))
