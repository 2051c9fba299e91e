"""A bounded memory that forgets what was not asked for lately."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class GenerationCache(Generic[K, V]):
    """At most ``entries`` entries, in two generations.

    What is asked for moves to the young one; when that is half of all, the old one is forgotten and the young one becomes old. That is
    nearly "least recently used", for two dictionary accesses at most.

    Parameters
    ----------
    entries
        Bound, 2 or more.
    """

    def __init__(self, entries: int) -> None:
        self._half = max(entries // 2, 1)
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K) -> V | None:
        """What is known, else ``None``."""
        if (found := self._young.get(key)) is not None:
            return found
        if (found := self._old.get(key)) is not None:
            self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Remember it."""
        if len(self._young) >= self._half and key not in self._young:
            self._old, self._young = self._young, {}
        self._old.pop(key, None)
        self._young[key] = value

    def clear(self) -> None:
        """Forget all."""
        self._young, self._old = {}, {}
