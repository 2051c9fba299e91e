"""Known answers of the cookbook's questions, worked out from the planted rows without any SQL."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from statistics import mean, quantiles
from typing import Any

from schemas.labels import LABELS
from tests import cookbookdata as d
from tests.cookbookdata import Data

Row = dict[str, Any]
Answer = list[tuple[Any, ...]]

REPEATED = [label.name for label in LABELS if label.kind == "repeated"]


def _since(data: Data, hours: float) -> list[Row]:
    return [row for row in data.rows if row["start_time"] > data.now - timedelta(hours=hours)]


def _payload(row: Row) -> int:
    return int(row["total_length_fwd_packets"] + row["total_length_bwd_packets"])


def _l3(row: Row) -> int:
    return int(row["fwd_l3_bytes"] + row["bwd_l3_bytes"])


def _grouped(rows: Iterable[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in names)].append(row)
    return found


def _span(rows: list[Row]) -> tuple[datetime, datetime]:
    times = [row["start_time"] for row in rows]
    return min(times), max(times)


def _attack_rate(data: Data) -> Answer:
    minutes = defaultdict(list)
    for row in _since(data, 1):
        minutes[row["start_time"].replace(second=0)].append(row["predicted_label"])
    assert sum(map(sum, minutes.values())) == 30, "the flood"
    return [(minute, sum(labels), len(labels), 100 * mean(labels)) for minute, labels in sorted(minutes.items(), reverse=True)]


def _top_attackers(data: Data) -> Answer:
    planted = [
        (d.SCANNER, 60, 300 - 59 / 60),
        (d.BEACON, 48, 85),
        (d.SWEEPER, 40, 400 - 39 / 60),
        (d.GUESSER, 30, 200 - 29 / 6),
        (d.FLOODER, 30, 28 - 9 / 60),
    ]
    return [
        (src, count, 0.96875, data.at(last))
        for src, count, last in sorted(planted, key=lambda p: (-p[1], [int(x) for x in p[0].split(".")]))
    ]


def _by_day(data: Data) -> Answer:
    attacks = [{**row, "day": row["start_time"].date()} for row in data.rows if row["predicted_label"]]
    return [
        (*key, len(rows), len({row["src_ip"] for row in rows})) for key, rows in sorted(_grouped(attacks, "day", "attack_type").items())
    ]


def _regular(data: Data) -> Answer:
    return [(d.BEACON, d.CONTROLLER, 8443, 47, 300.0, 0.0)]


def _per_service(data: Data) -> Answer:
    found = [
        (*key, len(rows), len({row["src_ip"] for row in rows}), sum(map(_payload, rows)))
        for key, rows in _grouped(_since(data, 1), "protocol", "dst_port").items()
    ]
    return sorted(found, key=lambda row: -row[-1])[:5]


def _versions(data: Data) -> Answer:
    found = []
    for (version,), rows in sorted(_grouped(data.rows, "model_version").items()):
        scores = [row["confidence_score"] for row in rows]
        found.append((version, len(rows), 100 * mean(row["predicted_label"] for row in rows), mean(scores), *_span(rows)))
    assert [row[0] for row in found] == ["7", "8"]
    return found


def _rollup(data: Data) -> Answer:
    hours = Counter(row["start_time"].replace(minute=0, second=0) for row in data.rows if row["src_ip"] == d.GUESSER)
    assert sum(hours.values()) == 30
    return [(hour, count, count, 0.96875) for hour, count in sorted(hours.items())]


def _longest(data: Data) -> Answer:
    return [(data.at(900 - 60 * n), d.THIEF, d.DROP, 443, 7_200 + 1_800 * n, "EXFILTRATION") for n in (2, 1, 0)]


def _talkers(data: Data) -> Answer:
    found = [
        (*key, len(rows), sum(row["fwd_l3_bytes"] for row in rows), sum(row["bwd_l3_bytes"] for row in rows))
        for key, rows in _grouped(_since(data, 24), "src_ip", "dst_ip").items()
    ]
    top = sorted(found, key=lambda row: -row[3] - row[4])[:3]
    assert top[0] == (d.THIEF, d.DROP, 3, 3 * (500_000_000 + 40 * 350_000), 3 * (1_000_000 + 320))
    return top


def _failed(data: Data) -> Answer:
    return [(d.FLOODER, 30, 100.0)]


def _behind_alerts(data: Data) -> Answer:
    probe, unanswered = 80, 40  # bytes of IP packets: a SYN and its RST, a SYN alone
    found = [
        ("SYN_SCAN", d.SCANNER, None, 60, 60, 60 * probe),
        ("SYN_SCAN", d.SWEEPER, None, 40, 40, 40 * unanswered),
        ("SSH_BRUTE_FORCE", d.GUESSER, d.SSH_SERVER, 30, 30, 30 * (8_000 + 18 * 40)),
        ("SYN_FLOOD", None, d.WEB, 30, 30, 30 * unanswered),
        *_repeated(data),
    ]
    return sorted(found, key=lambda row: (-row[4], row[0]))


def _repeated(data: Data) -> Answer:
    """What repeats is one alert a source, target and kind, whose flows are all of it."""
    rows = [row for row in data.rows if row["attack_type"] in REPEATED]
    groups = _grouped(rows, "attack_type", "src_ip", "dst_ip")
    assert {(key[0], len(flows)) for key, flows in groups.items()} == {("BOTNET_BEACON", 48), ("DNS_TUNNEL", 12), ("EXFILTRATION", 3)}
    return [(*key, len(flows), len(flows), sum(map(_l3, flows))) for key, flows in groups.items()]


def _uncertain(data: Data) -> Answer:
    unsure = [row for row in data.rows if 0.25 <= row["confidence_score"] <= 0.75]
    assert len(unsure) == 7
    chosen = sorted(unsure, key=lambda row: (abs(row["confidence_score"] - 0.5), row["start_time"]))[:5]
    return [(r["flow_id"], r["start_time"], r["src_ip"], r["dst_ip"], r["dst_port"], r["confidence_score"]) for r in chosen]


def _sensors(data: Data) -> Answer:
    found = [(sensor, len(rows), sum(map(_payload, rows)), _span(rows)[1]) for (sensor,), rows in _grouped(data.rows, "sensor_id").items()]
    return sorted(found, key=lambda row: row[-1])


def _changed(data: Data) -> Answer:
    today = Counter(row["attack_type"] for row in _since(data, 24))
    every = Counter(row["attack_type"] for row in data.rows)
    return sorted(((kind, today[kind], every[kind] - today[kind]) for kind in every), key=lambda row: (-row[1], row[0]))


def _durations(data: Data) -> Answer:
    found = []
    for (port,), rows in sorted(_grouped(_since(data, 1), "dst_port").items()):
        if port in (22, 53, 443):
            cuts = quantiles([row["flow_duration"] / 1e3 for row in rows], n=20, method="inclusive")
            found.append((port, len(rows), cuts[9], cuts[18]))
    return found


def _sure(data: Data) -> Answer:
    names = ("flow_id", "flow_duration", "flow_bytes_per_sec", "flow_packets_per_sec", "predicted_label", "attack_type")
    sure = [row for row in data.rows if not 0.05 <= row["confidence_score"] <= 0.95]
    assert len(sure) == len(data.rows) - 7
    return sorted(tuple(row[name] for name in names) for row in sure)


def _archive(data: Data) -> Answer:
    newer, older = data.archived_months
    return [(older.year, older.month, 10, 2), (newer.year, newer.month, 20, 5)]


def _recent(data: Data) -> Answer:
    thefts = [row for row in data.rows if row["src_ip"] == d.THIEF]
    names = ("start_time", "dst_ip", "dst_port", "protocol")
    return [
        (*(row[name] for name in names), row["flow_duration"] / 1e6, row["end_reason"], row["attack_type"])
        for row in sorted(thefts, key=lambda row: row["start_time"], reverse=True)
    ]


def _named(data: Data) -> Answer:
    (row,) = [row for row in data.rows if row["community_id"] == f"1:{300:026d}="]
    return [(row["start_time"], row["flow_id"], row["sensor_id"], row["src_ip"], row["dst_ip"])]


def _heaviest(data: Data) -> Answer:
    hours: dict[datetime, Counter[str]] = defaultdict(Counter)
    for row in _since(data, 24):
        hours[row["start_time"].replace(minute=0, second=0)][row["src_ip"]] += _l3(row)
    tops = [(hour, *counts.most_common(1)[0], 100 * counts.most_common(1)[0][1] / counts.total()) for hour, counts in sorted(hours.items())]
    found = [top for top in tops if top[2] > 100_000_000]
    assert {row[1] for row in found} == {d.THIEF}
    return found


def _alerts(data: Data) -> Answer:
    rows = [row for row in data.alerts if row["kind"] != "per-flow"]
    names = ("severity", "attack_type", "src_ip", "dst_ip", "flow_count", "first_seen", "last_seen")
    assert sorted(row["flow_count"] for row in rows) == [3, 12, 30, 30, 40, 48, 60]
    return [tuple(row[name] for name in names) for row in sorted(rows, key=lambda row: (row["severity"], row["last_seen"]), reverse=True)]


def _new_hosts(data: Data) -> Answer:
    found = [(src, _span(rows)[0], len(rows)) for (src,), rows in _grouped(data.rows, "src_ip").items()]
    hours = [(src, first.replace(minute=0, second=0, microsecond=0), flows) for src, first, flows in found]
    new = [row for row in hours if row[1] > data.now - timedelta(hours=2)]
    assert d.FLOODER in {row[0] for row in new}
    assert not {d.SCANNER, d.THIEF} & {row[0] for row in new}
    return sorted(new, key=lambda row: (row[1], -row[2]))


def _attacked(data: Data) -> Answer:
    return [
        ("BOTNET_BEACON", d.CONTROLLER, 48, 48 * 120, 0.96875),
        ("SSH_BRUTE_FORCE", d.SSH_SERVER, 30, 30 * 2_000, 0.96875),
        ("SYN_FLOOD", d.WEB, 30, 0, 0.96875),
        ("DNS_TUNNEL", d.DNS, 12, 12 * 40_000, 0.96875),
        ("EXFILTRATION", d.DROP, 3, 1_500_000_000, 0.96875),
    ]


def _months(data: Data) -> Answer:
    newer, older = data.archived_months
    hot = Counter(row["start_time"].replace(day=1, hour=0, minute=0, second=0) for row in data.rows)
    archived = [(older, 10, "archive", "archive"), (newer, 20, "archive", "archive")]
    return [*archived, *((month, count, "hot", "hot") for month, count in sorted(hot.items()))]


#: Number of a question -> its answer.
ANSWERS: dict[int, Callable[[Data], Answer]] = {
    1: _attack_rate,
    2: _top_attackers,
    3: _by_day,
    4: lambda data: [(data.at(93), data.at(90), 4)],
    5: lambda data: [(d.NEW_SITE, 443, data.at(93), 4)],
    6: _regular,
    7: _per_service,
    8: lambda data: [(d.GUESSER, 30, data.at(200), data.at(200 - 29 / 6))],
    9: _versions,
    10: _rollup,
    11: _longest,
    12: _talkers,
    13: lambda data: [(d.SCANNER, d.SCANNED, 60, data.at(300), data.at(300 - 59 / 60))],
    14: lambda _: [(d.SWEEPER, 22, 40)],
    15: _failed,
    16: _behind_alerts,
    17: _uncertain,
    18: _sensors,
    19: _changed,
    20: _durations,
    21: _sure,
    22: _archive,
    23: lambda _: [
        ("BOTNET_BEACON", "BENIGN", 1),
        ("BOTNET_BEACON", "BOTNET_BEACON", 4),
        ("EXFILTRATION", "EXFILTRATION", 3),
    ],
    24: lambda _: [(d.DNS_TUNNEL, d.DNS, 17, 12, 480_000), (d.ICMP_TUNNEL, d.FAR_END, 1, 5, 100_000)],
    25: lambda _: [(d.THIEF, d.DROP, 3, 1_500_000_000, 500.0)],
    26: _heaviest,
    27: _alerts,
    28: _recent,
    29: _named,
    30: _new_hosts,
    31: _attacked,
    32: _months,
}
