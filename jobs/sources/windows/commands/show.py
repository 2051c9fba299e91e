"""``flowlake windows show``: the newest windows of the hot store, or those behind an alert."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from infra import config
from infra.config import Settings
from infra.console import looks, times
from infra.console.options import ConfFile, Json, names
from infra.errors import ConfigError
from jobs.incidents import shown
from jobs.incidents.behind import Wanted
from jobs.sinks import ask
from schemas.windowrecords import TABLE, WINDOWS
from schemas.windows import SIZES

_SHOWN = (
    "window_start", "window_size", "source", "domain", "complete", "flows_started", "destinations", "ports", "failed_ratio", "beats",
    "beat_period", "attack_type", "confidence_score",
)  # fmt: skip
_VALUES = (
    "domain, complete, flows_started::bigint AS flows_started, destinations::bigint AS destinations, ports::bigint AS ports, "
    "failed_ratio, beats::bigint AS beats, beat_period, attack_type, confidence_score, predicted_label, model_version, "
    "window_id::text AS window_id"
)
#: A source that is a network is many, summed up.
_PREFIX = "|| CASE WHEN src_prefix < {0} THEN '/' || src_prefix::text ELSE '' END AS source"
#: What is shown of a window, as SQL by store.
COLUMNS = {
    "hot": f"window_start, window_size, host(src_ip) {_PREFIX.format('CASE family(src_ip) WHEN 4 THEN 32 ELSE 128 END')}, {_VALUES}",
    "lake": f"window_start, window_size, src_ip {_PREFIX.format('CASE ip_version WHEN 4 THEN 32 ELSE 128 END')}, {_VALUES}",
}


def show(
    source: Annotated[
        str | None, typer.Option("--source", help="Only those of this address, or of the sources of a network: 192.0.2.0/24.")
    ] = None,
    size: Annotated[str, typer.Option("--size", help="Sizes in seconds, with commas: 5, 30, 180; default: all.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many: the newest; of an alert or incident, the first.")] = 20,
    attacks: Annotated[bool, typer.Option("--attacks", help="Only windows labelled as attacks.")] = False,
    since: Annotated[str | None, typer.Option(help="Begun since: 15m, 2h, 7d, 2w, or 2026-03-01T12:00.")] = None,
    alert: Annotated[str | None, typer.Option("--alert", help="Only those behind this alert: its id, or the beginning of it.")] = None,
    incident: Annotated[str | None, typer.Option("--incident", help="Only those behind the alerts of this incident.")] = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    conf_file: ConfFile = None,
) -> None:
    """The newest windows of the hot store: what each source began in 5, 30 or 180 seconds, and what the models say of it."""
    shown.exclude(alert=alert, incident=incident, as_json=as_json, as_csv=as_csv)
    if (alert is not None or incident is not None) and (source is not None or size):
        raise ConfigError("--source and --size do not go with --alert and --incident", "an alert's windows are of its sources, of any size")
    address = _address(source)
    wanted = [int(one) for one in names("--size", size, [str(one) for one in SIZES])] if size else list(SIZES)
    settings = config.load(conf_file)
    form = "json" if as_json else "csv" if as_csv else "table"
    if alert is not None or incident is not None:
        behind = Wanted(COLUMNS, limit, attacks, times.since(since))
        shown.show(settings, WINDOWS[SIZES[0]], behind, _SHOWN, form, alert=alert, incident=incident, noun="windows")
        return
    rows = _read(settings, wanted, limit, address, attacks, times.since(since))
    looks.show(rows, _SHOWN, form=form, title=f"{len(rows)} windows, newest first")
    if not rows:
        conditions = looks.given(source=source, size=size or None, attacks=attacks, since=since)
        newest = _read(settings, list(SIZES), 1) if conditions else []
        looks.explain_nothing(f"windows in table {TABLE}", conditions, newest[0]["window_start"] if newest else None)


show.epilog = (  # type: ignore[attr-defined]  # shown under --help
    "Examples:  flowlake windows show --source 192.0.2.7 --size 30   |   flowlake windows show --attacks --since 1h --json   |   "
    "flowlake windows show --alert 0b4c1f6e"
)


def _address(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return str(ipaddress.ip_network(given.strip()))
    except ValueError as e:
        raise ConfigError(f"--source {given[:60]!r} is no address, and no network: {e}", "192.0.2.7, 192.0.2.0/24 or 2001:db8::/48") from e


def _read(
    settings: Settings, sizes: Sequence[int], limit: int, source: str | None = None, attacks: bool = False, since: datetime | None = None
) -> list[dict[str, Any]]:
    """Newest first. Of an address, those of networks that it is summed up in, too, by the index; of a network, whatever lies in it."""
    where, values = ["window_size = ANY(%s)"], list[Any]([list(sizes)])
    if source is not None:
        network = ipaddress.ip_network(source)
        if network.prefixlen == network.max_prefixlen:
            first = {str(network.supernet(new_prefix=bits).network_address) for bits in range(network.max_prefixlen + 1)}
            where.append("src_ip = ANY(%s::inet[]) AND set_masklen(src_ip, src_prefix) >>= %s::inet")
            values += [sorted(first), str(network.network_address)]
        else:
            where.append("src_ip <<= %s")
            values.append(source)
    if attacks:
        where.append("predicted_label = 1")
    if since:
        where.append("window_start >= %s")
        values.append(since)
    condition = " AND ".join(where)
    sql = f"SELECT {COLUMNS['hot']} FROM {TABLE} WHERE {condition} ORDER BY window_start DESC, window_size, src_ip LIMIT %s"
    return ask.query(settings.hot, sql, [*values, limit])
