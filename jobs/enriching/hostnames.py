"""Names of addresses, found in the background: what is not known yet is asked for, and nobody waits for it."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from infra import log
from infra.errors import one_line
from jobs.enriching.addresses import as_ip
from jobs.enriching.generations import GenerationCache
from jobs.enriching.pacing import LookupPace
from jobs.enriching.resolving import LookupFailed, Resolver
from jobs.enriching.settings import DnsSettings
from jobs.enriching.sharedcache import SharedName, SharedNames

_log = log.get(__name__)
#: Seconds without work after which a thread ends.
IDLE = 10.0


class KnownName(NamedTuple):
    """What is known of an address's name: ``text`` is empty where it has none."""

    text: str
    until: float  # by the clock; then it is asked for again, and holds until there is an answer


@dataclass
class NameCounts:
    """What became of the lookups of a process, since it began."""

    asked: int = 0  # questions to DNS
    found: int = 0
    absent: int = 0  # the address has no name
    failed: int = 0  # no answer in time, or an error of the server
    shared: int = 0  # another process knew it
    skipped: int = 0  # too many waited already


class HostNames:
    """Names of addresses.

    Threads begin when there is something to ask and end when there is not; they never keep the process alive.

    Parameters
    ----------
    settings
        Bounds, and how long answers hold.
    resolver
        Who is asked.
    shared
        What all processes know.
    entries
        Names that are remembered at most.
    clock
        Seconds.

    Attributes
    ----------
    counts
        What became of the lookups.
    """

    def __init__(
        self,
        settings: DnsSettings,
        resolver: Resolver,
        shared: SharedNames,
        entries: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._resolver, self._shared, self._clock = settings, resolver, shared, clock
        self._known: GenerationCache[bytes, KnownName] = GenerationCache(entries)
        self._pace = LookupPace(settings.lookups_per_second)
        # More threads than lookups can be under way at that pace would only wait.
        self._most = min(settings.max_concurrent_lookups, math.ceil(settings.lookups_per_second * settings.timeout_ms / 1000) + 1)
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._pending: set[bytes] = set()  # waiting, or being looked up
        self._threads = self._idle = 0
        self._closed = False
        self.counts = NameCounts()

    def find(self, addresses: Sequence[bytes]) -> list[str | None]:
        """Names as far as they are known; the others are asked for.

        Parameters
        ----------
        addresses
            Of 16 bytes each.

        Returns
        -------
        list
            A name each, or ``None``: it has none, or it is not known yet.
        """
        now = self._clock()
        with self._changed:
            found = [self._known.get(a) for a in addresses]
            self._ask([a for a, known in zip(addresses, found, strict=True) if known is None or known.until <= now])
            if self._settings.wait_ms:
                self._wait(addresses)
                found = [self._known.get(a) for a in addresses]
        return [known.text or None if known else None for known in found]

    def close(self) -> None:
        """Ask no more; lookups under way end by themselves."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()

    def figures(self) -> dict[str, int]:
        """The counts, and how many addresses wait."""
        with self._changed:
            return {**asdict(self.counts), "waiting": len(self._pending)}

    def _ask(self, addresses: list[bytes]) -> None:
        if self._closed:
            return
        for address in addresses:
            if address in self._pending:
                continue
            if len(self._pending) >= self._settings.max_waiting:
                self.counts.skipped += 1
                continue
            self._pending.add(address)
            self._queue.append(address)
            if self._idle < len(self._queue) and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name="hostnames", daemon=True).start()
        self._changed.notify(len(addresses))

    def _wait(self, addresses: Sequence[bytes]) -> None:
        self._changed.wait_for(lambda: self._closed or self._pending.isdisjoint(addresses), self._settings.wait_ms / 1000)

    def _run(self) -> None:
        """One thread: looks up what waits."""
        while (address := self._take()) is not None:
            try:
                known = self._look_up(address)
            except Exception as e:  # of whatever library: the other addresses are still to be looked up
                _log.warning("the lookup of a name failed", address=str(as_ip(address)), why=one_line(e))
                known = self._kept(address)
            with self._changed:
                self._known.put(address, known)
                self._pending.discard(address)
                self._changed.notify_all()

    def _take(self) -> bytes | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._queue or self._closed, IDLE)
            self._idle -= 1
            if self._queue and not self._closed:
                return self._queue.popleft()
            self._threads -= 1
            return None

    def _look_up(self, address: bytes) -> KnownName:
        ip = as_ip(address)
        if shared := self._shared.get(str(ip)):
            self._count("shared")
            return KnownName(shared.text, self._clock() + shared.seconds)
        time.sleep(self._pace.wait())
        self._count("asked")
        try:
            text = self._resolver.name(ip) or ""
        except LookupFailed:
            return self._kept(address)
        self._count("found" if text else "absent")
        seconds = self._settings.cache_ttl_seconds if text else self._settings.negative_cache_ttl_seconds
        self._shared.put(str(ip), SharedName(text, seconds))
        return KnownName(text, self._clock() + seconds)

    def _kept(self, address: bytes) -> KnownName:
        """After a failure: a name that was right an hour ago is better than none while the server is away (as RFC 8767 has it)."""
        self._count("failed")
        with self._changed:
            before = self._known.get(address)
        return KnownName(before.text if before else "", self._clock() + self._settings.negative_cache_ttl_seconds)

    def _count(self, what: str) -> None:
        with self._changed:
            setattr(self.counts, what, getattr(self.counts, what) + 1)
