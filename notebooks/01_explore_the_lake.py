# %% [markdown]
# # What is in the lake?
#
# Five plots of the flow records: when, what, how sure, who, how long.
# Runs as a script (`python notebooks/01_explore_the_lake.py`) or cell by cell in an editor that knows `# %%`.
# After `make demo`: `FLOWLAKE_CONF=var/demo/conf.yaml python notebooks/01_explore_the_lake.py`.
#
# Each question is SQL, answered by DuckDB where the data lie: only the numbers that are drawn come here.

# %%
from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.dates import ConciseDateFormatter
from prelude import ATTACK, BENIGN, figures, give_up, settings

from infra.errors import FlowlakeError
from jobs.asking.engine import Engine

engine = Engine(settings)
keep = figures("explore")


def ask(sql: str) -> dict[str, np.ndarray]:
    """Columns of the answer by their names."""
    table = engine.ask(sql).read_all()
    return {name: table[name].to_numpy() for name in table.column_names}


# %% How much there is, and of which time.
try:
    total = ask("SELECT count(*) AS flows, min(start_time) AS first, max(start_time) AS last FROM flows")
except FlowlakeError as e:
    raise give_up(e) from e
if not total["flows"][0]:
    raise SystemExit("the lake holds no flows yet\n  flowlake stream fills it")
first, last = (total[name][0].astype("datetime64[s]") for name in ("first", "last"))
print(f"{total['flows'][0]:,} flows, {first} to {last} UTC")

# %% Flows over time: as many bars as can be told apart, each of a round width.
seconds = (last - first) / np.timedelta64(1, "s")
width = next((w for w in (1, 10, 60, 600, 3600, 21600, 86400) if seconds / w <= 300), 7 * 86400)
when = ask(
    f"""
    SELECT time_bucket(INTERVAL '{width} seconds', start_time) AS bucket,
        count(*) FILTER (WHERE predicted_label = 0) AS benign, count(*) FILTER (WHERE predicted_label = 1) AS attacks
    FROM flows GROUP BY bucket ORDER BY bucket
    """
)
plt.figure(figsize=(9, 3.2))
bar = np.timedelta64(width, "s").astype("timedelta64[us]")
plt.bar(when["bucket"], when["benign"] * 60 / width, bar, align="edge", color=BENIGN, label="benign")
plt.bar(when["bucket"], when["attacks"] * 60 / width, bar, when["benign"] * 60 / width, align="edge", color=ATTACK, label="attack")
plt.ylabel("flows a minute")
plt.xlabel("start of the flow, UTC")
plt.legend(frameon=False)
axis = plt.gca().xaxis
axis.set_major_formatter(ConciseDateFormatter(axis.get_major_locator()))
plt.title("Flows over time")
keep("flows-over-time")

# %% Attack types, with the hosts that are behind each.
kinds = ask(
    """
    SELECT attack_type, count(*) AS flows, count(DISTINCT src_ip) AS sources
    FROM flows WHERE predicted_label = 1 GROUP BY attack_type ORDER BY flows
    """
)
plt.figure(figsize=(7, 1 + 0.28 * max(3, len(kinds["flows"]))))
bars = plt.barh(kinds["attack_type"], kinds["flows"], color=ATTACK)
plt.bar_label(bars, [f" {f:,} from {s:,}" for f, s in zip(kinds["flows"], kinds["sources"], strict=True)], fontsize=8)
plt.margins(x=0.2)
plt.xlabel("flows (from so many sources)")
plt.title("Attacks by type")
keep("attack-types")

# %% How sure the model is: what lies in the middle is worth a person's look.
confidence = ask(
    """
    SELECT least(floor(confidence_score * 50), 49) / 50 AS low, predicted_label, count(*) AS flows
    FROM flows GROUP BY ALL ORDER BY ALL
    """
)
plt.figure(figsize=(7, 3.2))
for label, colour, name in ((0, BENIGN, "taken for benign"), (1, ATTACK, "taken for an attack")):
    mine = confidence["predicted_label"] == label
    plt.bar(confidence["low"][mine], confidence["flows"][mine], 0.02, align="edge", color=colour, alpha=0.8, label=name)
plt.yscale("log")
plt.xlim(0, 1)
plt.xlabel("confidence score: P(attack)")
plt.ylabel("flows")
plt.legend(frameon=False)
plt.title("How sure the model is")
keep("confidence")

# %% Top talkers: pairs of hosts with the most bytes.
talkers = ask(
    """
    SELECT src_ip || '  to  ' || dst_ip AS pair, sum(fwd_l3_bytes) AS sent, sum(bwd_l3_bytes) AS received
    FROM flows GROUP BY pair ORDER BY sum(fwd_l3_bytes) + sum(bwd_l3_bytes) DESC LIMIT 12
    """
)
rows = np.arange(len(talkers["pair"]))[::-1]
plt.figure(figsize=(8, 4.5))
for shift, name, colour in ((0.2, "sent", "#dd8452"), (-0.2, "received", "#55a868")):
    plt.barh(rows + shift, talkers[name].astype(float), 0.4, color=colour, label=name)
plt.yticks(rows, talkers["pair"])
if talkers["sent"].any() or talkers["received"].any():
    plt.xscale("log")  # the first often carries a thousand times what the last does
plt.xlabel("bytes, IP headers included")
plt.legend(frameon=False, loc="lower right")
plt.title("Top talkers")
keep("top-talkers")

# %% Durations, from a millisecond on: scans end at once, what is carried away takes its time.
durations = ask(
    """
    SELECT floor(4 * log10(greatest(flow_duration, 1000))) / 4 - 6 AS low, predicted_label, count(*) AS flows
    FROM flows GROUP BY ALL ORDER BY ALL
    """
)
plt.figure(figsize=(7, 3.2))
for label, colour, name in ((0, BENIGN, "benign"), (1, ATTACK, "attack")):
    mine = durations["predicted_label"] == label
    low = 10 ** durations["low"][mine]
    plt.bar(low, durations["flows"][mine], low * (10**0.25 - 1), align="edge", color=colour, alpha=0.6, label=name)
plt.xscale("log")
plt.yscale("log")
plt.xlabel("duration in seconds (1 ms and less: first bar)")
plt.ylabel("flows")
plt.legend(frameon=False)
plt.title("How long flows last")
keep("durations")
engine.close()
