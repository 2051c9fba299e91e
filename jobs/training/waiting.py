"""A sign of life from work that takes long and says nothing by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds between two signs: seldom enough for a log, often enough for a person.
EVERY_S = 15.0


@contextmanager
def signs_of_life(what: str, progress: Callable[[str], None], every_s: float = EVERY_S) -> Iterator[None]:
    """Say how long ``what`` has taken so far, every so many seconds, while inside; work that is done before is not told of.

    ``progress`` is called from a thread of its own.
    """
    begin, over = time.monotonic(), threading.Event()

    def tell() -> None:
        while not over.wait(every_s):
            progress(f"{what}: {time.monotonic() - begin:.0f} s so far")

    teller = threading.Thread(target=tell, name="signs-of-life", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
