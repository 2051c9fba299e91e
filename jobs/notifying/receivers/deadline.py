"""A bound on the whole of an attempt.

Time limits of sockets are about one answer of many: a server that sends a byte now and then meets all of them, and a name that cannot be
resolved none. So each attempt is a thread of its own that is not waited for beyond its time.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future

from jobs.notifying.notice import Notice
from jobs.notifying.receivers.outcome import Receiver, TryLater

#: Time limits of one answer that an attempt may take: to connect, to be greeted, to be answered.
_ANSWERS = 3.0


class Deadline:
    """A receiver that always comes back.

    Parameters
    ----------
    receiver
        Who takes the messages.
    timeout_s
        Seconds of one answer; an attempt may take three times as long.
    """

    def __init__(self, receiver: Receiver, timeout_s: float) -> None:
        self._receiver = receiver
        self._most_s = _ANSWERS * timeout_s
        self._running: threading.Thread | None = None

    @property
    def where(self) -> str:
        return self._receiver.where

    def shown(self, notice: Notice) -> str:
        return self._receiver.shown(notice)

    def send(self, notice: Notice) -> str:
        """Send once. An attempt that does not end keeps the next one waiting, so that there is one at most."""
        if self._running is not None and self._running.is_alive():
            raise TryLater(f"{self.where}: the attempt before has not ended yet")
        end = Future[str]()

        def attempt() -> None:
            try:
                end.set_result(self._receiver.send(notice))
            except BaseException as e:
                end.set_exception(e)

        self._running = threading.Thread(target=attempt, daemon=True)
        self._running.start()
        try:
            return end.result(self._most_s)
        except TimeoutError as e:
            if end.done():
                raise  # the receiver's own
            raise TryLater(f"{self.where} did not come to an end within {self._most_s:g} s") from e
