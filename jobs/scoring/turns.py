"""One at a time, by the tags of a registered model: for registries that know no lock.

Tags can be written and read, each as a whole, and no more. That suffices for mutual exclusion: whoever wants a turn takes a number higher
than all it sees, and waits until nobody has a lower one (the bakery algorithm; L. Lamport, "A New Solution of Dijkstra's Concurrent
Programming Problem", CACM 17, 1974). A program that died while it had a turn leaves its tag; whoever has seen it unchanged for
:data:`ABANDONED_S` seconds removes it. No two clocks are compared.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.errors import ModelError

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: A turn takes some calls of the registry; the client gives each of them a minute at most, retries included.
ABANDONED_S = 90.0
_TURN = "turn."
_CHOOSING = "choosing"
_POLL_S = 0.1

#: Raises where the turn was taken away.
Check = Callable[[], None]


class TurnLostError(ModelError):
    """This program's turn was taken for abandoned."""


@contextmanager
def turn(client: MlflowClient, name: str, *, abandoned_s: float = ABANDONED_S) -> Iterator[Check]:
    """Hold the turn of a registered model.

    Parameters
    ----------
    client
        Of the registry.
    name
        Of the registered model, which exists.
    abandoned_s
        Seconds that somebody else's turn may last.

    Yields
    ------
    To be called right before what must not be done by two: raises :class:`TurnLostError` where the turn was taken away.
    """
    own = f"{_TURN}{uuid.uuid4().hex}"
    client.set_registered_model_tag(name, own, _CHOOSING)
    try:
        number = 1 + max((_number(value) for value in _turns(client, name).values()), default=0)
        client.set_registered_model_tag(name, own, str(number))
        _wait(client, name, own, number, abandoned_s)

        def check() -> None:
            if own not in _turns(client, name):
                raise TurnLostError(f"model {name}: this change took too long, another has begun", "flowlake models list; decide again")

        yield check
    finally:
        if own in _turns(client, name):
            client.delete_registered_model_tag(name, own)


def _wait(client: MlflowClient, name: str, own: str, number: int, abandoned_s: float) -> None:
    """Until nobody is before us."""
    seen: dict[tuple[str, str], float] = {}
    while True:
        now = time.monotonic()
        before = {
            (other, value)
            for other, value in _turns(client, name).items()
            if other != own and (value == _CHOOSING or (_number(value), other) < (number, own))
        }
        if not before:
            return
        seen = {one: seen.get(one, now) for one in before}
        for (other, value), since in seen.items():
            # looked at once more: a late delete must not meet a turn that has just moved on
            if now - since > abandoned_s and _turns(client, name).get(other) == value:
                client.delete_registered_model_tag(name, other)
        time.sleep(_POLL_S)


def _turns(client: MlflowClient, name: str) -> Mapping[str, str]:
    return {key: value for key, value in client.get_registered_model(name).tags.items() if key.startswith(_TURN)}


def _number(value: str) -> int:
    return int(value) if value.isdigit() else 0
