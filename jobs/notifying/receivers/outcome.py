"""What becomes of an attempt to send: it was taken, it may be tried later, or it is refused for good."""

from __future__ import annotations

from typing import Protocol

from jobs.notifying.notice import Notice


class ReceiverRefused(Exception):
    """The receiver will not take this message, however often it is sent.

    Parameters
    ----------
    reason
        What it said.
    hint
        What a person can do, where it is known.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


class TryLater(Exception):
    """The receiver is away, or has too much to do.

    Parameters
    ----------
    reason
        What it said.
    after_s
        Seconds that it asks for; ``None``: it does not say.
    hint
        What a person can do, where it is known.
    """

    def __init__(self, reason: str, after_s: float | None = None, hint: str = "") -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.hint = hint


class Receiver(Protocol):
    """Somebody who takes messages."""

    @property
    def where(self) -> str:
        """The receiver as a person names it; never a secret."""

    def shown(self, notice: Notice) -> str:
        """What would be sent, as text; without secrets."""

    def send(self, notice: Notice) -> str:
        """Send once; returns what the receiver said.

        Raises
        ------
        ReceiverRefused, TryLater
            It was not taken, or nobody knows whether it was.
        """
