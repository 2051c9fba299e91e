"""The notifier: a thread that plans, and one for each channel that sends. Several may run, on several machines."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg2

from infra.channels import ChannelSettings
from infra.config import Settings
from infra.console.looks import NO_TABLE
from infra.errors import FlowlakeError, StoreError, one_line
from infra.log import get
from jobs.notifying import channels, counters, planner, sender
from jobs.notifying.planner import NewsPlanned, Planner
from jobs.notifying.receivers.outcome import Receiver
from jobs.notifying.sender import Attempt
from jobs.sinks import postgres
from jobs.sinks.stores import StoreUnavailable
from schemas.notifications import MESSAGES, OUTBOX, WAITING
from schemas.roles import NOTIFIER

APPLICATION = "flowlake-notify"
#: Seconds between two attempts to reach a database that is away, at first and at most.
_AWAY_S, _AWAY_MOST_S = 1.0, 30.0
#: Seconds between two looks for what is old.
_PRUNE_S = 3600.0
#: Seconds that a channel which is being sent to may take to end.
_END_S = 5.0
#: Failures in a row after which :meth:`Notifier.once` leaves a channel to the next run.
_ENOUGH = 3


class Notifier:
    """Plans and sends until it is told to stop.

    Parameters
    ----------
    settings
        Channels, and the database of the alerts.

    Raises
    ------
    ConfigError
        There is no channel, or one lacks what it needs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._receivers = channels.receivers(settings)
        self._planner = Planner(settings.notify, channels.classes(settings))
        self._stopping = threading.Event()
        self._due = {name: threading.Event() for name in self._receivers}
        self._log = get("notify")
        self._failed: BaseException | None = None
        self._pruned = 0.0

    def once(self) -> Counter[str]:
        """Plan what there is, however new, and send what is due; returns how much was ``sent``, ``retried``, ``failed`` and ``held``.

        Raises
        ------
        StoreError
            The database is away, or refuses.
        """
        done = Counter[str]()
        try:
            with closing(self._connect()) as connection:
                while (planned := self._plan(connection, 0.0)).taken:
                    done["held"] += sum(planned.held.values())
        except (StoreUnavailable, psycopg2.Error) as e:
            raise self._told(e) from e
        threads = [threading.Thread(target=self._drain, args=(name, done), daemon=True) for name in self._receivers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failed is not None:
            raise self._failed
        return done

    def run(self) -> None:
        """Plan and send until :meth:`stop`.

        Raises
        ------
        StoreError
            The database refuses; one that is away is waited for.
        """
        threads = [
            threading.Thread(target=self._guarded, args=(self._send_loop, name), name=f"notify-{name}", daemon=True)
            for name in self._receivers
        ]
        for thread in threads:
            thread.start()
        self._log.info("notifier runs", channels={name: receiver.where for name, receiver in self._receivers.items()})
        self._guarded(self._plan_loop)
        until = time.monotonic() + _END_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """End after the messages that are being sent."""
        self._stopping.set()
        for due in self._due.values():
            due.set()

    # -- the loops -------------------------------------------------------------------------------------------------------------------

    def _guarded(self, loop: Callable[..., None], *arguments: str) -> None:
        try:
            loop(*arguments)
        except BaseException as e:
            self._failed = self._failed or e
            self.stop()

    def _plan_loop(self) -> None:
        def work(connection: Any) -> float:
            planned = self._plan(connection, self._settings.notify.settle_s)
            if time.monotonic() - self._pruned > _PRUNE_S or not self._pruned:
                with connection, connection.cursor() as cursor:
                    planner.prune(cursor)
                self._pruned = time.monotonic()
            if planned.messages:
                for due in self._due.values():
                    due.set()
            self._measure(connection)
            return 0.0 if planned.taken else self._settings.notify.poll_s

        self._connected(work, self._stopping)

    def _send_loop(self, name: str) -> None:
        channel, receiver, due = self._settings.notify.channels[name], self._receivers[name], self._due[name]

        streak = 0

        def work(connection: Any) -> float:
            nonlocal streak
            due.clear()
            attempt = self._send(connection, name, channel, receiver)
            if attempt is None:
                return self._settings.notify.poll_s
            counters.MESSAGES.labels(channel=name, result=attempt.result).inc()
            streak = streak + 1 if attempt.trouble else 0
            if streak:
                with connection, connection.cursor() as cursor:
                    sender.pause(cursor, name, sender.pause_s(channel, attempt, streak))
            return 0.0

        self._connected(work, due)

    def _connected(self, work: Callable[[Any], float], wake: threading.Event) -> None:
        """Work with a connection, again and again, with pauses of the seconds that it returns; a database that is away is waited for."""
        away = 0
        while not self._stopping.is_set():
            try:
                with closing(self._connect()) as connection:
                    while not self._stopping.is_set():
                        pause = work(connection)
                        away = 0
                        if pause:
                            wake.wait(pause)
            except (StoreUnavailable, psycopg2.Error) as e:
                problem = postgres.classify(e, self._settings.alerts) if isinstance(e, psycopg2.Error) else e
                if not isinstance(problem, StoreUnavailable):
                    raise self._told(e) from e
                if not away:
                    self._log.warning("notifications wait for the database", cause=one_line(problem))
                self._stopping.wait(min(_AWAY_S * 2**away, _AWAY_MOST_S))
                away = min(away + 1, 10)

    def _drain(self, name: str, done: Counter[str]) -> None:
        channel, receiver = self._settings.notify.channels[name], self._receivers[name]
        streak = 0
        try:
            with closing(self._connect()) as connection:
                while streak < _ENOUGH and (attempt := self._send(connection, name, channel, receiver)) is not None:
                    done[attempt.result] += 1
                    streak = streak + 1 if attempt.trouble else 0
                    if attempt.after_s is not None:
                        with connection, connection.cursor() as cursor:
                            sender.pause(cursor, name, attempt.after_s)
        except (StoreUnavailable, FlowlakeError, psycopg2.Error) as e:
            self._failed = self._failed or self._told(e)

    @staticmethod
    def _send(connection: Any, name: str, channel: ChannelSettings, receiver: Receiver) -> Attempt | None:
        with connection, connection.cursor() as cursor:
            return sender.deliver(cursor, name, channel, receiver)

    # -- the database ----------------------------------------------------------------------------------------------------------------

    def _connect(self) -> Any:
        return postgres.connect(self._settings.alerts, APPLICATION)

    def _plan(self, connection: Any, settle_s: float) -> NewsPlanned:
        with connection, connection.cursor() as cursor:
            planned = self._planner.step(cursor, settle_s)
        for name, count in planned.held.items():
            counters.MESSAGES.labels(channel=name, result="held").inc(count)
        return planned

    def _measure(self, connection: Any) -> None:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                f"SELECT channel, count(*), extract(epoch FROM clock_timestamp() - min(created_at))::float8 FROM {MESSAGES} "
                f"WHERE state = '{WAITING}' GROUP BY channel"
            )
            waiting = {name: (count, age) for name, count, age in cursor.fetchall()}
            cursor.execute(f"SELECT count(*) FROM {OUTBOX}")
            (rows,) = cursor.fetchone()
        counters.OUTBOX.set(rows)
        for name in self._receivers:
            count, age = waiting.get(name, (0, 0.0))
            counters.WAITING.labels(channel=name).set(count)
            counters.OLDEST.labels(channel=name).set(age)

    def _told(self, error: Exception) -> Exception:
        """The error for who reads it on a terminal."""
        if isinstance(error, psycopg2.errors.UndefinedTable):
            return StoreError(f"{postgres.where(self._settings.alerts)} holds no notifications yet", NO_TABLE)
        if isinstance(error, psycopg2.errors.InsufficientPrivilege):
            hint = f"ask for the role: GRANT {NOTIFIER} TO {self._settings.alerts.user}"
            return StoreError(f"{postgres.where(self._settings.alerts)}: {one_line(error)}", hint)
        if isinstance(error, psycopg2.Error):
            error = postgres.classify(error, self._settings.alerts)
        if isinstance(error, postgres.RefusedData):
            error = StoreError(f"{postgres.where(self._settings.alerts)} refuses a message: {error}")
        return StoreError(str(error), "start it: flowlake up") if isinstance(error, StoreUnavailable) else error
