"""How fast the questions of dashboards and of the cookbook are answered by a hot store that holds weeks of flows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
from ops.bench.questions import Question
from schemas.network_flows import NETWORK_FLOWS

#: Milliseconds within which 99 of 100 answers are to be there.
GOAL_MS = 100.0
_TABLE = NETWORK_FLOWS
_TIMEOUT_S = 60


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
        ``queries``: name -> times asked, rows of an answer, p50, p95, p99 and the slowest in milliseconds; the same over all;
        ``goal_ms`` and whether the p99 over all meets it; ``plans``: of the questions whose p99 does not; server and machine.

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
        loading = hotstore.load(own, _TABLE, rows, say)
        began = time.perf_counter()
        hotstore.settle(own, _TABLE, say)
        maintaining = time.perf_counter() - began
        asked = asking(rows.hosts)
        samples = ask(own, asked, clients, times, seed, say)
        plans = _plans(own, [q for q in asked if samples[q.name].p(99) > GOAL_MS])
        server = hotstore.facts(own)
    whole = AnswerTimes([ms for one in samples.values() for ms in one.ms], 0)
    return {
        "flows": flows,
        "days": days,
        "queries": {name: one.told() for name, one in samples.items()},
        "all": whole.told(),
        "goal_ms": GOAL_MS,
        "met": whole.p(99) <= GOAL_MS,
        "clients": clients,
        "load": {"seconds": round(loading, 1), "rows_per_s": round(flows / loading), "maintain_s": round(maintaining, 1)},
        "plans": plans,
        **made,
        "server": server,
        "machine": facts,
    }


@dataclass(frozen=True)
class AnswerTimes:
    """Answer times of one question, in milliseconds; ``rows``: of its last answer."""

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


def asking(hosts: Hosts) -> list[Question]:
    """The questions: of dashboards, about a mixture of addresses, and of the cookbook as it is in the project's folder."""
    nobody = "203.0.113.77"
    sources = [*hosts.some(CLIENT, 5), CLIENT.addresses()[-1], *hosts.some(ATTACKER, 40)[::8], *hosts.some(OUTSIDE, 2), nobody]
    targets = [*hosts.some(SERVER, 3), SERVER.addresses()[-1], *hosts.some(OUTSIDE, 3), OUTSIDE.addresses()[-1], nobody]
    page = config.ROOT / questions.PAGE
    book = list(questions.cookbook(page.read_text(encoding="utf-8"))) if page.is_file() else []
    return [*questions.dashboards(sources, targets), *book]


def ask(
    settings: Settings, asked: Sequence[Question], clients: int, times: int, seed: int, say: Callable[[str], None]
) -> dict[str, AnswerTimes]:
    """Ask each question so many times; each client has a part of them, all mixed.

    Raises
    ------
    StoreError
        A question fails; the text names it.
    """
    rng = np.random.default_rng(seed)
    order: list[int] = rng.permutation(np.repeat(np.arange(len(asked)), times)).tolist()
    say(f"{len(asked)} questions, each {times} times, by {clients} clients")
    with ThreadPoolExecutor(clients) as pool:
        parts = list(pool.map(lambda n: _client(settings, asked, order[n::clients], seed + n), range(clients)))
    found: dict[str, AnswerTimes] = {}
    for number, question in enumerate(asked):
        answers = [answer for part in parts for answer in part if answer[0] == number]
        found[question.name] = AnswerTimes([ms for _, ms, _ in answers], answers[-1][2])
    return found


def _client(settings: Settings, asked: Sequence[Question], order: Sequence[int], seed: int) -> list[tuple[int, float, int]]:
    rng = np.random.default_rng([seed, 7])
    found = []
    connection = postgres.connect(settings.hot, "flowlake-bench")
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = %s", (_TIMEOUT_S * 1000,))
        for question in {number: asked[number] for number in order}.values():
            _answer(cursor, question, rng)  # what a connection pays once: catalogue caches, and pages that no one has read
        for number in order:
            began = time.perf_counter()
            rows = _answer(cursor, asked[number], rng)
            found.append((number, (time.perf_counter() - began) * 1000, rows))
    return found


def _answer(cursor: Any, question: Question, rng: np.random.Generator) -> int:
    try:
        cursor.execute(question.sql, _chosen(question, rng))
        return len(cursor.fetchall())
    except psycopg2.Error as e:
        raise StoreError(f"{question.name}: {one_line(e)}", "a question of the cookbook is asked as it stands on the page") from e


def _chosen(question: Question, rng: np.random.Generator) -> dict[str, str] | None:
    # Without parameters a % in the text is itself.
    return {name: values[int(rng.integers(len(values)))] for name, values in question.choices.items()} or None


def _plans(settings: Settings, asked: Sequence[Question]) -> dict[str, list[str]]:
    """How the server answers them."""
    found = {}
    with hotstore.asking(settings) as cursor:
        for question in asked:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {question.sql}", _chosen(question, np.random.default_rng(0)))
            found[question.name] = [line for (line,) in cursor.fetchall()]
    return found
