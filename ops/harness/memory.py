"""Memory of a group of process trees: proportional set size, so that what is shared counts once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping

import psutil


def tree_mb(roots: Mapping[str, int | None]) -> dict[str, int]:
    """MiB by name: the process of each given pid with all its descendants; a process below two roots counts for the first."""
    seen: set[int] = set()
    found: dict[str, int] = {}
    for name, pid in roots.items():
        total = 0
        for process in family(pid):
            if process.pid not in seen:
                seen.add(process.pid)
                total += _bytes(process)
        found[name] = total >> 20
    return found


def family(pid: int | None) -> list[psutil.Process]:
    """A process and all below it; none when it is gone."""
    if pid is None:
        return []
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _bytes(process: psutil.Process) -> int:
    try:
        return int(getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss)
    except psutil.AccessDenied:
        try:
            return int(process.memory_info().rss)
        except psutil.Error:
            return 0
    except psutil.Error:
        return 0


class MemoryWatch(threading.Thread):
    """Looks at the memory of all parts (``pids``) every ``every_s`` seconds: the kernel walks all pages of all processes for it."""

    def __init__(self, pids: Callable[[], dict[str, int | None]], every_s: float) -> None:
        super().__init__(name="memory", daemon=True)
        self._pids = pids
        self._every_s = every_s
        self._ending = threading.Event()
        self.last: dict[str, int] = {}
        self.parts: dict[str, int] = {}
        self.peak = 0

    def run(self) -> None:
        while not self._ending.wait(self._every_s):
            # The others are children of this process: counted first, so that they do not count for it.
            self.last = tree_mb({**self._pids(), "demo": os.getpid()})
            total = sum(self.last.values())
            if total > self.peak:
                self.peak, self.parts = total, dict(self.last)

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
