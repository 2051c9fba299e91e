"""Who may look: one password from the environment, sessions in memory, and a limit of the tries.

Sessions are random words that the server remembers, not signed cookies: logging out ends one, and a restart ends all of them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from infra.errors import ConfigError

#: Name of the cookie.
COOKIE = "flowlake_session"
#: The shortest password that is taken.
MIN_PASSWORD = 12
#: Seconds after which a session ends.
SESSION_S = 12 * 3600
_MAX_SESSIONS = 1000
#: Wrong passwords an address may give within the window, and all addresses together.
TRIES, ALL_TRIES, WINDOW_S = 5, 300, 300
_MAX_ADDRESSES = 10_000
_VARIABLE = "FLOWLAKE_DASH__PASSWORD"
_MAKE_ONE = f"export {_VARIABLE}=$(openssl rand -base64 18), or leave --host at 127.0.0.1"


def required(host: str, password: str, *, loopback: bool) -> bool:
    """Whether people must log in: always where a password is set.

    Raises
    ------
    ConfigError
        Others can reach the page and there is no password, or the password is too short.
    """
    if not password and not loopback:
        raise ConfigError(f"--host {host} lets others in, and {_VARIABLE} holds no password", _MAKE_ONE)
    if password and len(password) < MIN_PASSWORD:
        raise ConfigError(f"the password in {_VARIABLE} has {len(password)} characters: at least {MIN_PASSWORD}", _MAKE_ONE)
    return bool(password)


class Logins:
    """Compares passwords, and remembers sessions and failures; both are bounded. Any thread may ask.

    Parameters
    ----------
    password
        Kept as a keyed hash only.
    clock
        Seconds that never go back.
    """

    def __init__(self, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._key = secrets.token_bytes(32)
        self._password = self._hash(password)
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, address: str) -> int:
        """Seconds until an address may try again; 0: now."""
        with self._lock:
            now = self._clock()
            mine = self._recent(address, now)
            everyone = self._recent("", now)
            ends = [times[-limit] + WINDOW_S for times, limit in ((mine, TRIES), (everyone, ALL_TRIES)) if len(times) >= limit]
            return int(max(ends) - now) + 1 if ends else 0

    def right(self, address: str, password: str) -> bool:
        """Whether that is the password; compared in constant time. A wrong one counts against the address."""
        good = hmac.compare_digest(self._hash(password), self._password)
        if not good:
            with self._lock:
                now = self._clock()
                for whose in (address, ""):
                    self._failures[whose] = [*self._recent(whose, now), now][-ALL_TRIES:]
                    self._failures.move_to_end(whose)
                while len(self._failures) > _MAX_ADDRESSES:
                    self._failures.popitem(last=False)
        return good

    def begin(self) -> str:
        """A new session: the cookie's value."""
        word = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[self._hash(word)] = self._clock() + SESSION_S
            while len(self._sessions) > _MAX_SESSIONS:
                self._sessions.popitem(last=False)
        return word

    def known(self, word: str) -> bool:
        """Whether a cookie's value is of a session that goes on."""
        key = self._hash(word)
        with self._lock:
            return self._sessions.get(key, 0.0) > self._clock()

    def end(self, word: str) -> None:
        """Forget a session."""
        with self._lock:
            self._sessions.pop(self._hash(word), None)

    def _recent(self, address: str, now: float) -> list[float]:
        return [moment for moment in self._failures.get(address, []) if moment > now - WINDOW_S]

    def _hash(self, word: str) -> bytes:
        # Keyed by this process: what lies in memory tells nothing about the password, and lengths are alike for the comparison.
        return hmac.digest(self._key, word.encode("utf-8", "surrogateescape"), hashlib.sha256)
