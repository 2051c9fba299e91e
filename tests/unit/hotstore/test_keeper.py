"""The stream's own maintenance: it never raises, whatever the database does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from infra.config import Settings
from jobs.hotstore import keeper
from jobs.hotstore.keeper import Keeper
from jobs.runtime import driver


def test_a_database_that_is_away_does_not_end_it(settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Semaphore(0)
    real = keeper.maintain

    def counted(*given: Any) -> Any:
        tried.release()
        return real(*given)  # nobody listens there

    def broken(*given: Any) -> Any:
        tried.release()
        raise RuntimeError("a fault of ours")

    made = settings(hot={"maintain_s": 1})
    monkeypatch.setattr(keeper, "maintain", counted)
    work = Keeper(made)
    work.start()
    assert tried.acquire(timeout=30)
    monkeypatch.setattr(keeper, "maintain", broken)
    assert tried.acquire(timeout=30)
    assert tried.acquire(timeout=30), "it goes on after any failure"
    work.stop()
    work._thread.join(30)
    assert not work._thread.is_alive()


def test_a_driver_that_writes_the_hot_store_looks_after_it(settings: Callable[..., Settings]) -> None:
    made = settings()
    queries = {query.name: query for query in made.catalogue.queries}
    (service,) = driver._keepers(made, [queries["lake"], queries["hot"]])
    assert isinstance(service, Keeper)
    assert driver._keepers(made, [queries["lake"], queries["alerts"]]) == ()
    assert driver._keepers(settings(hot={"maintain_s": 0}), [queries["hot"]]) == ()
