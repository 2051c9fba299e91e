"""Names that all processes know: in a Redis server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from infra import log
from infra.errors import ConfigError, one_line
from infra.names import printable
from jobs.enriching.settings import CacheSettings

_log = log.get(__name__)
R = TypeVar("R")
#: Seconds that a server which did not answer is left alone; and that it may take to answer.
LEFT_ALONE, PATIENCE = 30.0, 0.5


class SharedName(NamedTuple):
    """A name that another process found; ``text`` is empty where it found that there is none."""

    text: str
    seconds: float  # it holds for so long


class SharedNames(Protocol):
    """What is known to all."""

    def get(self, address: str) -> SharedName | None: ...

    def put(self, address: str, name: SharedName) -> None: ...


class NotShared:
    """Each process for itself."""

    def get(self, _address: str) -> SharedName | None:
        return None

    def put(self, _address: str, _name: SharedName) -> None:
        pass


class RedisNames:
    """Names in Redis, a key each, which it forgets when they no longer hold.

    A server that is away is said once, left alone for :data:`LEFT_ALONE` seconds, and nothing fails: each process goes on for itself.

    Raises
    ------
    ConfigError
        The package redis is not installed.
    """

    def __init__(self, settings: CacheSettings, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            import redis
        except ImportError as e:
            hint = "pip install redis, or set enrichment.cache.backend to memory"
            raise ConfigError("enrichment.cache.backend: redis needs the package redis, which is not installed", hint) from e
        self._error: type[Exception] = redis.RedisError
        self._client = redis.Redis.from_url(
            settings.redis_url,
            password=settings.redis_password.get_secret_value() or None,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
        )
        self._url = settings.redis_url
        self._clock = clock
        self._lock = threading.Lock()
        self._away_until = 0.0
        self._said = False

    def get(self, address: str) -> SharedName | None:
        """What another process found."""
        found = self._try(lambda: self._found(_key(address)))
        if not found or found[0] is None or found[1] <= 0:
            return None
        return SharedName(printable(found[0].decode("utf-8", "backslashreplace"))[:253], found[1] / 1000)

    def _found(self, key: str) -> list[Any]:
        asked = self._client.pipeline(transaction=False)
        asked.get(key)
        asked.pttl(key)
        return list(asked.execute())

    def put(self, address: str, name: SharedName) -> None:
        """Tell the others."""
        self._try(lambda: self._client.set(_key(address), name.text, px=max(int(name.seconds * 1000), 1)))

    def _try(self, act: Callable[[], R]) -> R | None:
        with self._lock:
            if self._clock() < self._away_until:
                return None
        try:
            done = act()
        except (self._error, OSError) as e:
            self._away(e)
            return None
        with self._lock:
            back, self._said = self._said, False
        if back:
            _log.info("names are shared again", server=self._url)
        return done

    def _away(self, error: Exception) -> None:
        with self._lock:
            self._away_until = self._clock() + LEFT_ALONE
            first, self._said = not self._said, True
        if first:
            _log.warning("names are not shared: Redis cannot be asked", server=self._url, why=one_line(error))


def _key(address: str) -> str:
    return f"flowlake:name:{address}"


def shared_names(settings: CacheSettings) -> SharedNames:
    """What the settings name.

    Raises
    ------
    ConfigError
        See :class:`RedisNames`.
    """
    return RedisNames(settings) if settings.backend == "redis" else NotShared()
