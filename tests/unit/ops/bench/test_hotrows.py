"""The rows of the hot store's benches are what they say: the same for a seed, each once, in time, with attacks in episodes."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.sinks.hot import hot_rows
from ops.bench.hot import LATE, REPLAYED, Plan
from ops.bench.hotrows import BLOCK, HotRows, uuids
from schemas.network_flows import NETWORK_FLOWS
from schemas.packets import FLOWS
from tests.sinksdata import table

UNTIL = datetime(2026, 3, 15, tzinfo=UTC)
KINDS = ["BENIGN", "BENIGN", "SYN_FLOOD", "SSH_BRUTE_FORCE"]


@pytest.fixture(scope="module")
def pool() -> pa.Table:
    rows = [{"attack_type": kind, "flow_duration": 1000 * (i + 1), "dst_port": i} for i, kind in enumerate(KINDS)]
    return hot_rows(table(rows), FLOWS)


@pytest.fixture(scope="module")
def rows(pool: pa.Table) -> HotRows:
    return HotRows(pool, UNTIL - timedelta(days=14), UNTIL, 3 * BLOCK + 10_000, seed=3)


@pytest.fixture(scope="module")
def drawn(rows: HotRows) -> pa.Table:
    return pa.concat_tables(rows.block(number) for number in rows.blocks())


def test_a_row_is_the_same_whoever_draws_it(rows: HotRows, drawn: pa.Table, pool: pa.Table) -> None:
    again = HotRows(pool, rows.begin, rows.until, rows.total, seed=3)
    assert again.block(2).equals(drawn.slice(2 * BLOCK, BLOCK).combine_chunks())
    other = HotRows(pool, rows.begin, rows.until, rows.total, seed=4)
    assert not set(other.block(0)["flow_id"].to_pylist()) & set(drawn["flow_id"].to_pylist())


def test_rows_are_those_of_the_table_each_once(rows: HotRows, drawn: pa.Table) -> None:
    assert drawn.num_rows == len(rows)
    assert drawn.column_names == [column.name for column in NETWORK_FLOWS.columns]
    assert len(drawn["flow_id"].unique()) == len(rows)
    assert len(drawn["community_id"].unique()) == len(rows)


def test_time_goes_on_and_has_days_and_nights(rows: HotRows, drawn: pa.Table) -> None:
    times = drawn["timestamp"].to_numpy()
    assert times.min() >= np.datetime64(rows.begin.replace(tzinfo=None))
    assert times.max() < np.datetime64(rows.until.replace(tzinfo=None))
    assert (np.diff(times[:: BLOCK // 2]) > np.timedelta64(0)).all()
    hours = Counter(pc.hour(drawn["timestamp"]).to_pylist())
    assert hours[10] > 4 * hours[2]
    days = Counter(pc.day_of_week(drawn["timestamp"]).to_pylist())
    assert days[2] > 2 * days[6]  # a Wednesday, a Sunday


def test_an_even_minute_has_no_rush_hour(pool: pa.Table) -> None:
    made = HotRows(pool, UNTIL - timedelta(seconds=60), UNTIL, BLOCK, even=True).block(0)
    second = Counter(pc.second(made["timestamp"]).to_pylist())
    assert max(second.values()) < 1.3 * min(second.values())


def test_attacks_come_in_episodes_from_few_sources_and_floods_from_forged_ones(drawn: pa.Table) -> None:
    attack = drawn["predicted_label"].to_numpy() == 1
    assert 0.02 < attack.mean() < 0.35
    shares = sorted(float(part.mean()) for part in np.array_split(attack, 336))
    assert shares[100] < 0.03, "most of the time is quiet"
    assert shares[-10] > 0.25
    brute = drawn.filter(pc.field("attack_type") == "SSH_BRUTE_FORCE")
    assert Counter(brute["src_ip"].to_pylist()).most_common(1)[0][1] > 100
    flood = drawn.filter(pc.field("attack_type") == "SYN_FLOOD")
    assert len(flood["src_ip"].unique()) > flood.num_rows / 2


def test_few_hosts_make_most_of_the_flows(drawn: pa.Table) -> None:
    benign = drawn.filter(pc.field("predicted_label") == 0)
    found = [n for _, n in Counter(benign["src_ip"].to_pylist()).most_common()]
    assert sum(found[:50]) > benign.num_rows / 3
    assert len(found) > 2000
    assert any(":" in address for address in benign["src_ip"].unique().to_pylist())


def test_without_attacks_in_the_pool_there_are_none(pool: pa.Table) -> None:
    made = HotRows(pool.filter(pc.field("predicted_label") == 0), UNTIL - timedelta(days=1), UNTIL, 1000).block(0)
    assert made["predicted_label"].unique().to_pylist() == [0]


def test_own_hosts_keep_the_addresses_of_the_pool(pool: pa.Table) -> None:
    made = HotRows(pool, UNTIL - timedelta(days=1), UNTIL, 1000, own_hosts=True).block(0)
    assert made["src_ip"].unique().to_pylist() == pool["src_ip"].unique().to_pylist()


def test_words_become_the_text_of_a_uuid() -> None:
    text = uuids(np.array([[0x0123456789ABCDEF, 0x0011223344556677]], np.uint64))[0].as_py()
    assert text == "01234567-89ab-5def-8011-223344556677"
    assert uuid.UUID(text).version == 5


def test_the_plan_gives_every_row_and_says_which_are_new(pool: pa.Table) -> None:
    plan = Plan(pool, 20_000, 500, seed=1)
    seen: set[str] = set()
    offered: dict[str, int] = {}
    for phase in plan.phases():
        fresh = 0
        for batch in phase.batches():
            ids = set(batch["flow_id"].to_pylist())
            fresh += len(ids - seen)
            seen |= ids
            offered[phase.name] = offered.get(phase.name, 0) + batch.num_rows
        assert fresh == phase.fresh
    assert len(seen) == plan.total
    assert offered["new"] == 20_000
    assert offered["late"] == offered["replayed"] == 4000
    assert abs(offered["mixed"] - 20_000) < 1000, "as much is written again as is said"


def test_mixed_batches_hold_late_rows_and_come_again(pool: pa.Table) -> None:
    plan = Plan(pool, 20_000, 500, seed=1)
    batches: list[dict[str, Any]] = []
    for batch in plan.phases()[3].batches():
        batches.append({"ids": tuple(batch["flow_id"].to_pylist()), "first": min(batch["timestamp"].to_pylist())})
    again = len(batches) - len({batch["ids"] for batch in batches})
    assert abs(again / len(batches) - REPLAYED) < 0.03
    assert all(batch["first"] < plan.current.begin for batch in batches[:-1])
    ids = {name for batch in batches for name in batch["ids"]}
    late = {name for number in plan.late.blocks() for name in plan.late.block(number)["flow_id"].to_pylist()}
    assert abs(len(ids & late) / len(ids) - LATE) < 0.01
