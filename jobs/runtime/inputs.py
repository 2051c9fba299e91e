"""The topic that a checkpoint belongs to, and what was gone from it before it was read.

A checkpoint holds offsets, and an offset means something in one topic only. When the topic is deleted and made anew under its name,
Spark goes on at the old offsets: what lies below them is never read. So the topic's id is kept beside the checkpoint and compared, at
every start and while the query runs. Messages that retention removed before they were read are counted by partition.
"""

from __future__ import annotations

import functools
import itertools
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from infra import log, metrics
from infra.config import Settings
from infra.errors import BrokerError, CheckpointError, FlowlakeError, one_line
from infra.kafka import progress as queries
from infra.kafka import topics
from infra.kafka.progress import Account, Offsets
from infra.kafka.topics import Extent, of_topic
from jobs.runtime import checkpoints
from jobs.runtime.checkpoints import Checkpoint
from jobs.runtime.listener import offsets as reported

LOG = log.get("jobs.runtime.inputs")

#: Seconds between two looks at the ids of the topics that are being read.
LOOK_S = 2.0
HINT = (
    f"start with {queries.ACCEPT}: the topic as it is now is read from its beginning, and the query keeps what it holds; "
    "what was not read of the topic as it was is lost"
)


@dataclass(frozen=True)
class Input:
    """A query of this process, and the topic that it reads with the id that it had at the start."""

    query: str
    topic: str
    place: Checkpoint
    id: str = ""

    def account(self) -> Account:
        """What the checkpoint's note says of its topics."""
        return queries.account_of(self.place.note())

    def keep(self, account: Account) -> None:
        """Put it into the note."""
        self.place.annotate(input=queries.account_json(account))


#: Inputs of the queries that run in this process, by query.
_RUNNING: dict[str, Input] = {}
#: A note is read, changed and written by the thread that starts queries and by the one that watches them.
_NOTES = threading.Lock()


def settle(place: Checkpoint, query: str, topic: str, settings: Settings, *, fail_on_data_loss: bool) -> None:
    """See that a checkpoint goes on in the topic that it was made with, before its query starts.

    A checkpoint without an id (of an earlier version, or nothing read yet) takes the present one. Messages that are gone are counted.

    Parameters
    ----------
    place
        The query's checkpoint.
    query, topic
        Names, the topic's as it is on the broker.
    settings
        Where the broker is.
    fail_on_data_loss
        Refuse to start behind messages that are gone.

    Raises
    ------
    BrokerError
        No broker answers, or the topic is not there.
    CheckpointError
        The topic was deleted and made anew, or ends before what was read of it; or messages are gone that must not be.
    """
    extent = topics.extents(settings, [topic]).get(topic)
    if extent is None:
        raise BrokerError(f"topic {topic} is not on the broker {settings.kafka.bootstrap_servers}", "flowlake topics --create")
    if not extent.id:
        _say_once(settings.kafka.bootstrap_servers)
    mine = Input(query, topic, place, extent.id)
    with _NOTES:
        account = mine.account()
        read = of_topic(position(place), topic)
        known = account.ids.get(topic, "")
        _refuse(mine, known, read, extent)
        lost = queries.gone(read, extent, of_topic(account.counted, topic))
        if lost and fail_on_data_loss:
            raise CheckpointError(
                f"{sum(lost.values())} messages of topic {topic} were gone before query {query} read them "
                f"({_by_partition(lost)}), and fail_on_data_loss is set",
                "what is gone stays so: start once with fail_on_data_loss: false to go on behind it",
            )
        if extent.id and extent.id != known:
            account = replace(account, ids={topic: extent.id})
            mine.keep(account)
            if read:
                LOG.info("checkpoint now knows its topic's id", query=query, topic=topic, id=extent.id)
        if lost:
            _count(mine, account, lost, {p: extent.first[p] for p in lost})
    _RUNNING[query] = mine


def _refuse(mine: Input, known: str, read: Mapping[int, int], extent: Extent) -> None:
    if why := queries.misfit(mine.topic, known, read, extent):
        raise CheckpointError(f"{why}; checkpoint {mine.place.path} of query {mine.query} goes on in the old one", HINT)


@functools.cache
def _say_once(servers: str) -> None:
    LOG.info("the broker tells no topic ids: a topic made anew is noticed only when it ends before what was read", broker=servers)


def _by_partition(messages: Mapping[int, int]) -> str:
    return ", ".join(f"partition {p}: {n}" for p, n in sorted(messages.items()))


def _count(mine: Input, account: Account, lost: Mapping[int, int], upto: Mapping[int, int]) -> None:
    """Messages of some partitions are gone, up to these offsets: into the note, the metrics and the log."""
    skipped, counted = dict(account.skipped), dict(account.counted)
    for partition, messages in lost.items():
        key = mine.topic, partition
        skipped[key] = skipped.get(key, 0) + messages
        counted[key] = max(counted.get(key, 0), upto[partition])
        metrics.SKIPPED.labels(mine.query, mine.topic, str(partition)).inc(messages)
    mine.keep(replace(account, skipped=skipped, counted=counted))
    LOG.warning(
        "messages were gone before they were read",
        query=mine.query,
        topic=mine.topic,
        messages=sum(lost.values()),
        partitions=_by_partition(lost),
        cause="retention of the topic: the query was stopped for too long, or is too slow",
    )


def position(place: Checkpoint) -> Offsets:
    """Offsets up to which a checkpoint has read, by (topic, partition): of its newest finished batch, else those it begins at."""
    if _numbers(place, "commits"):
        return queries.finished_offsets(place.files, place.name)
    return {key: offset for name in _beginnings(place) for key, offset in queries.logged_offsets(_text(place, name)).items()}


def _beginnings(place: Checkpoint) -> list[str]:
    """Where Spark notes the offsets at which its sources begin: one numbered folder for each that it asked."""
    names = (f"sources/{n}" for n in itertools.count())
    return [f"{name}/0" for name in itertools.takewhile(lambda name: "0" in place.files.files(f"{place.name}/{name}"), names)]


def _numbers(place: Checkpoint, folder: str) -> list[int]:
    return sorted(int(name) for name in place.files.files(f"{place.name}/{folder}") if name.isdigit())


def _text(place: Checkpoint, name: str) -> str:
    return place.files.read(f"{place.name}/{name}") or ""


def accept(settings: Settings, query: str) -> list[str]:
    """Take the topics of a query's checkpoints as they are now: those that were made anew are read from their beginning.

    What the checkpoint holds besides stays, its identity and the numbers of its batches too, by which the stores know what they have. A
    batch that was begun and not finished ends where the topic begins: what it had read cannot be read again, and its number, under which
    a store may have it, is not given to other messages.

    Returns
    -------
    list of str
        What was the matter, a line a topic; empty when everything fitted.

    Raises
    ------
    BrokerError
        No broker answers.
    """
    said: list[str] = []
    for place in checkpoints.existing(settings, query):
        with _NOTES:
            account = queries.account_of(place.note())
            read = position(place)
            there = topics.extents(settings, {topic for topic, _ in read})
            for topic, extent in sorted(there.items()):
                known = account.ids.get(topic, "")
                why = queries.misfit(topic, known, of_topic(read, topic), extent)
                if not why:
                    continue
                # Of another topic everything was missed that is gone; of the same one, set back, what is gone was read.
                anew = bool(known and extent.id and known != extent.id)
                _rewind(place, topic, dict.fromkeys(extent.first, 0) if anew else extent.first)
                counted = {key: offset for key, offset in account.counted.items() if key[0] != topic}
                account = replace(account, ids={**account.ids, topic: extent.id}, counted=counted)
                said.append(why)
            if said:
                place.annotate(input=queries.account_json(account))
    return said


def _rewind(place: Checkpoint, topic: str, offsets: Mapping[int, int]) -> None:
    """Let a checkpoint go on at other offsets of a topic. Done again after a crash in between, it comes to the same."""
    done = _numbers(place, "commits")
    names = [f"offsets/{n}" for n in reversed(_numbers(place, "offsets")) if not done or n >= max(done)]
    for name in [*names, *(() if done else _beginnings(place))]:
        place.files.write(f"{place.name}/{name}", queries.relogged(_text(place, name), topic, offsets))


@dataclass(frozen=True)
class Short:
    """A batch that did not bring as many messages as its offsets span.

    ``spans``: partition -> (from, to). ``missing``: how many at least did not come; None where the rows do not tell, because the batch was
    read more than once.
    """

    query: str
    spans: Mapping[int, tuple[int, int]]
    missing: int | None


def short(progress: Mapping[str, Any], topic: str) -> Short | None:
    """What is missing in a progress report (Spark's JSON); None when nothing is.

    Kafka numbers messages without holes, save those that transactions and compaction leave: whether what is missing was gone is told by
    where the topic begins (:func:`skipped`).
    """
    for source in progress.get("sources") or []:
        start, end = reported(source.get("startOffset")).get(topic), reported(source.get("endOffset")).get(topic)
        if start is None or end is None:
            continue  # the first batch: it begins where the topic did
        spans = {int(p): (int(start.get(p, 0)), int(at)) for p, at in end.items()}
        missing = sum(max(0, to - since) for since, to in spans.values()) - int(source.get("numInputRows") or 0)
        if missing:
            return Short(str(progress.get("name")), spans, missing if missing > 0 else None)
    return None


def skipped(batch: Short, extent: Extent, counted: Mapping[int, int]) -> dict[int, int]:
    """Messages of a short batch that were gone, by partition; those already counted left out.

    The topic may have moved on since the batch was read, so never more than did not come.
    """
    left = batch.missing
    found: dict[int, int] = {}
    known = {p: max(0, min(counted.get(p, 0), to) - since) for p, (since, to) in batch.spans.items()}
    if left is not None:
        left = max(0, left - sum(known.values()))
    for p, (since, to) in sorted(batch.spans.items()):
        messages = max(0, min(extent.first.get(p, 0), to) - since - known[p])
        if left is not None:
            messages = min(messages, left)
            left -= messages
        if messages:
            found[p] = messages
    return found


class Watcher(threading.Thread):
    """Looks after the topics of the queries that run: whether they are still the same, and what is missing in their batches."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="topics-watcher", daemon=True)
        self._settings = settings
        self._ending = threading.Event()
        self._short: queue.SimpleQueue[Short] = queue.SimpleQueue()
        self._faults: dict[str, CheckpointError] = {}

    def stop(self) -> None:
        """End the thread; returns at once."""
        self._ending.set()

    def observe(self, progress: Mapping[str, Any]) -> None:
        """Take a progress report; asks nobody."""
        mine = _RUNNING.get(str(progress.get("name")))
        if mine and (batch := short(progress, mine.topic)):
            self._short.put(batch)

    def fault(self, query: str) -> FlowlakeError | None:
        """Why a query must not go on."""
        return self._faults.get(query)

    def run(self) -> None:
        """Look until stopped; a broker that is away is waited for."""
        while not self._ending.wait(LOOK_S):
            try:
                with topics.admin(self._settings) as client:
                    while not self._ending.is_set():
                        self.look(topics.ids(client, {mine.topic for mine in _RUNNING.values()}))
                        self._ending.wait(LOOK_S)
            except Exception as e:  # the queries say themselves that the broker is away
                LOG.debug("topics cannot be looked at, trying again", cause=one_line(e, 200))

    def look(self, ids: Mapping[str, str]) -> None:
        """Compare the ids of the topics on the broker with those that are being read, and count what is missing in the batches."""
        for mine in list(_RUNNING.values()):
            try:
                _refuse(mine, mine.id, _SOMETHING, Extent(ids.get(mine.topic, ""), {}, {}))
            except CheckpointError as e:
                self._faults[mine.query] = e
        found: list[tuple[Short, Input]] = []
        while not self._short.empty():
            batch = self._short.get()
            found.append((batch, _RUNNING[batch.query]))
        extents = topics.extents(self._settings, {mine.topic for _, mine in found}) if found else {}
        for batch, mine in found:
            if mine.topic in extents and mine.query not in self._faults:
                _take(batch, mine, extents[mine.topic])


#: Offsets of a topic that was read, however far.
_SOMETHING = {0: 0}


def _take(batch: Short, mine: Input, extent: Extent) -> None:
    with _NOTES:
        account = mine.account()
        lost = skipped(batch, extent, of_topic(account.counted, mine.topic))
        if lost:
            _count(mine, account, lost, {p: min(extent.first[p], batch.spans[p][1]) for p in lost})
