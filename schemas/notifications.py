"""Notifications: what people and other systems are still to be told of, and what they were told. Tables beside ``alerts``.

``notifications`` is the outbox. The database itself puts a row there when an incident is news (:mod:`jobs.notifying.triggers`), in the
transaction that makes it so; a row names what changed, not what is to be said, so an incident has one however often it changes. The
notifier (:mod:`jobs.notifying.planner`) compares each with what a channel was told last (``notification_threads``) and writes a message for
it (``notification_messages``), or counts it (``notification_held``) where there are too many.
"""

from __future__ import annotations

from typing import Literal, get_args

OUTBOX = "notifications"
#: What is wrong with the platform itself (a model that drifts), until it is right again.
CONDITIONS = "platform_conditions"
THREADS = "notification_threads"
MESSAGES = "notification_messages"
HELD = "notification_held"

#: What a row of the outbox is about.
Subject = Literal["incident", "alert", "condition"]
INCIDENT, ALERT, CONDITION = get_args(Subject)
#: Rows that wait in the outbox at most; what comes on top is counted in ``notification_held`` and told as a digest.
MAX_WAITING = 10_000
#: Rows of ``notification_held`` of one channel that tell sources and kinds apart; the rest is counted without its source, and its kind.
MAX_HELD_ROWS = 500
#: Channel of what was counted by the database itself, for every channel.
ANY_CHANNEL = "*"
#: Kind of what was counted when there were too many kinds.
OTHER_KIND = "OTHER"

#: ``waiting``: to be sent at ``due_at``; ``sent``: the receiver has taken it; ``failed``: given up, ``reason`` says why.
State = Literal["waiting", "sent", "failed"]
WAITING, SENT, FAILED = get_args(State)
#: Days that messages are kept after they were sent, or given up; and that a thread is known after its last message.
KEEP_SENT_DAYS, KEEP_FAILED_DAYS, KEEP_THREADS_DAYS = 7, 30, 90

#: Statements of the version of the alerts' tables that brought notifications (:data:`schemas.alerts.MIGRATIONS`).
STATEMENTS: tuple[str, ...] = (
    # level: degree of the priority, 0 (LOW) .. 3 (CRITICAL).
    f"CREATE TABLE IF NOT EXISTS {OUTBOX} (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
    f"subject text NOT NULL CHECK (subject IN ('{INCIDENT}', '{ALERT}')), subject_id uuid NOT NULL UNIQUE, level smallint NOT NULL, "
    "kind text NOT NULL, source text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())",
    # key: by which the receiver knows that messages are about one thing. It stays when the incident's id changes.
    f"CREATE TABLE IF NOT EXISTS {THREADS} (channel text NOT NULL, key uuid NOT NULL, subject_id uuid NOT NULL, level smallint NOT NULL, "
    "done boolean NOT NULL DEFAULT false, told_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (channel, key))",
    f"CREATE INDEX IF NOT EXISTS {THREADS}_subject ON {THREADS} (subject_id)",
    # id: the same at every attempt, so a receiver that looks at it takes a message once.
    f"CREATE TABLE IF NOT EXISTS {MESSAGES} (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id uuid NOT NULL UNIQUE, "
    "channel text NOT NULL, key uuid NOT NULL, news text NOT NULL, body jsonb NOT NULL, "
    f"state text NOT NULL DEFAULT '{WAITING}' CHECK (state IN ('{WAITING}', '{SENT}', '{FAILED}')), attempts integer NOT NULL DEFAULT 0, "
    "reason text NOT NULL DEFAULT '', created_at timestamptz NOT NULL DEFAULT clock_timestamp(), "
    "due_at timestamptz NOT NULL DEFAULT clock_timestamp(), done_at timestamptz)",
    f"CREATE INDEX IF NOT EXISTS {MESSAGES}_due ON {MESSAGES} (channel, due_at) WHERE state = '{WAITING}'",
    f"CREATE INDEX IF NOT EXISTS {MESSAGES}_thread ON {MESSAGES} (channel, key, seq) WHERE state = '{WAITING}'",
    f"CREATE INDEX IF NOT EXISTS {MESSAGES}_time ON {MESSAGES} (channel, created_at)",
    f"CREATE TABLE IF NOT EXISTS {HELD} (channel text NOT NULL, kind text NOT NULL, level smallint NOT NULL, source text NOT NULL, "
    "count bigint NOT NULL, first_at timestamptz NOT NULL DEFAULT clock_timestamp(), "
    "last_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (channel, kind, level, source))",
)

#: Statements of the version that brought conditions of the platform.
OF_CONDITIONS: tuple[str, ...] = (
    # id follows from kind and name: what comes again is the same thing again. level: as in the outbox.
    f"CREATE TABLE IF NOT EXISTS {CONDITIONS} (id uuid PRIMARY KEY, kind text NOT NULL, name text NOT NULL, title text NOT NULL, "
    "description text NOT NULL DEFAULT '', source text NOT NULL DEFAULT '', level smallint NOT NULL CHECK (level BETWEEN 0 AND 3), "
    "first_seen timestamptz NOT NULL, last_seen timestamptz NOT NULL, over_at timestamptz, "
    "updated_at timestamptz NOT NULL DEFAULT clock_timestamp(), UNIQUE (kind, name))",
    f"ALTER TABLE {OUTBOX} DROP CONSTRAINT IF EXISTS {OUTBOX}_subject_check, "
    f"ADD CONSTRAINT {OUTBOX}_subject_check CHECK (subject IN ({', '.join(repr(one) for one in get_args(Subject))}))",
)
