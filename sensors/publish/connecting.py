"""A live sensor begins without its broker, and finds it later."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from infra.errors import BrokerError

log = logging.getLogger(__name__)

P = TypeVar("P")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0


def connected(make: Callable[[], P], given_up: threading.Event) -> P | None:
    """What ``make`` gives, asked again until it raises :class:`BrokerError` no more; None once it was given up."""
    pause = _FIRST_PAUSE_S
    while not given_up.is_set():
        try:
            return make()
        except BrokerError as e:
            log.warning("%s; going on without, trying again", e)
        given_up.wait(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
    return None
