"""From the outbox to messages: what each channel is to be told, no more than it takes, the rest counted for its digest.

One plans at a time (an advisory lock that is not waited for). What it plans, what it counts and what leaves the outbox are one transaction:
a row of the outbox leads to each channel's message exactly once, whoever dies when.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from psycopg2.extras import Json, execute_values

from infra.channels import ChannelSettings, NotifySettings
from jobs.notifying import decide, facts, held
from jobs.notifying.decide import Thread
from jobs.notifying.facts import Facts
from jobs.notifying.held import Counts
from jobs.notifying.notice import News, Notice, iso
from jobs.sinks.postgres import LOCK_NOTIFY
from schemas.incidents import INCIDENTS, PRIORITIES, UNDONE
from schemas.notifications import (
    ALERT,
    CONDITION,
    FAILED,
    INCIDENT,
    KEEP_FAILED_DAYS,
    KEEP_SENT_DAYS,
    KEEP_THREADS_DAYS,
    MESSAGES,
    OUTBOX,
    SENT,
    THREADS,
    WAITING,
)

#: Rows of the outbox in one transaction.
_AT_ONCE = 500
#: Messages that wait for a channel at most; while so many do, it is behind, and what comes on top is held back.
MAX_QUEUED = 1000
#: What nobody was told for so long is no news any more: it is in the digest.
_STALE = timedelta(days=1)
#: Not held back: there are no more of them than messages before.
_UNLIMITED = ("resolved", "digest")


@dataclass
class NewsPlanned:
    """What was done: rows taken from the outbox, messages written, news held back."""

    taken: int = 0
    messages: int = 0
    held: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass
class _Room:
    """Messages that a channel may still get in this minute, and until it is too far behind."""

    minute: int
    queue: int

    def take(self, what: News) -> bool:
        if what in _UNLIMITED:
            return True
        if self.minute <= 0 or self.queue <= 0:
            return False
        self.minute -= 1
        self.queue -= 1
        return True


class Planner:
    """Plans for the channels of some settings.

    Parameters
    ----------
    settings
        Channels, and how long news may settle.
    classes
        Attack type -> class of attacks, for the channels' filters.
    """

    def __init__(self, settings: NotifySettings, classes: Mapping[str, str]) -> None:
        self._channels: Mapping[str, ChannelSettings] = settings.channels
        self._settings = settings
        self._classes = dict(classes)

    def step(self, cursor: Any, settle_s: float) -> NewsPlanned:
        """Plan once, in the transaction of the cursor.

        Parameters
        ----------
        cursor
            On the database of the alerts; committed by the caller.
        settle_s
            Seconds that a row of the outbox must have waited.
        """
        done = NewsPlanned()
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s), clock_timestamp()", (LOCK_NOTIFY,))
        mine, now = cursor.fetchone()
        if not mine:
            return done
        writing = _Writing(cursor, now, self._settings, self._room(cursor), done)
        taken = self._taken(cursor, settle_s)
        done.taken = len(taken)
        if taken:
            self._tell(cursor, writing, taken, now)
        self._grown(cursor, writing)
        held.share_out(cursor, self._channels, self._classes)
        for name, counts in writing.held.items():
            held.add(cursor, name, counts)
            done.held[name] = counts.total()
        for name, channel in self._channels.items():
            if notice := held.digest(cursor, name, channel.digest_s):
                writing.digest(name, notice)
        writing.write()
        return done

    def _taken(self, cursor: Any, settle_s: float) -> list[tuple[str, str, datetime]]:
        """Rows of the outbox: subject, id, since when; the most urgent first."""
        cursor.execute(
            f"WITH taken AS (SELECT seq FROM {OUTBOX} WHERE at <= clock_timestamp() - %s * interval '1 second' "
            "ORDER BY level DESC, seq LIMIT %s FOR UPDATE SKIP LOCKED) "
            f"DELETE FROM {OUTBOX} o USING taken WHERE o.seq = taken.seq RETURNING o.level, o.seq, o.subject, o.subject_id::text, o.at",
            (settle_s, _AT_ONCE),
        )
        return [(subject, key, at) for _, _, subject, key, at in sorted(cursor.fetchall(), key=lambda row: (-row[0], row[1]))]

    def _room(self, cursor: Any) -> dict[str, _Room]:
        cursor.execute(
            "SELECT channel, count(*) FILTER (WHERE created_at > clock_timestamp() - interval '1 minute' AND news <> ALL(%s)), "
            f"count(*) FILTER (WHERE state = '{WAITING}') FROM {MESSAGES} "
            f"WHERE state = '{WAITING}' OR created_at > clock_timestamp() - interval '1 minute' GROUP BY channel",
            (list(_UNLIMITED),),
        )
        used = {name: (minute, queue) for name, minute, queue in cursor.fetchall()}
        return {
            name: _Room(channel.per_minute - used.get(name, (0, 0))[0], MAX_QUEUED - used.get(name, (0, 0))[1])
            for name, channel in self._channels.items()
        }

    def _tell(self, cursor: Any, writing: _Writing, taken: list[tuple[str, str, datetime]], now: datetime) -> None:
        of = {subject: [key for what, key, _ in taken if what == subject] for subject in (INCIDENT, ALERT, CONDITION)}
        found = facts.incidents(cursor, of[INCIDENT])
        heirs = facts.heirs(cursor, set(of[INCIDENT]) - set(found))
        # What others were merged into is looked at too: it may have become more than its own channel was told.
        found |= facts.incidents(cursor, set(heirs.values()) - set(found))
        found |= facts.alerts(cursor, of[ALERT])
        found |= facts.conditions(cursor, of[CONDITION])
        threads = _threads(cursor, {*(key for _, key, _ in taken), *heirs.values()})
        for name, channel in self._channels.items():
            for _, key, at in taken:
                told = threads.get((name, key))
                heir = heirs.get(key)
                if heir is not None and told is not None and (name, heir) not in threads:
                    key, told = heir, _moved(cursor, name, told, heir)
                    threads[name, heir] = told
                standing = found.get(key)
                what = decide.news(standing, told, channel, self._classes)
                if what is not None:
                    written = writing.add(name, what, key, standing, told, heir or "", stale=now - at > _STALE)
                    if written is not None:
                        threads[name, key] = written

    def _grown(self, cursor: Any, writing: _Writing) -> None:
        """What channels want to hear of again, and again, as long as it goes on."""
        for name, channel in self._channels.items():
            if channel.update_s <= 0:
                continue
            cursor.execute(
                f"SELECT t.key::text, t.subject_id::text, t.level, t.done FROM {THREADS} t JOIN {INCIDENTS} i ON i.id = t.subject_id "
                "WHERE t.channel = %s AND NOT t.done AND i.status = ANY(%s) AND i.updated_at > t.told_at "
                "AND t.told_at <= clock_timestamp() - %s * interval '1 second' ORDER BY t.level DESC, t.told_at LIMIT %s",
                (name, list(UNDONE), channel.update_s, _AT_ONCE),
            )
            due = [Thread(*row) for row in cursor.fetchall()]
            found = facts.incidents(cursor, [told.subject_id for told in due]) if due else {}
            for told in due:
                standing = found.get(told.subject_id)
                if standing and not standing.quiet and (name, told.key) not in writing.told:
                    writing.add(name, "grown", told.subject_id, standing, told, "", stale=False)


class _Writing:
    """Messages and threads of one transaction."""

    def __init__(self, cursor: Any, now: datetime, settings: NotifySettings, room: dict[str, _Room], done: NewsPlanned) -> None:
        self._cursor = cursor
        self._now = iso(now)
        self._channels = settings.channels
        self._link = settings.link
        self._room = room
        self._done = done
        self._messages: list[tuple[Any, ...]] = []
        self.told: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.held: dict[str, Counts] = defaultdict(Counts)

    def add(self, channel: str, what: News, key: str, now: Facts | None, told: Thread | None, heir: str, *, stale: bool) -> Thread | None:
        """A message, or its count; returns the thread as it is then, ``None`` when it is held back."""
        if (stale and what not in _UNLIMITED) or not self._room[channel].take(what):
            if now is not None and what != "grown":
                self.held[channel][now.kinds[0] if now.kinds else "", now.level, now.sources[0] if now.sources else ""] += 1
            return None
        thread = Thread(
            told.key if told else self._key(channel, key), key, now.level if now else told.level if told else 0, what == "resolved"
        )
        if what != "resolved" or self._channels[channel].resolved:
            self._put(channel, self._notice(channel, what, thread, now, told, heir))
        self.told[channel, thread.key] = (channel, thread.key, thread.subject_id, thread.level, thread.done)
        return thread

    def digest(self, channel: str, notice: Notice) -> None:
        """The digest of a channel."""
        self._put(channel, notice)

    def _put(self, channel: str, notice: Notice) -> None:
        self._messages.append((notice.id, channel, notice.key, notice.news, Json(notice.plain())))
        self._done.messages += 1

    def _key(self, channel: str, key: str) -> str:
        """The incident's id, unless another that had this id before goes on under it."""
        self._cursor.execute(f"SELECT 1 FROM {THREADS} WHERE channel = %s AND key = %s", (channel, key))
        return str(uuid4()) if self._cursor.fetchone() or (channel, key) in self.told else key

    def _notice(self, channel: str, what: News, thread: Thread, now: Facts | None, told: Thread | None, heir: str) -> Notice:
        head: dict[str, Any] = {"id": str(uuid4()), "key": thread.key, "news": what, "at": self._now}
        if now is None:
            # It is no more: what was said of it last says what it was.
            self._cursor.execute(
                f"SELECT body FROM {MESSAGES} WHERE channel = %s AND key = %s ORDER BY seq DESC LIMIT 1", (channel, thread.key)
            )
            (body,) = self._cursor.fetchone() or ({},)
            about = {
                "subject": "incident",
                "subject_id": thread.subject_id,
                "title": thread.subject_id,
                **body,
                "merged_into": heir,
                **head,
            }
            return Notice.of({**about, "status": "GONE", "before": "", "note": ""})
        before = PRIORITIES[told.level] if told and what == "raised" else ""
        return Notice(
            **head, subject=now.subject, subject_id=now.id, title=now.title, description=now.description,
            priority=PRIORITIES[now.level], before=before, severity=max(1, now.severity), status=now.status, assigned_to=now.assigned_to,
            closed_by=now.closed_by, note=now.note, kinds=now.kinds, stages=now.stages, techniques=now.techniques, sources=now.sources,
            targets=now.targets, alerts=now.alerts, flows=now.flows, first_seen=iso(now.first_seen), last_seen=iso(now.last_seen),
            link=self._link.replace("{id}", now.id) if now.subject == INCIDENT else "",
        )  # fmt: skip

    def write(self) -> None:
        """Into the database."""
        if self._messages:
            execute_values(self._cursor, f"INSERT INTO {MESSAGES} (id, channel, key, news, body) VALUES %s", self._messages)
        if self.told:
            execute_values(
                self._cursor,
                f"INSERT INTO {THREADS} (channel, key, subject_id, level, done) VALUES %s ON CONFLICT (channel, key) DO UPDATE SET "
                "subject_id = EXCLUDED.subject_id, level = EXCLUDED.level, done = EXCLUDED.done, told_at = clock_timestamp()",
                list(self.told.values()),
            )


def _threads(cursor: Any, ids: set[str]) -> dict[tuple[str, str], Thread]:
    cursor.execute(
        f"SELECT channel, key::text, subject_id::text, level, done FROM {THREADS} WHERE subject_id = ANY(%s::uuid[]) ORDER BY told_at",
        (list(ids),),
    )
    return {(channel, subject): Thread(key, subject, level, done) for channel, key, subject, level, done in cursor.fetchall()}


def _moved(cursor: Any, channel: str, told: Thread, heir: str) -> Thread:
    """What was told of an incident goes on as that into which it was merged."""
    cursor.execute(f"UPDATE {THREADS} SET subject_id = %s WHERE channel = %s AND key = %s", (heir, channel, told.key))
    return Thread(told.key, heir, told.level, told.done)


def prune(cursor: Any) -> None:
    """Let go of messages and threads that are old; those that wait stay."""
    old = "clock_timestamp() - interval '{} days'".format
    cursor.execute(f"DELETE FROM {MESSAGES} WHERE state = '{SENT}' AND done_at < {old(KEEP_SENT_DAYS)}")
    cursor.execute(f"DELETE FROM {MESSAGES} WHERE state = '{FAILED}' AND done_at < {old(KEEP_FAILED_DAYS)}")
    cursor.execute(f"DELETE FROM {THREADS} WHERE told_at < {old(KEEP_THREADS_DAYS)}")
