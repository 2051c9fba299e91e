"""Questions that the dashboards bench asks: those of dashboards, and the PostgreSQL blocks of the cookbook's page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: The cookbook, below the project's folder.
PAGE = Path("docs/how-to/query-the-stores.md")
_TITLE = re.compile(r"^#{2,4} +(.+?) *$")
_RUN = re.compile(r"^<!-- *run: *(.+?) *-->$")
#: A question whose answer is a file, as its heading tells the reader.
_EXPORT = re.compile(r"^\d+\. Export: ")
#: An address that a question of the page is about, and what it is compared with.
_ADDRESS = re.compile(r"\b(src_ip|dst_ip) = '[0-9a-fA-F.:]+'")


@dataclass(frozen=True)
class TimedQuery:
    """A query by the name that its timings are told under.

    ``%(name)s`` in it is a parameter; each time it is asked, one of the values in ``choices`` is taken.
    """

    name: str
    sql: str
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def export(self) -> bool:
        """Whether its answer is a file and nothing that a dashboard shows: nearly all rows that there are."""
        return bool(_EXPORT.match(self.name))

    def about(self, sources: Sequence[str], targets: Sequence[str]) -> TimedQuery:
        """The same question about addresses that are in the store, instead of the page's examples.

        Each ``src_ip = '...'`` and ``dst_ip = '...'`` becomes a parameter.
        """
        choices = {"src_ip": sources, "dst_ip": targets}
        found = {column: choices[column] for column in _ADDRESS.findall(self.sql)}
        if not found:
            return self
        return TimedQuery(self.name, _ADDRESS.sub(r"\1 = %(\1)s", self.sql.replace("%", "%%")), found)


def cookbook(text: str, engine: str = "postgresql") -> Iterator[TimedQuery]:
    """The blocks of a cookbook page that run on an engine, named by the headings above them.

    Parameters
    ----------
    text
        The page: ``<!-- run: engine, engine -->`` stands in the line before each block.
    engine
        One of them.
    """
    title = ""
    engines: tuple[str, ...] = ()
    block: list[str] | None = None
    for line in text.splitlines():
        if block is not None:
            if line.strip() == "```":
                yield TimedQuery(title, "\n".join(block).strip().removesuffix(";"))
                block, engines = None, ()
            else:
                block.append(line)
        elif found := _TITLE.match(line):
            title = found[1]
        elif found := _RUN.match(line):
            engines = tuple(name.strip() for name in found[1].split(","))
        elif line.strip() == "```sql" and engine in engines:
            block = []
        elif line.strip():
            engines = ()


def dashboards(sources: Sequence[str], targets: Sequence[str]) -> list[TimedQuery]:
    """What the panels of dashboards show. Long ranges are asked of the rollup, as they are meant to be.

    Parameters
    ----------
    sources, targets
        Addresses that people look at: busy ones, rare ones, attackers, and one that is not there.
    """
    one = {"src": sources}
    return [
        TimedQuery(
            "panel: attack rate per minute, last 5 minutes",
            "SELECT time_bucket('1 minute', timestamp) AS minute, count(*) FILTER (WHERE predicted_label = 1) AS attacks, "
            "count(*) AS total_flows, count(*) FILTER (WHERE predicted_label = 1)::float / count(*) * 100 AS attack_rate "
            "FROM network_flows WHERE timestamp > now() - interval '5 minutes' GROUP BY minute ORDER BY minute DESC",
        ),
        TimedQuery(
            "panel: flows and attacks per minute, last hour",
            "SELECT time_bucket('1 minute', timestamp) AS minute, count(*) AS flows, "
            "count(*) FILTER (WHERE predicted_label = 1) AS attacks "
            "FROM network_flows WHERE timestamp > now() - interval '1 hour' GROUP BY minute ORDER BY minute",
        ),
        TimedQuery(
            "panel: top attackers, last 24 hours",
            "SELECT src_ip, count(*) AS attack_count, avg(confidence_score) AS avg_confidence, max(timestamp) AS last_seen "
            "FROM network_flows WHERE predicted_label = 1 AND timestamp > now() - interval '24 hours' "
            "GROUP BY src_ip ORDER BY attack_count DESC LIMIT 10",
        ),
        TimedQuery(
            "panel: attacks by kind and target, last hour",
            "SELECT attack_type, dst_ip, count(*) AS flows, sum(total_length_fwd_packets) AS bytes, max(confidence_score) AS confidence "
            "FROM network_flows WHERE predicted_label = 1 AND timestamp > now() - interval '1 hour' "
            "GROUP BY attack_type, dst_ip ORDER BY flows DESC LIMIT 20",
        ),
        TimedQuery(
            "panel: newest attacks",
            "SELECT timestamp, attack_type, src_ip, dst_ip, dst_port, confidence_score FROM network_flows "
            "WHERE predicted_label = 1 ORDER BY timestamp DESC LIMIT 100",
        ),
        TimedQuery(
            "panel: newest flows",
            "SELECT timestamp, src_ip, dst_ip, dst_port, protocol, predicted_label FROM network_flows ORDER BY timestamp DESC LIMIT 100",
        ),
        TimedQuery(
            "panel: flows of a source",
            "SELECT timestamp, dst_ip, dst_port, protocol, flow_duration / 1e6 AS seconds, attack_type FROM network_flows "
            "WHERE src_ip = %(src)s ORDER BY timestamp DESC LIMIT 50",
            one,
        ),
        TimedQuery(
            "panel: flows to a target",
            "SELECT timestamp, src_ip, dst_port, protocol, attack_type FROM network_flows "
            "WHERE dst_ip = %(dst)s ORDER BY timestamp DESC LIMIT 50",
            {"dst": targets},
        ),
        TimedQuery(
            "panel: hours of a source, last 7 days",
            "SELECT hour, attacks, total_flows, avg_confidence FROM hourly_attack_stats "
            "WHERE src_ip = %(src)s AND hour > now() - interval '7 days' ORDER BY hour",
            one,
        ),
        TimedQuery(
            "panel: top attackers, last 7 days",
            "SELECT src_ip, sum(attacks) AS attacks FROM hourly_attack_stats "
            "WHERE attacks > 0 AND hour > now() - interval '7 days' GROUP BY src_ip ORDER BY attacks DESC LIMIT 10",
        ),
        TimedQuery(
            "panel: flows and attacks per hour, last 7 days",
            "SELECT hour, sum(attacks) AS attacks, sum(total_flows) AS flows FROM hourly_flow_stats "
            "WHERE hour > now() - interval '7 days' GROUP BY hour ORDER BY hour",
        ),
        TimedQuery(
            "panel: attacks by kind and day, last 30 days",
            "SELECT time_bucket('1 day', hour) AS day, attack_type, sum(attacks) AS attacks, sum(total_bytes) AS bytes "
            "FROM hourly_flow_stats WHERE attacks > 0 AND hour > now() - interval '30 days' GROUP BY day, attack_type ORDER BY day",
        ),
        TimedQuery(
            "panel: least confident attacks, last hour",
            "SELECT timestamp, src_ip, dst_ip, attack_type, confidence_score FROM network_flows "
            "WHERE confidence_score BETWEEN 0.45 AND 0.55 AND timestamp > now() - interval '1 hour' ORDER BY timestamp DESC LIMIT 100",
        ),
        TimedQuery(
            "panel: volume of each sensor, last 15 minutes",
            "SELECT sensor_id, count(*) AS flows, sum(total_length_fwd_packets + total_length_bwd_packets) AS bytes FROM network_flows "
            "WHERE timestamp > now() - interval '15 minutes' GROUP BY sensor_id ORDER BY sensor_id",
        ),
    ]
