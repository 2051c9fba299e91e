"""The page of an alert, for people: what, who, when, how many, why, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.console.looks import plain, word
from infra.plurals import counted
from jobs.incidents.wording import reasons
from schemas.alerts import SKETCH_SIZE
from schemas.packets import FLOWS
from schemas.windowrecords import WINDOW_TYPES

#: Evidence flows that are named.
_FLOWS = 5
#: Further details that are named.
_DETAILS = 8
#: Features that are named, the strongest first.
_FEATURES = 8
#: Contributions that are not 0 as shown.
_SHOWN_SHARE = 0.0005
#: Width of the names in front.
_WIDTH = 12


def lines(alert: Mapping[str, Any]) -> Iterator[str]:
    """The page, line by line, fit for a terminal whatever the alert holds.

    Parameters
    ----------
    alert
        As :func:`jobs.incidents.page.read` gives it.
    """
    about = f": {alert['description']}" if alert["description"] else ""
    yield word(f"{alert['attack_type']}{about}", 300)
    yield f"alert {alert['id']}"
    yield ""
    for name, text in facts(alert):
        yield f"{name:<{_WIDTH}}{text}"
    yield from _why(alert["details"], alert["record_type"])
    yield from _history(alert["history"])
    yield ""
    yield "next"
    yield from (f"  {command}" for command in commands(alert))


def facts(alert: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of an alert, each with its name: who, when, how many, how sure, and so on; ``alert`` as for :func:`lines`."""
    details, technique = alert["details"], alert["technique"]
    if any(alert[side] for side in ("src_ip", "dst_ip")) or details.get("sources") or details.get("targets"):
        source, target = _side(alert, "src_ip", "source"), _side(alert, "dst_ip", "target")
        yield "who", " -> ".join(filter(None, (source, target))) + (_ports(details) if target else "")
    seconds = (alert["last_seen"] - alert["first_seen"]).total_seconds()
    yield "when", f"{plain(alert['first_seen'])} to {plain(alert['last_seen'])} ({seconds:,.1f} s); raised {plain(alert['created_at'])}"
    yield "how many", f"{counted(alert['flow_count'], 'window' if alert['record_type'] in WINDOW_TYPES else 'flow')}, {alert['kind']}"
    yield "how sure", f"severity {alert['severity']} of 5, confidence {alert['confidence']:.2f}, model {word(alert['model_version'])}"
    yield "seen by", f"sensor {word(alert['sensor_id'])}, domain {word(alert['domain'])}"
    yield "state", _state(alert)
    yield "incident", _incident(alert["incident"])
    if technique:
        named = f" {technique['name']}" if technique["name"] else ""
        yield "ATT&CK", f"{word(technique['id'])}{named}  {word(technique['url'])}"
    if ids := [details["flow_id"]] if details.get("flow_id") else list(details.get("flow_ids", [])):
        more = f" and {len(ids) - _FLOWS} more named" if len(ids) > _FLOWS else ""
        yield "evidence", f"{', '.join(word(one) for one in ids[:_FLOWS])}{more}"
    if others := _others(details):
        yield "details", ", ".join(f"{word(name, 40)} {word(value, 60)}" for name, value in others[:_DETAILS])
    if alert["check"]:
        yield "check", word(alert["check"], 300)


def _others(details: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What else is known of the flow of an alert, or of its newest: what no other line of the page says."""
    newest = details.get("last_flow")
    flow = newest if isinstance(newest, Mapping) else details
    told = {"flow_id", "flow_ids", "why", "evidence_time", "importance", "dst_port", "ports", "sources", "targets"}
    return [
        (name, value)
        for name, value in flow.items()
        if name not in told and not name.startswith("distinct_") and isinstance(value, str | int | float) and value != ""
    ]


def _side(alert: Mapping[str, Any], column: str, name: str) -> str:
    """The address; where there are several, how many and the first of them; nothing where its records have no such side."""
    if alert[column]:
        return word(alert[column])
    details = alert["details"]
    known = [word(one) for one in details.get(f"{name}s", [])]
    count = details.get(f"distinct_{name}s", len(known))
    if not known:
        none = details.get(f"distinct_{name}s") == 0 or "flow_id" in details
        return "" if none else f"many {name}s"
    number = f"{count:,}" if count < SKETCH_SIZE else f"about {count:,}"  # beyond it is an estimate
    return f"{number} {name}s ({', '.join(known[:3])}{', ...' if count > 3 else ''})"


def _ports(details: Mapping[str, Any]) -> str:
    ports = details.get("ports") or ([details["dst_port"]] if details.get("dst_port") else [])
    if not ports:
        return ""
    count = details.get("distinct_ports", len(ports))
    named = ", ".join(word(port) for port in ports[:5])
    return f", port{'s' * (count != 1)} {named}{f', ... ({count:,})' if count > 5 else ''}"


def _state(alert: Mapping[str, Any]) -> str:
    if alert["resolved_at"] is None and alert.get("suppressed_by") is not None:
        return f"silenced by entry {alert['suppressed_by']} (flowlake whitelist list, flowlake maintenance list)"
    if alert["resolved_at"] is None:
        return "open"
    done = "" if alert["action_taken"] in (None, "", "none") else f": {word(alert['action_taken'], 300)}"
    return f"resolved by {word(alert['resolved_by'] or 'nobody named')} at {plain(alert['resolved_at'])}{done}"


def _incident(incident: Mapping[str, Any] | None) -> str:
    if incident is None:
        return "none"
    to = word(incident["assigned_to"]) if incident["assigned_to"] else "nobody"
    return f"{word(incident['title'], 200)}  ({incident['priority']}, {incident['status']}, assigned to {to})  {incident['id']}"


def _why(details: Mapping[str, Any], record_type: str) -> Iterator[str]:
    yield ""
    given = details.get("why")
    every = given if isinstance(given, list) else [given]
    found = [one for one in every if isinstance(one, Mapping) and reasons(one, record_type)]
    if not found:
        missing = given.get("missing") if isinstance(given, Mapping) else None
        yield f"why: not known{f' ({word(missing, 200)})' if missing else ': the alert holds no explanation of the score'}"
        return
    for one in found:
        of = f" of flow {word(one['flow_id'])}" if one.get("flow_id") else ""
        base = f", {_number(one['base'])} for any flow" if one.get("base") is not None else ""
        yield f"why: the score{of} is {_number(one.get('score'))}{base}"
        features = reasons(one, record_type)
        # What the classifier does not look at, and the detector of unknown attacks finds unusual, moved no score.
        shares = [" unusual" if reason.unusual else f"{reason.share:+8.3f}" for reason in features]
        yield from (f"  {share}  {word(reason.text, 200)}" for share, reason in zip(shares[:_FEATURES], features, strict=False))
        if len(features) > _FEATURES:
            yield f"  and {counted(len(features) - _FEATURES, 'feature')} that did less"
        others = one.get("others")
        if isinstance(others, int | float) and abs(others) >= _SHOWN_SHARE:
            yield f"  {others:+8.3f}  all other features together"


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return word(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _history(rows: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    yield ""
    if rows is None:
        yield "history: this user may not read the audit (flowlake_responder may)"
        return
    yield "history"
    yield from (f"  {plain(row['timestamp'])}  {word(row['user_id'])}: {word(row['what'], 300)}" for row in rows)
    if not rows:
        yield "  nobody has changed it since the audit began"


def commands(alert: Mapping[str, Any]) -> list[str]:
    """What leads on from an alert."""
    short = alert["id"][:8]
    found = []
    if alert["record_type"] == FLOWS.name:
        found += [f"flowlake flows --alert {short}", f"flowlake alerts pcap {short} --out {short}.pcap"]
    if alert["record_type"] in WINDOW_TYPES:
        found.append(f"flowlake windows show --alert {short}")
    if alert["incident"] is not None:
        found.append(f"flowlake incidents show {alert['incident']['id'][:8]}")
    if alert["resolved_at"] is None:
        found.append(f"flowlake alerts resolve {short} --action 'what was done'")
    return found
