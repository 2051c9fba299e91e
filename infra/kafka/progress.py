"""How far the queries of the stream are in their topics, from their checkpoints: read, unread, gone before it was read, not theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.config import Settings
from infra.kafka import topics
from infra.kafka.topics import Extent, of_topic

#: What the messages and ``flowlake status`` name as the way out of a topic that is not the checkpoint's.
ACCEPT = "--accept-new-topics"

#: (topic, partition) -> offset.
Offsets = dict[tuple[str, int], int]


@dataclass(frozen=True)
class Standing:
    """How far a query is in its topics.

    Parameters
    ----------
    query : str
        Name of the checkpoint, e.g. ``meter-v4``.
    behind : int
        Messages on the broker that it has not read. All of them where a topic is not the one that the checkpoint was made with.
    skipped : int
        Messages that were gone from the broker before it read them, since the checkpoint was made.
    problem : str
        Why the checkpoint does not fit its topic; empty when it does.
    """

    query: str
    behind: int
    skipped: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Account:
    """What the note beside a checkpoint says of its topics.

    ``ids``: topic -> id. ``skipped``: messages gone before they were read, by (topic, partition). ``counted``: offsets up to which those
    were counted.
    """

    ids: Mapping[str, str]
    skipped: Mapping[tuple[str, int], int]
    counted: Mapping[tuple[str, int], int]


def account_of(note: object) -> Account:
    """The account in a note's JSON; empty where it has none, as those of the version before."""
    part = note.get("input") if isinstance(note, dict) else None
    try:
        given = part if isinstance(part, dict) else {}
        ids = {str(topic): str(known) for topic, known in given.get("ids", {}).items()}
        return Account(ids, _flat(given.get("skipped", {})), _flat(given.get("counted", {})))
    except (AttributeError, TypeError, ValueError):
        return Account({}, {}, {})


def account_json(account: Account) -> dict[str, object]:
    """An account as it stands in the note."""
    return {"ids": dict(account.ids), "skipped": _nested(account.skipped), "counted": _nested(account.counted)}


def standings(settings: Settings) -> list[Standing]:
    """Where each streaming query stands (local checkpoints only).

    Spark commits no group offsets; what a query has finished is the newest entry of its checkpoint's ``commits`` folder.

    Raises
    ------
    BrokerError
        No broker answers.
    """
    if "://" in settings.paths.checkpoints:
        return []
    base = settings.path(settings.paths.checkpoints)
    folders = [folder.parent for folder in sorted(base.glob("**/commits"))]
    read = {name: _finished(base, name) for name in (str(folder.relative_to(base)) for folder in folders)}
    reads = {query.name: [settings.topic(spec.name) for spec in query.reads] for query in settings.catalogue.queries}
    fresh = {name: reads.get(name.rsplit("-v", 1)[0], []) for name, offsets in read.items() if not offsets}
    there = topics.extents(
        settings, {topic for offsets in read.values() for topic, _ in offsets} | {topic for names in fresh.values() for topic in names}
    )
    found = []
    for name, offsets in read.items():
        if offsets:
            found.append(_standing(name, offsets, account_of(_json(base / f"{name}.json")), there))
        elif unread := [there[topic] for topic in fresh[name] if topic in there]:
            # a query that has not finished its first batch has everything before it
            found.append(Standing(name, sum(sum(_all(extent).values()) for extent in unread)))
    return found


def _finished(base: Path, name: str) -> Offsets:
    try:
        return finished_offsets(LocalFiles(base), name)
    except OSError:  # of another user, say: the others are told all the same
        return {}


def _standing(query: str, read: Offsets, account: Account, there: Mapping[str, Extent]) -> Standing:
    behind, skipped, problems = 0, sum(account.skipped.values()), []
    for topic in sorted({topic for topic, _ in read}):
        done = of_topic(read, topic)
        extent = there.get(topic)
        if extent is None:
            problems.append(f"topic {topic} is not on the broker")
        elif why := misfit(topic, account.ids.get(topic, ""), done, extent):
            problems.append(f"{why}; the way out: flowlake stream {ACCEPT}")
            behind += sum(_all(extent).values())
        else:
            behind += sum(max(0, end - max(done.get(p, 0), extent.first[p])) for p, end in extent.end.items())
            skipped += sum(gone(done, extent, of_topic(account.counted, topic)).values())
    return Standing(query, behind, skipped, "; ".join(problems))


def _all(extent: Extent) -> dict[int, int]:
    return {p: end - extent.first[p] for p, end in extent.end.items()}


def misfit(topic: str, known: str, read: Mapping[int, int], extent: Extent) -> str:
    """Why a topic on the broker is not the one that was read; empty when it may be.

    Parameters
    ----------
    topic
        Its name.
    known
        Id that it had; empty when that is not known.
    read
        Offsets up to which it was read, by partition. From a topic of which nothing was read, nothing can be missed.
    extent
        As it stands now.
    """
    if not read:
        return ""
    if known and extent.id and known != extent.id:
        return f"topic {topic} was deleted and made anew: its id was {known} and is {extent.id}"
    for partition, offset in sorted(read.items()):
        end = extent.end.get(partition, 0)
        if offset > end:
            return (
                f"topic {topic} was deleted and made anew, or its broker set back: "
                f"partition {partition} was read to offset {offset} and ends at {end}"
            )
    return ""


def gone(read: Mapping[int, int], extent: Extent, counted: Mapping[int, int]) -> dict[int, int]:
    """Messages by partition that left the broker before they were read, those already counted left out.

    A partition that was not there when the topic was read last counts from its beginning.
    """
    if not read:
        return {}
    behind = {p: first - max(read.get(p, 0), counted.get(p, 0)) for p, first in extent.first.items()}
    return {p: messages for p, messages in behind.items() if messages > 0}


class CheckpointFiles(Protocol):
    """A folder of checkpoints, on whatever file system it lies; names are relative to it."""

    def files(self, folder: str) -> list[str]:
        """Names of the files in a folder; none when it is not there."""
        ...

    def read(self, name: str) -> str | None:
        """A file's text; None when it is not there."""
        ...


@dataclass(frozen=True)
class LocalFiles:
    """A folder of this machine."""

    base: Path

    def files(self, folder: str) -> list[str]:
        """Names of the files in a folder; none when it is not there."""
        place = self.base / folder
        return [entry.name for entry in place.iterdir() if entry.is_file()] if place.is_dir() else []

    def read(self, name: str) -> str | None:
        """A file's text; None when it is not there, or is gone again."""
        try:
            return (self.base / name).read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None


def finished_offsets(place: CheckpointFiles, checkpoint: str) -> Offsets:
    """Kafka offsets after the newest finished batch of a checkpoint, by (topic, partition); empty when it has none or reads no topic."""
    done = [int(name) for name in place.files(f"{checkpoint}/commits") if name.isdigit()]
    return logged_offsets(place.read(f"{checkpoint}/offsets/{max(done)}") or "") if done else {}


def logged_offsets(text: str) -> Offsets:
    """Kafka offsets in an entry of Spark's offset log; empty when there are none, or it is cut."""
    try:
        return {key: offset for line in text.splitlines() for key, offset in _flat(_source(line)).items()}
    except (TypeError, ValueError):
        return {}


def relogged(text: str, topic: str, offsets: Mapping[int, int]) -> str:
    """The entry with other offsets of one topic; what else it holds stays as it is."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        source = _source(line)
        if topic in source:
            changed = {**source, topic: {str(p): offset for p, offset in sorted(offsets.items())}}
            lines[number] = json.dumps(changed, separators=(",", ":"))
    return "\n".join(lines)


def _source(line: str) -> dict[str, dict[str, int]]:
    """Offsets of a Kafka source: ``{topic: {partition: offset}}``; empty for every other line (version, metadata, other sources)."""
    try:
        value = json.loads(line) if line.startswith("{") else {}
    except ValueError:
        return {}
    kafka = all(isinstance(ps, dict) and all(p.isdigit() and isinstance(o, int) for p, o in ps.items()) for ps in value.values())
    return value if kafka else {}


def _flat(nested: Mapping[str, Mapping[str, int]]) -> Offsets:
    return {(topic, int(p)): int(o) for topic, ps in nested.items() for p, o in ps.items()}


def _nested(flat: Mapping[tuple[str, int], int]) -> dict[str, dict[str, int]]:
    return {topic: {str(p): o for p, o in sorted(of_topic(flat, topic).items())} for topic in sorted({t for t, _ in flat})}


def _json(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
