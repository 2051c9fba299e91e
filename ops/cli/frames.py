"""``flowlake alerts pcap`` and ``flowlake incidents pcap``: the frames behind alerts as a capture file, and what is no longer there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.config import Settings
from infra.console import looks
from infra.errors import ConfigError, StoreError
from infra.names import printable
from infra.plurals import are, counted
from jobs.captures.arguments import DASH, capture_path

if TYPE_CHECKING:
    from jobs.incidents.behind import Behind
    from jobs.sources.packets.membership import FlowSpan
    from jobs.sources.packets.recall import Recalled
    from sensors.packets.frames import FrameBatch

#: Flows whose frames are looked for, at most.
MAX_FLOWS = 100_000
#: What recall needs of a flow, as SQL by store.
_ENDS = "src_port, dst_port, protocol, flow_duration, total_fwd_packets + total_backward_packets AS packets"
_COLUMNS = {
    "hot": f"timestamp AS start_time, host(src_ip) AS src_ip, host(dst_ip) AS dst_ip, {_ENDS}",
    "lake": f"start_time, src_ip, dst_ip, domain, {_ENDS}",
}

Out = Annotated[Path, typer.Option("--out", parser=capture_path, help="The file: x.pcap, x.pcapng; -: to stdout.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="Frames at most.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


def write(settings: Settings, what: str, alerts: Sequence[dict[str, Any]], out: Path, limit: int, *, force: bool, as_json: bool) -> None:
    """Write the frames of the flows behind alerts, and say what was found.

    Parameters
    ----------
    what
        Whose they are: ``alert 0b4c...``.
    alerts
        As :func:`jobs.incidents.behind.find` takes them, and ``updated_at``.
    out
        Where to; ``Path("-")`` is standard output.
    limit
        Frames at most.

    Raises
    ------
    ConfigError
        The file is there, or JSON is to go where the frames go.
    StoreError
        No store knows the flows any more, or the topic holds none of their frames.
    CaptureError
        The file cannot be written, or frames are of several link types and the file is to be a pcap.
    BrokerError
        The broker does not answer.
    """
    from jobs.sources.packets.recall import Recall
    from sensors.packets.sorting import sort_by_time

    if as_json and out == DASH:
        raise ConfigError("--json and --out - exclude each other: the frames go to standard output", "name a file")
    _check(out, force)
    flows, behind = _flows(settings, what, alerts)
    recall = Recall(settings, flows, max(int(alert["updated_at"].timestamp() * 1000) for alert in alerts), limit, _say)
    batches = sort_by_time(recall.frames())
    first = next(batches, None)  # everything was read then
    if first is None:
        begins = recall.found.begins_ms
        why = f"; it begins at {_moment(begins)}, what was sent before is deleted" if begins is not None else ""
        raise StoreError(
            f"none of the frames of {what} is in topic {settings.topic('raw-packets')} ({counted(len(flows), 'flow')}){why}",
            "frames are kept for the topic's retention only (flowlake topics); the flows stay: flowlake flows --alert or --incident",
        )
    _write(out, first, batches, recall.found.link_types)
    done = _told(out, flows, behind, recall.found)
    if as_json:
        print(json.dumps(done, indent=1))
        return
    size = f"{counted(done['frames'], 'frame')} of {counted(done['flows'], 'flow')} behind {what}"
    print(f"{size} -> {'standard output' if out == DASH else printable(out)}", file=sys.stderr if out == DASH else sys.stdout)
    for note in done["notes"]:
        _say(note)


def _check(out: Path, force: bool) -> None:
    """Told before the topic is read: that may take long."""
    if out == DASH:
        return
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: {'a folder' if out.is_dir() else 'no such folder'}", "name a file in a folder that is there")
    if out.is_file() and not force:
        raise ConfigError(f"--out {out}: is there already", "--force replaces it")


def _flows(settings: Settings, what: str, alerts: Sequence[dict[str, Any]]) -> tuple[list[FlowSpan], Behind]:
    from jobs.incidents import behind
    from jobs.sources.packets.recall import named_spans, spans_of
    from schemas.packets import FLOWS

    there = behind.find(settings, FLOWS, alerts, behind.Wanted(_COLUMNS, MAX_FLOWS))
    domains = frozenset(alert["domain"] for alert in alerts)
    if there.rows:
        return spans_of(there.rows, domains), there
    named = named_spans(alerts)
    if not named:
        raise StoreError(
            f"no store holds the flows behind {what}, by whose ends and times frames are found",
            "a flow is stored when it has ended: wait a minute; old ones are deleted",
        )
    return named, behind.Behind(
        [], len(named), there.store, ["no store holds the flows: what the alerts say of their newest was looked for"]
    )


def _write(out: Path, first: FrameBatch, others: Iterator[FrameBatch], link_types: set[int]) -> None:
    from sensors.packets.pcapngwriter import PcapngWriter
    from sensors.packets.pcapwriter import PcapWriter

    many = len(link_types) > 1
    if many and out != DASH and out.suffix.lower() != ".pcapng":
        raise ConfigError(
            f"--out {out}: the frames are of link types {', '.join(map(str, sorted(link_types)))}, and a pcap file holds one",
            f"--out {out.with_suffix('.pcapng')}",
        )
    with PcapngWriter(out) if many or out.suffix.lower() == ".pcapng" else PcapWriter(out, min(link_types)) as writer:
        writer.write(first)
        for batch in others:
            writer.write(batch)


def _told(out: Path, flows: Sequence[FlowSpan], behind: Behind, found: Recalled) -> dict[str, Any]:
    """What was written, and what could not be; ``notes`` are for people."""
    from jobs.sources.packets.recall import missing

    lack = missing(flows, found)
    notes = list(behind.notes)
    if behind.total > len(flows):
        notes.append(f"of {behind.total:,} flows the first {len(flows):,} were looked for")
    if found.limited:
        notes.append(f"there are more frames: reading ended at --limit {found.frames}")
    elif lack:
        short = (
            f"{counted(lack['packets'], 'packet')} {are(lack['packets'])} not in the topic"
            if lack["packets"]
            else "some packets are not in the topic"
        )
        notes.append(
            f"{short}: without any frame {counted(lack['flows'], 'flow')}, with fewer than counted {counted(lack['short'], 'flow')}"
        )
        if found.begins_ms is not None:
            notes.append(f"the topic begins at {_moment(found.begins_ms)}: what was sent before is deleted")
    if found.cut:
        notes.append(f"{counted(found.cut, 'frame')} {are(found.cut)} not whole: the sensor keeps sensor.snaplen bytes of each")
    if found.repeated:
        were = "was" if found.repeated == 1 else "were"
        notes.append(f"{counted(found.repeated, 'frame')} {were} sent again by another run of the sensor, and written once")
    if found.unreadable:
        notes.append(
            f"{found.unreadable:,} of {counted(found.messages, 'message')} could not be read (they are in dead-letter, with the reason)"
        )
    return {
        "file": printable(out),
        "frames": found.frames,
        "flows": len(flows),
        "packets_missing": lack["packets"],
        "flows_without_frames": lack["flows"],
        "frames_cut": found.cut,
        "topic_begins": None if found.begins_ms is None else _moment(found.begins_ms),
        "notes": notes,
    }


def _moment(ms: int) -> str:
    return str(looks.plain(datetime.fromtimestamp(ms / 1000, UTC)))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
