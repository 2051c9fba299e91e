"""``flowlake windows measure``: capture files in, windows per source out, without Kafka and without Spark."""

from __future__ import annotations

import ipaddress
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import config, tablefiles
from infra.console import looks
from infra.console.options import ConfFile, Json, names
from infra.errors import CaptureError, ConfigError, one_line
from infra.plurals import counted
from jobs.captures.arguments import Captures, capture_path, raise_unread, refuse_overwriting, tell_unread
from jobs.captures.disorder import warn
from jobs.captures.truth import HINT, read_truth
from schemas.labels import BENIGN

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from jobs.metering.batch import Accounts
    from jobs.windows.settings import WindowsSettings

#: What a table shows of a window.
_SHOWN = (
    "window_size", "window_start", "src_ip", "complete", "flows_started", "packets_out", "packets_in", "destinations", "ports",
    "failed_ratio", "rhythm",
)  # fmt: skip


def measure(
    captures: Captures,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", parser=capture_path, help="windows.parquet or windows.csv; default: a table of some.")
    ] = None,
    size: Annotated[str, typer.Option("--size", help="Sizes in seconds, with commas: 5, 30, 180; default: all.", show_default=False)] = "",
    complete: Annotated[bool, typer.Option("--complete", help="Only windows in which the source was seen in each 5 s slot.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Windows of each size that the table shows: most flows started first.")] = 10,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Ground truth (Parquet), as the generator writes it: for a column Label.", show_default=False),
    ] = None,
    sensor: Annotated[str | None, typer.Option("--sensor", help="Observation domain of the windows; default: the file's name.")] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Put each capture's packets in the order of their times first.")] = False,
    as_json: Json = False,
    conf_file: ConfFile = None,
) -> None:
    """What each source began in windows of 5, 30 and 180 seconds: one row a source and window, with some fifty features.

    A packet belongs to the 5 s slot that it falls into, whenever its flow ends. The source of a flow is who began it. Larger windows are
    made of the 5 s ones; one that lacks a slot is marked (column complete).
    """
    import pyarrow as pa

    from jobs.metering.batch import Accounts
    from jobs.metering.settings import MeterSettings
    from jobs.windows.batch import windows_of
    from jobs.windows.labels import NEEDED, label
    from jobs.windows.records import records
    from jobs.windows.settings import WindowsSettings
    from schemas.windows import SIZES, WINDOW_SCHEMA
    from sensors.packets.files import find_captures
    from sensors.packets.settings import SensorSettings

    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"--out {out}: its name ends neither in .parquet nor in .csv", "the ending says what is written")
    wanted = [int(one) for one in names("--size", size, [str(one) for one in SIZES])] if size else list(SIZES)
    loaded = config.load(conf_file)
    own, accounts = loaded.section(WindowsSettings), Accounts()
    truth = None if labels is None else read_truth(labels, NEEDED)
    found = find_captures(captures)
    refuse_overwriting(out, [*found.files, labels])
    tell_unread(found.skipped, found.failed)
    batches = [
        records(some[one], one).select(WINDOW_SCHEMA.names)
        for some in windows_of(
            found.files,
            sensor_id=sensor,
            settings=loaded.section(MeterSettings),
            partial=not complete,
            ipv6_prefix=own.ipv6_prefix,
            sort=sort,
            bounds=own.bounds(),
            accounts=accounts,
            keep_going=len(found.files) + len(found.failed) > 1,
        )
        for one in wanted
        if len(some[one])
    ]
    table = pa.Table.from_batches(batches, WINDOW_SCHEMA).sort_by([("window_start", "ascending"), ("window_size", "ascending")])
    tell_unread((), accounts.failed)
    _tell_left_out(accounts, table, loaded.section(SensorSettings).reorder_ms)
    _tell_summed(table, own)
    if truth is not None:
        table = table.append_column("Label", _labelled(label, table, truth, labels))
    if out is not None:
        _write(table, out)
    sizes = Counter(table["window_size"].to_pylist())
    counts = {str(one): sizes[one] for one in wanted}
    if as_json:
        left_out = dict(sorted(accounts.rejected.items()))
        print(json.dumps({"windows": counts, "packets": accounts.packets, "left_out": left_out, "out": str(out) if out else None}))
    elif out is not None:
        print(f"{out}: " + ", ".join(f"{counted(n, 'window')} of {one} s" for one, n in counts.items()), file=sys.stderr)
    else:
        _show(table, wanted, limit)
    raise_unread(found, [*found.failed, *accounts.failed], "in the windows")


measure.epilog = (  # type: ignore[attr-defined]  # shown under --help
    "Examples:  flowlake windows measure capture.pcap   |   flowlake windows measure captures/ --size 30,180 --out windows.parquet   |   "
    "flowlake windows measure traffic.pcap --labels traffic.truth.parquet --out windows.parquet"
)


def _tell_left_out(accounts: Accounts, table: pa.Table, reorder_ms: int) -> None:
    """Say which packets are in no window, and which windows there are of several files."""
    import pyarrow.compute as pc

    warn(accounts, reorder_ms)
    if others := {reason: n for reason, n in sorted(accounts.rejected.items()) if not reason.startswith("late")}:
        told = ", ".join(f"{n:,} {reason}" for reason, n in others.items())
        print(f"of {counted(accounts.packets, 'packet')} not in windows: {told}", file=sys.stderr)
    if again := table.num_rows - pc.count_distinct(table["window_id"]).as_py():
        print(
            f"warning: {counted(again, 'window')} of one name and time in several files: each file has windows of its own; "
            "join captures of one place before, or rename them",
            file=sys.stderr,
        )


def _tell_summed(table: pa.Table, own: WindowsSettings) -> None:
    """Say which windows are those of a network, since a slot had more sources than are told apart."""
    import pyarrow.compute as pc

    whole = pc.if_else(pc.match_substring(table["src_ip"], ":"), own.ipv6_prefix, 32)
    if networks := pc.sum(pc.less(table["src_prefix"], whole)).as_py():
        print(
            f"warning: {counted(networks, 'window')} of networks, not of sources: a slot had more than {own.max_sources:,} sources "
            "(windows.max_sources), and those that said least are summed up; column src_prefix says which",
            file=sys.stderr,
        )


def _labelled(label: Callable[[pa.Table, pa.Table], pa.Array], table: pa.Table, truth: pa.Table, file: Path | None) -> pa.Array:
    """A label of each window; says so when the ground truth has attacks and no window has one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        found = label(table, truth)
        attacks = pc.sum(pc.not_equal(truth["label"], BENIGN)).as_py()
    except pa.ArrowException as e:
        raise CaptureError(f"ground truth {file}: {one_line(e, 200)}", HINT) from e
    if attacks and pc.all(pc.equal(found, BENIGN)).as_py():
        print(f"warning: none of the {counted(attacks, 'attack flow')} of {file} is in a window: is it of these captures?", file=sys.stderr)
    return found


def _write(table: pa.Table, out: Path) -> None:
    try:
        tablefiles.write(table, out)
    except OSError as e:
        raise CaptureError(f"{out}: {e.strerror}", "name a file in a folder of yours") from e


def _show(table: pa.Table, wanted: list[int], limit: int) -> None:
    import pyarrow.compute as pc

    shown = list(_SHOWN)
    if pc.count_distinct(table["domain"]).as_py() > 1:  # of one capture it would say the same in each row
        shown.insert(shown.index("src_ip"), "domain")
    rows: list[dict[str, Any]] = []
    for one in wanted:
        some = table.filter(pc.equal(table["window_size"], one))
        rows += (
            some.sort_by([("flows_started", "descending"), ("window_start", "ascending")])
            .slice(0, limit)
            .select([*shown, "src_prefix"])
            .to_pylist()
        )
    for row in rows:
        prefix = row.pop("src_prefix")
        if prefix < ipaddress.ip_address(row["src_ip"]).max_prefixlen:  # of many sources
            row["src_ip"] = f"{row['src_ip']}/{prefix}"
        row["window_start"] = f"{row['window_start']:%Y-%m-%d %H:%M:%S}"
        for name in ("flows_started", "packets_out", "packets_in", "destinations", "ports"):
            row[name] = int(row[name])
        for name in ("failed_ratio", "rhythm"):
            row[name] = f"{row[name]:.2f}"
    looks.show(rows, shown, form="table", title=counted(table.num_rows, "window"))
