"""How fast the questions of dashboards and of the cookbook are answered by a hot store that holds weeks of flows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import psycopg2

from infra import config
from infra.config import Settings
from infra.errors import StoreError, one_line
from jobs.sinks import postgres
from ops.bench import hotrows, hotstore, questions
from ops.bench.hosts import ATTACKER, CLIENT, OUTSIDE, SERVER, Hosts
from ops.bench.hotrows import HotRows
from ops.bench.place import machine
from ops.bench.questions import TimedQuery
from schemas.alerts import UNKNOWN_SEVERITY
from schemas.labels import LABELS
from schemas.network_flows import NETWORK_FLOWS

#: Milliseconds within which 99 of 100 answers are to be there.
GOAL_MS = 100.0
#: Seconds after which an answer is given up, and counts as so many.
TIMEOUT_S = 60
_TABLE = NETWORK_FLOWS
_SEVERITIES = " ".join(f"WHEN '{label.name}' THEN {label.severity}" for label in LABELS if label.severity)
_KINDS = " ".join(f"WHEN '{label.name}' THEN '{label.kind}'" for label in LABELS)
#: An alert for each hour of an attack that has some flows; those of before yesterday are resolved.
ALERTS_OF_FLOWS = f"""
INSERT INTO alerts (id, timestamp, src_ip, dst_ip, attack_type, severity, confidence, kind, domain, sensor_id, model_version, first_seen,
  last_seen, flow_count, resolved_at)
SELECT gen_random_uuid(), max(timestamp), src_ip, dst_ip, attack_type, CASE attack_type {_SEVERITIES} ELSE {UNKNOWN_SEVERITY} END,
  max(confidence_score), CASE attack_type {_KINDS} ELSE 'per-flow' END, 'bench', min(sensor_id), max(model_version), min(timestamp),
  max(timestamp), count(*), CASE WHEN max(timestamp) < now() - interval '2 days' THEN max(timestamp) + interval '1 hour' END
FROM network_flows WHERE predicted_label = 1
GROUP BY date_trunc('hour', timestamp), attack_type, src_ip, dst_ip HAVING count(*) >= 5
"""


def run(
    settings: Settings,
    *,
    flows: int,
    days: int = 30,
    dsn: str = "",
    clients: int = 2,
    times: int = 20,
    seed: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Load flows of some weeks, maintain the store, and ask every question often, in random order, by several clients at once.

    Parameters
    ----------
    settings
        Of meter and sensor; the hot store is one of the benchmark's own.
    flows
        To load.
    days
        That they are spread over, up to now.
    dsn
        A server to measure instead of the embedded one.
    clients
        Connections that ask at once.
    times
        How often each question is asked.
    seed
        Of the rows, and of the order.
    say
        Told the progress.

    Returns
    -------
    dict
        ``all``: over the answers to panels and cookbook, asked mixed and equally often, p50, p95, p99 and the slowest in milliseconds;
        ``met``: whether that p99 is within the goal; ``panels`` and ``cookbook``: the same of each, and by question with the rows of an
        answer, and how many questions have their own p99 within the goal; ``exports``: questions of the cookbook that were left out,
        since their answer is a file; ``plans`` of the questions whose p99 is not within the goal; server and machine.

    Raises
    ------
    StoreError
        A question fails.
    """
    facts = machine()
    pool = hotrows.generated(settings, seed, flows)
    made = hotrows.told(say, pool)
    with hotstore.store(settings, dsn) as own:
        hotstore.prepare(own, _TABLE)
        until = datetime.now(UTC)
        rows = HotRows(pool, until - timedelta(days=days), until, flows, seed)
        answered = hotstore.interruptible(own, partial(_filled_and_asked, own, rows, clients, times, seed, say))
        server = hotstore.facts(own)
    return {
        "flows": flows,
        "days": days,
        **answered,
        "clients": clients,
        **made,
        "server": server,
        "machine": facts,
    }


def _filled_and_asked(settings: Settings, rows: HotRows, clients: int, times: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Load, maintain, ask."""
    loading = hotstore.load(settings, _TABLE, rows, say)
    began = time.perf_counter()
    say("alerts of these flows")
    with hotstore.asking(settings) as cursor:
        cursor.execute(ALERTS_OF_FLOWS)
    hotstore.settle(settings, _TABLE, say)
    maintaining = time.perf_counter() - began
    sources, targets = addresses(rows.hosts)
    shown, exports = questions.dashboards(sources, targets), [q.name for q in book() if q.export]
    pages = [question.about(sources, targets) for question in book() if not question.export]
    samples = ask(settings, [*shown, *pages], clients, times, seed, say)
    over = _over(samples.values())
    found = {
        "all": over.told(),
        "panels": _told({q.name: samples[q.name] for q in shown}),
        "cookbook": _told({q.name: samples[q.name] for q in pages}),
        "exports": exports,
    }
    return {
        **found,
        "goal_ms": GOAL_MS,
        "met": over.told()["p99_ms"] <= GOAL_MS,
        "load": {"seconds": round(loading, 1), "rows_per_s": round(len(rows) / loading), "maintain_s": round(maintaining, 1)},
        "plans": _plans(settings, [q for q in (*shown, *pages) if samples[q.name].p(99) > GOAL_MS]),
    }


@dataclass(frozen=True)
class AnswerTimes:
    """Answer times of one question, in milliseconds; ``rows``: of its last answer, -1 where it was given up."""

    ms: list[float]
    rows: int

    def p(self, percent: float) -> float:
        """A percentile; every one is a time that was measured."""
        return float(np.percentile(self.ms, percent, method="higher"))

    def told(self) -> dict[str, Any]:
        return {
            "asked": len(self.ms),
            "rows": self.rows,
            **{f"p{percent}_ms": round(self.p(percent), 1) for percent in (50, 95, 99)},
            "max_ms": round(max(self.ms), 1),
        }


def _told(samples: dict[str, AnswerTimes]) -> dict[str, Any]:
    if not samples:
        return {}
    within = sum(one.p(99) <= GOAL_MS for one in samples.values())
    queries = {name: one.told() for name, one in samples.items()}
    return {"all": _over(samples.values()).told(), "questions": len(samples), "within_goal": within, "queries": queries}


def _over(samples: Iterable[AnswerTimes]) -> AnswerTimes:
    """All answers; a percentile of them is that of questions which are equally frequent."""
    samples = list(samples)
    return AnswerTimes([ms for one in samples for ms in one.ms], sum(one.rows for one in samples))


def addresses(hosts: Hosts) -> tuple[list[str], list[str]]:
    """Sources and targets that questions are about: the busiest, rare ones, attackers, and one that is not there."""
    nobody = "203.0.113.77"
    sources = [*hosts.some(CLIENT, 5), CLIENT.addresses()[-1], *hosts.some(ATTACKER, 40)[::8], *hosts.some(OUTSIDE, 2), nobody]
    targets = [*hosts.some(SERVER, 3), SERVER.addresses()[-1], *hosts.some(OUTSIDE, 3), OUTSIDE.addresses()[-1], nobody]
    return sources, targets


def book() -> list[TimedQuery]:
    """Questions of the cookbook as it is in the project's folder; none where there is no such folder."""
    page = config.ROOT / questions.PAGE
    return list(questions.cookbook(page.read_text(encoding="utf-8"))) if page.is_file() else []


def ask(
    settings: Settings, asked: Sequence[TimedQuery], clients: int, times: int, seed: int, say: Callable[[str], None]
) -> dict[str, AnswerTimes]:
    """Ask each question so many times; each client has a part of them, all mixed.

    Raises
    ------
    StoreError
        A question fails; the text names it.
    """
    if not asked:
        return {}
    rng = np.random.default_rng(seed)
    order: list[int] = rng.permutation(np.repeat(np.arange(len(asked)), times)).tolist()
    say(f"{len(asked)} questions, each {times} times, by {clients} clients")
    with ThreadPoolExecutor(clients) as pool:
        parts = list(pool.map(lambda n: _client(settings, asked, order[n::clients], seed + n, say if n == 0 else None), range(clients)))
    found: dict[str, AnswerTimes] = {}
    for number, question in enumerate(asked):
        answers = [answer for part in parts for answer in part if answer[0] == number]
        found[question.name] = AnswerTimes([ms for _, ms, _ in answers], answers[-1][2])
    return found


def _client(
    settings: Settings, asked: Sequence[TimedQuery], order: Sequence[int], seed: int, say: Callable[[str], None] | None
) -> list[tuple[int, float, int]]:
    rng = np.random.default_rng([seed, 7])
    found = []
    connection = postgres.connect(settings.hot, "flowlake-bench")
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = %s", (TIMEOUT_S * 1000,))
        for question in {number: asked[number] for number in order}.values():
            _answer(cursor, question, rng)  # what a connection pays once: catalogue caches, and pages that no one has read
        for number in order:
            began = time.perf_counter()
            rows = _answer(cursor, asked[number], rng)
            found.append((number, (time.perf_counter() - began) * 1000, rows))
            if say and len(found) % 100 == 0:
                say(f"{len(found):,} of {len(order):,} answers of one client")
    return found


class Nowhere:
    """A file for answers: some are exports of a million rows."""

    def write(self, data: bytes) -> int:
        return len(data)


def _answer(cursor: Any, question: TimedQuery, rng: np.random.Generator) -> int:
    """Ask, and take the whole answer: its rows, -1 when it did not come in time."""
    query = cursor.mogrify(question.sql, _chosen(question, rng)).decode()
    try:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT", Nowhere())
        return int(cursor.rowcount)
    except psycopg2.errors.QueryCanceled:
        return -1
    except psycopg2.Error as e:
        raise StoreError(f"{question.name}: {one_line(e)}", "a question of the cookbook is asked as it stands on the page") from e


def _chosen(question: TimedQuery, rng: np.random.Generator) -> dict[str, str] | None:
    # Without parameters a % in the text is itself.
    return {name: values[int(rng.integers(len(values)))] for name, values in question.choices.items()} or None


def _plans(settings: Settings, asked: Sequence[TimedQuery]) -> dict[str, list[str]]:
    """How the server answers them."""
    found = {}
    with hotstore.asking(settings) as cursor:
        for question in asked:
            cursor.execute(f"EXPLAIN (BUFFERS) {question.sql}", _chosen(question, np.random.default_rng(0)))
            found[question.name] = [line for (line,) in cursor.fetchall()]
    return found
