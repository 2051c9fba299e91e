"""The models that score a stream, renewed while it runs.

A source asks for them when it starts its query, and takes the value in its task::

    champion = serve(spark, settings, READING)
    rows.mapInArrow(settled(lambda batches: scored(batches, champion.value)), ...)

``champion.value`` is a :class:`jobs.scoring.modelset.ModelSet`. It is asked for once at the beginning of a task, so that a task scores with
one set from its beginning to its end. In the driver a thread follows the registry (:mod:`jobs.scoring.keeper`); a worker asks the driver
every few seconds (:mod:`jobs.scoring.handout`), and goes on with what it has where there is no answer.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra import log
from infra.config import Settings
from jobs.scoring.counters import Workers
from jobs.scoring.handout import Lease, ModelDesk, Offer, UnansweredError, ask
from jobs.scoring.keeper import Keeper
from jobs.scoring.modelset import ModelSet
from jobs.scoring.names import model_name
from jobs.scoring.tally import TALLY, renewed
from jobs.scoring.tracking import ModelMissingError
from schemas.records import RecordType

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import SparkSession

#: Seconds between two questions of a worker at most, and after one without an answer.
_ASK_S, _LONGEST_S = 3.0, 30.0
#: Sets that a worker holds: one for each record type is usual.
_MOST_HELD = 8

os.register_at_fork(after_in_child=renewed)


class Served:
    """What a source's tasks take their models from."""

    def __init__(self, lease: Broadcast[Lease]) -> None:
        self._lease = lease

    @property
    def value(self) -> ModelSet:
        """The models in force; ask for them once in a task.

        Raises
        ------
        ModelMissingError
            None was promoted yet, in a query that waits for one.
        """
        models = self.promoted
        if models is None:
            raise ModelMissingError("no model was promoted yet", "promote one")
        return models

    @property
    def promoted(self) -> ModelSet | None:
        """The models in force, or None as long as none was ever promoted; ask for them once in a task."""
        return current(self._lease.value)


def serve(spark: SparkSession, settings: Settings, record: RecordType, *, waits: bool = False) -> Served:
    """The models of a record type, for a query that starts now.

    Follows the registry until :func:`stop`, or until no query runs any more. A query that starts again while the registry is away goes on
    with the models that are in force. With ``waits`` a query starts without a model where none was ever promoted, and gets the first
    while it runs (:attr:`Served.promoted`).

    Raises
    ------
    ModelError
        No registry or no champion, unless the query waits for one; or one that cannot score.
    StackError
        ``scoring.port`` is taken.
    """
    with _LOCK:
        name = _name(settings, record)
        following = _FOLLOWED.get(name)
        if following is None or not following.alive:
            following = _FOLLOWED[name] = _Following(spark, settings, record, waits)
        else:
            following.again(waits)
        return Served(spark.sparkContext.broadcast(following.lease()))


def stop() -> None:
    """Follow no registry any more, and give out no models."""
    with _LOCK:
        for following in _FOLLOWED.values():
            following.end()
        for desk in _DESKS.values():
            desk.close()
        _FOLLOWED.clear()
        _DESKS.clear()


# --- in the driver


def _name(settings: Settings, record: RecordType) -> tuple[str, ...]:
    rules = settings.scoring
    return (record.name, model_name(settings, record), rules.tracking_uri, rules.artifact_root, rules.alias, str(settings.path("")))


class _Following:
    """A keeper, the thread that lets it look, and where its sets are given out."""

    def __init__(self, spark: SparkSession, settings: Settings, record: RecordType, waits: bool) -> None:
        self._spark, self._every = spark, settings.scoring.poll_s
        self._path = f"/models/{record.name}/{uuid.uuid4().hex}"
        self._desk = desk = _desk(spark, settings.scoring.port)
        self._ending = threading.Event()
        self.record = record.name
        self.keeper = Keeper(settings, record, lambda offer: desk.put(self._path, offer))
        self.keeper.begin(waits=waits)
        self._thread = threading.Thread(target=self._run, name=f"models-{record.name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def again(self, waits: bool) -> None:
        """For one more query, or one that starts again."""
        if self.keeper.champion or waits:
            self.keeper.look()
        else:
            self.keeper.begin()

    def lease(self) -> Lease:
        return self._desk.lease(self._path, min(_ASK_S, self._every))

    def end(self) -> None:
        self._ending.set()

    def _run(self) -> None:
        seen = False
        while not self._ending.wait(self._every):
            try:
                running = bool(self._spark.streams.active)
            except Exception:  # the session is gone, and with it whoever asked
                return
            if seen and not running:
                return
            seen = seen or running
            try:
                self.keeper.look()
            except Exception:  # whatever it is, the next look may do
                log.get("jobs.scoring").exception("looking for models failed", record=self.record)


def _desk(spark: SparkSession, port: int) -> ModelDesk:
    """The one desk of this process on a port."""
    if port not in _DESKS:
        conf = spark.sparkContext.getConf()
        host = conf.get("spark.driver.host") or "127.0.0.1"
        _DESKS[port] = ModelDesk(conf.get("spark.driver.bindAddress") or host, host, port, Workers(_failed).take)
    return _DESKS[port]


def _failed(record: str, version: str, tasks: float) -> None:
    for following in list(_FOLLOWED.values()):
        if following.record == record:
            following.keeper.failed(version, tasks)


_LOCK = threading.RLock()
_FOLLOWED: dict[tuple[str, ...], _Following] = {}
_DESKS: dict[int, ModelDesk] = {}


# --- in a worker


@dataclass
class _HeldSet:
    """The set that a process has, and when it asks for another."""

    models: ModelSet | None
    digest: str
    due: float = 0.0
    wait: float = 0.0
    told: bool = False  # that there is no answer


_HELD: dict[str, _HeldSet] = {}
_HOLDING = threading.Lock()


def current(lease: Lease) -> ModelSet | None:
    """The set in force, as far as this process knows; asks the driver when it is time to. None before the first promotion."""
    with _HOLDING:
        held = _HELD.get(lease.path)
        if held is None:
            while len(_HELD) >= _MOST_HELD:
                del _HELD[next(iter(_HELD))]
            held = _HELD[lease.path] = _HeldSet(pickle.loads(lease.offer.body), lease.offer.digest)
        if time.monotonic() >= held.due:
            _renew(lease, held)
        return held.models


def _renew(lease: Lease, held: _HeldSet) -> None:
    try:
        body = ask(lease, held.digest, {"process": TALLY.process, "counts": TALLY.plain()})
        if body is not None:
            held.models, held.digest = pickle.loads(body), Offer.of(body).digest
        held.wait, held.told = lease.every_s, False
    except UnansweredError as e:
        held.wait = min(_LONGEST_S, max(lease.every_s, held.wait) * 2)
        if not held.told:
            stays = f"version {held.models.champion.version} stays" if held.models else "no model scores"
            print(f"models: the driver does not answer, {stays}: {e}", file=sys.stderr)
        held.told = True
    held.due = time.monotonic() + held.wait
