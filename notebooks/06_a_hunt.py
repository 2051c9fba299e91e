# %% [markdown]
# # A hunt: from one unusual flow to the story
#
# No alert to begin with: the lake is asked for the flow that sent the most to a place that hardly anybody else talks to. Then who it was,
# what else went between the two, what the source did besides, and who else was there.
# Runs as a script (`python notebooks/06_a_hunt.py`) or cell by cell in an editor that knows `# %%`.
# From a flow of yours: `FLOW=01234567-89ab-8def-8123-456789abcdef python notebooks/06_a_hunt.py`.
#
# Each question is SQL, answered by DuckDB where the data lie.

# %%
from __future__ import annotations

import os
import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.dates import ConciseDateFormatter
from prelude import ATTACK, BENIGN, figures, give_up, settings

from infra.errors import FlowlakeError
from jobs.asking.engine import Engine

engine = Engine(settings)
keep = figures("hunt")
MINE = "#dd8452"


def ask(sql: str) -> list[dict[str, Any]]:
    """Rows of the answer."""
    return list(engine.ask(sql).read_all().to_pylist())


def column(rows: list[dict[str, Any]], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])


def by_time() -> None:
    axis = plt.gca().xaxis
    axis.set_major_formatter(ConciseDateFormatter(axis.get_major_locator()))
    plt.xlabel("start of the flow, UTC")


# %% The flow: named, or the one that sent the most where few others send. Places that many talk to are updates, mail and the like.
given = os.environ.get("FLOW", "")
if given and not re.fullmatch(r"[0-9a-fA-F-]{36}", given):
    raise SystemExit(f"FLOW {given!r} is no flow_id")
unusual = f"""
    WITH places AS (SELECT dst_ip, count(DISTINCT src_ip) AS sources FROM flows GROUP BY dst_ip)
    SELECT f.flow_id, f.start_time, f.src_ip, f.dst_ip, f.dst_port, f.protocol, f.attack_type, f.confidence_score,
        f.total_length_fwd_packets AS sent, f.total_length_bwd_packets AS received, p.sources
    FROM flows f JOIN places p USING (dst_ip)
    WHERE {f"f.flow_id = '{given}'" if given else "f.total_length_fwd_packets > f.total_length_bwd_packets"}
    ORDER BY p.sources, sent DESC LIMIT 1
"""
try:
    found = ask(unusual)
except FlowlakeError as e:
    raise give_up(e) from e
if not found:
    raise SystemExit("the lake holds no such flow\n  flowlake stream fills it" if not given else f"the lake holds no flow {given}")
flow = found[0]
source, target = flow["src_ip"], flow["dst_ip"]
print(f"flow {flow['flow_id']}: {source} to {target}, port {flow['dst_port']}, {flow['start_time']:%Y-%m-%d %H:%M:%S} UTC")
print(f"it sent {flow['sent']:,} bytes and got {flow['received']:,}; {flow['sources']} sources know the place")
print(f"the model says {flow['attack_type']}, P(attack) {flow['confidence_score']:.3f}")

# %% The pair: all that went between the two. What comes at even intervals is a program's doing.
pair = ask(
    f"""
    SELECT start_time, total_length_fwd_packets AS sent, predicted_label FROM flows
    WHERE src_ip = '{source}' AND dst_ip = '{target}' ORDER BY start_time
    """
)
gaps = np.diff([row["start_time"].timestamp() for row in pair])
plt.figure(figsize=(9, 2.8))
plt.scatter(
    column(pair, "start_time"), np.maximum(column(pair, "sent"), 1), 14, color=[ATTACK if row["predicted_label"] else BENIGN for row in pair]
)
plt.scatter([flow["start_time"]], [max(flow["sent"], 1)], 60, facecolors="none", edgecolors="k")
plt.yscale("log")
plt.ylabel("bytes sent")
by_time()
plt.title(f"{source} to {target}: {len(pair):,} flows")
keep("pair")
if len(gaps) > 2:
    middle = np.median(gaps)
    spread = np.median(np.abs(gaps - middle)) / middle if middle else 0.0
    print(f"every {middle:,.1f} s (half of the gaps within {spread:.0%} of it): {'even' if spread < 0.2 else 'uneven'}")

# %% The source: what else it did, by the hour of the flow and the port.
doings = ask(
    f"""
    SELECT start_time, dst_ip, dst_port, predicted_label, attack_type, total_length_fwd_packets AS sent FROM flows
    WHERE src_ip = '{source}' ORDER BY start_time LIMIT 20000
    """
)
plt.figure(figsize=(9, 3.2))
for name, colour, rows in (
    ("benign", BENIGN, [row for row in doings if not row["predicted_label"] and row["dst_ip"] != target]),
    ("attack", ATTACK, [row for row in doings if row["predicted_label"] and row["dst_ip"] != target]),
    (f"to {target}", MINE, [row for row in doings if row["dst_ip"] == target]),
):
    if rows:
        plt.scatter(column(rows, "start_time"), column(rows, "dst_port") + 1, 10, color=colour, alpha=0.7, label=f"{name} ({len(rows):,})")
plt.yscale("log")
plt.ylabel("port of the destination")
plt.legend(frameon=False, fontsize=8)
by_time()
plt.title(f"What {source} did")
keep("source")

# %% How unusual the amount is: what each source of the lake sent in all, and where ours stands.
amounts = ask("SELECT src_ip, sum(total_length_fwd_packets)::DOUBLE AS sent FROM flows GROUP BY src_ip")
sent = np.maximum(column(amounts, "sent"), 1)
own = next(row["sent"] for row in amounts if row["src_ip"] == source)
plt.figure(figsize=(7, 2.8))
plt.hist(np.log10(sent), 40, color=BENIGN)
plt.axvline(np.log10(max(own, 1)), color=MINE)
plt.xlabel(f"bytes that a source sent in all, log10 (line: {source})")
plt.ylabel("sources")
plt.title("How much others send")
keep("amounts")
print(f"{source} sent {own:,.0f} bytes in all: more than {np.mean(sent < own):.1%} of {len(sent):,} sources")

# %% The place: who else was there. One host alone is a hint; several are a campaign, or a service.
visitors = ask(
    f"""
    SELECT src_ip, count(*) AS flows, sum(total_length_fwd_packets)::DOUBLE AS sent, min(start_time) AS first FROM flows
    WHERE dst_ip = '{target}' GROUP BY src_ip ORDER BY sent DESC LIMIT 12
    """
)
plt.figure(figsize=(7, 1.2 + 0.28 * max(3, len(visitors))))
order = visitors[::-1]
bars = plt.barh(column(order, "src_ip"), np.maximum(column(order, "sent"), 1), color=[MINE if row["src_ip"] == source else BENIGN for row in order])
plt.bar_label(bars, [f" {row['flows']:,} flows" for row in order], fontsize=8)
plt.xscale("log")
plt.margins(x=0.2)
plt.xlabel(f"bytes sent to {target}")
plt.title(f"Who talked to {target}")
keep("place")

# %% The story, in the order of time: what the source did first to each place, and what the model made of it.
story = ask(
    f"""
    SELECT min(start_time) AS first, attack_type, count(*) AS flows, count(DISTINCT dst_ip) AS places, count(DISTINCT dst_port) AS ports,
        sum(total_length_fwd_packets)::DOUBLE AS sent, dst_ip = '{target}' AS there
    FROM flows WHERE src_ip = '{source}' GROUP BY attack_type, there ORDER BY first
    """
)
print(f"\nthe story of {source}")
for step in story:
    where = target if step["there"] else f"{step['places']:,} other places"
    print(f"  {step['first']:%Y-%m-%d %H:%M:%S}  {step['attack_type']:18s} {step['flows']:7,} flows to {where}, {step['ports']:,} ports, {step['sent']:,.0f} bytes")
print(f"next: flowlake sql \"SELECT * FROM flows WHERE src_ip = '{source}' AND dst_ip = '{target}'\"")
engine.close()
