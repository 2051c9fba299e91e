"""Shapes of a message: what each receiver needs is there, what an attacker writes is only text, published schemas are kept."""

from __future__ import annotations

import email
import json
import re
from email import policy
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from jobs.notifying.formats import cef, ecs, mail, ocsf, pagerduty, slack
from jobs.notifying.notice import Notice
from jobs.notifying.receivers.syslog import framed
from jobs.notifying.sample import sample
from tests.unit.notifying.notices import HOSTILE, hostile, notice

DIGEST = notice(
    news="digest", subject="digest", subject_id="", title="7 messages held back: SYN_FLOOD 7",
    counts={"kinds": {"SYN_FLOOD": 7}, "priorities": {"HIGH": 7}, "sources": {"203.0.113.7": 7}},
)  # fmt: skip
#: Every sort of message.
NOTICES: dict[str, Notice] = {
    "new": notice(),
    "raised": notice(news="raised", before="LOW", priority="CRITICAL"),
    "grown": notice(news="grown", status="INVESTIGATING", assigned_to="anna"),
    "resolved": notice(news="resolved", status="RESOLVED", closed_by="anna", note="host cleaned"),
    "false alarm": notice(news="resolved", status="FALSE_POSITIVE", closed_by="anna", note="our own scanner"),
    "merged": notice(news="resolved", status="GONE", merged_into="33333333-3333-4333-8333-333333333333"),
    "reopened": notice(news="reopened", status="INVESTIGATING"),
    "alert": notice(subject="alert", techniques=(), stages=(), link=""),
    "many hosts": notice(sources=("203.0.113.7", "2001:db8::7", "printer-7"), targets=()),
    "digest": DIGEST,
    "test": sample("https://soc.example/{id}"),
    "hostile": hostile(),
}
EACH = pytest.mark.parametrize("one", NOTICES.values(), ids=NOTICES)


# --- ours


@EACH
def test_our_json_is_the_message(one: Notice) -> None:
    text = json.dumps(one.plain())
    assert Notice.of(json.loads(text)) == one
    assert json.loads(text)["version"] == 1


def test_no_text_of_a_message_moves_a_cursor_or_ends_a_line() -> None:
    one = hostile()
    for text in (one.title, one.headline, one.closed_by, *one.sources, *one.kinds):
        assert text.isprintable()
    for text in (one.description, one.note):
        assert text.replace("\n", "").isprintable()


def test_a_message_is_bounded() -> None:
    one = notice(title="x" * 100_000, description="y" * 1_000_000, note="z" * 100_000, sources=tuple(map(str, range(10_000))))
    assert len(json.dumps(one.plain())) < 12_000


# --- Slack


def texts(value: Any) -> list[str]:
    """Every string of JSON."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


@EACH
def test_slack_takes_each_block(one: Notice) -> None:
    body = slack.message(one)
    assert body["text"]
    for block in body["blocks"]:
        if block["type"] == "header":
            assert 1 <= len(block["text"]["text"]) <= 150
        else:
            assert len(block.get("fields", [])) <= 10
            assert all(1 <= len(field["text"]) <= 2000 for field in block.get("fields", []))
            assert 1 <= len(block.get("text", {"text": "x"})["text"]) <= 3000
    assert {block["type"] for block in body["blocks"]} <= {"header", "section", "actions"}
    buttons = [button for block in body["blocks"] for button in block.get("elements", [])]
    assert [button["url"] for button in buttons] == ([one.link] if one.link else [])


def test_nothing_in_slack_calls_a_channel_or_hides_a_link() -> None:
    body = slack.message(hostile())
    for text in texts(body):
        assert not re.search("[<>]", text)
        assert "@here" not in text
        assert not re.search(r"&(?!amp;|lt;|gt;)", text)
    assert {
        field["type"] for block in body["blocks"] for field in [*block.get("fields", []), *([block["text"]] if "text" in block else [])]
    } == {"plain_text"}


def test_an_entity_is_not_cut_in_two() -> None:
    assert slack.escaped("<" * 100, 50) == "&lt;" * 11 + "..."
    assert slack.escaped("a&b", 50) == "a&amp;b"


# --- PagerDuty


def test_pagerduty_opens_updates_and_closes_one_incident() -> None:
    opened, raised, closed = (pagerduty.event(NOTICES[name], "R0UTING") for name in ("new", "raised", "resolved"))
    assert {event["dedup_key"] for event in (opened, raised, closed)} == {notice().key}
    assert [event["event_action"] for event in (opened, raised, closed)] == ["trigger", "trigger", "resolve"]
    assert (opened["payload"]["severity"], raised["payload"]["severity"]) == ("error", "critical")
    assert opened["links"] == [{"href": "https://soc.example/i/2222", "text": "incident"}]
    assert closed["routing_key"] == "R0UTING"


@EACH
def test_an_event_of_pagerduty_is_whole(one: Notice) -> None:
    event = pagerduty.event(one, "R0UTING")
    if event["event_action"] == "trigger":
        payload = event["payload"]
        assert 1 <= len(payload["summary"]) <= 1024
        assert payload["source"]
        assert payload["severity"] in ("critical", "error", "warning", "info")
        assert "R0UTING" not in json.dumps(payload)
    assert len(event["dedup_key"]) <= 255
    assert len(json.dumps(event)) < 512 * 1024  # the largest event that is taken


# --- e-mail


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@EACH
def test_a_mail_is_read_as_it_was_written(one: Notice) -> None:
    raw = mail.mail(one, "flowlake@soc.example", ["anna@soc.example", "ben@soc.example"]).as_bytes()
    read = email.message_from_bytes(raw, policy=policy.default)
    assert read["To"] == "anna@soc.example, ben@soc.example"
    assert sorted(read.keys()) == sorted(
        ["Subject", "From", "To", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "Importance", "X-Flowlake-Key",
         "X-Flowlake-News", "MIME-Version", "Content-Type"]
    )  # fmt: skip
    assert read["Message-ID"] == f"<{one.id}@soc.example>"
    assert read["References"] == f"<{one.key}@soc.example>"
    parts = [part.get_content_type() for part in read.walk()]
    assert parts == ["multipart/alternative", "text/plain", "text/html"]
    assert one.title[:100] in re.sub(r"\s+", " ", read.get_body(("plain",)).get_content())
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    raw.decode("ascii")


def test_hostile_text_is_text_in_a_mail() -> None:
    read = email.message_from_bytes(mail.mail(hostile(), "f@soc.example", ["a@soc.example"]).as_bytes(), policy=policy.default)
    assert "Bcc" not in read
    assert "<script>" in str(read["Subject"])
    page = Tags()
    page.feed(read.get_body(("html",)).get_content())
    assert page.tags == {"html", "head", "meta", "title", "body", "h2", "p", "table", "tr", "th", "td", "br", "a"}
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text


def test_a_note_can_not_pass_for_a_fact() -> None:
    text = mail.plain(notice(news="resolved", note="cleaned\nPriority:     LOW"))
    assert [line.split()[1] for line in text.splitlines() if line.startswith("Priority:")] == ["HIGH"]


# --- CEF, by a reader of the rules of its definition


def read_cef(line: str) -> tuple[list[str], dict[str, str]]:
    """Head and extension."""
    fields = re.split(r"(?<!\\)(?:\\\\)*\|", line.replace("\\\\", "\0"), maxsplit=7)
    *head, rest = fields
    keys = list(re.finditer(r"(?:^| )(\w+)=", re.sub(r"\\=", "\1\1", rest)))
    text = re.sub(r"\\=", "\1\1", rest)
    ends = [*(key.start() for key in keys[1:]), len(text)]
    pairs = {key[1]: text[key.end() : end] for key, end in zip(keys, ends, strict=True)}
    plain = {name: value.replace("\1\1", "=").replace("\\n", "\n").replace("\0", "\\") for name, value in pairs.items()}
    return [field.replace("\\|", "|").replace("\0", "\\") for field in head], plain


def test_cef_tells_what_happened() -> None:
    head, extension = read_cef(cef.event(notice()))
    assert head[:3] == ["CEF:0", "flowlake", "flowlake"]
    assert head[4:] == ["SYN_SCAN", "[HIGH] New incident: SYN scan, then SSH brute force: 203.0.113.7 -> 192.0.2.10", "8"]
    assert (extension["src"], extension["dst"], extension["start"]) == ("203.0.113.7", "192.0.2.10", "1772365800000")
    assert (extension["cs1Label"], extension["cs1"], extension["externalId"]) == ("incident", notice().key, notice().id)
    assert extension["msg"] == notice().description


@EACH
def test_cef_is_one_line_of_seven_fields_and_known_keys(one: Notice) -> None:
    line = cef.event(one)
    assert line.isprintable()
    head, extension = read_cef(line)
    assert len(head) == 7
    assert 0 <= int(head[6]) <= 10
    assert set(extension) <= {"externalId", "rt", "start", "end", "act", "outcome", "cnt", "src", "dst", "c6a2", "c6a2Label", "c6a3",
                              "c6a3Label", "request", "msg", *(f"cs{i}{end}" for i in range(1, 7) for end in ("", "Label"))}  # fmt: skip
    assert len(extension["msg"]) <= 1023


def test_hostile_text_ends_no_field_of_cef() -> None:
    one = hostile()
    head, extension = read_cef(cef.event(one))
    assert head[5] == one.headline
    assert extension["msg"] == one.note
    assert extension["cs2"] == one.kinds[0]


def test_cef_of_ipv6_and_of_many() -> None:
    _, extension = read_cef(cef.event(notice(sources=("2001:db8::7",), targets=("192.0.2.1", "192.0.2.2"))))
    assert (extension["c6a2"], extension["c6a2Label"]) == ("2001:db8::7", "Source IPv6 Address")
    assert "dst" not in extension
    assert extension["cs5"] == "192.0.2.1, 192.0.2.2"


def test_the_head_of_syslog() -> None:
    line = framed(notice(), "CEF:0|x", facility=16, host="sensor one\n", most=2048)
    assert line == b"<131>1 2026-03-01T12:00:00.250Z sensorone flowlake - new - CEF:0|x"
    assert framed(NOTICES["resolved"], "x", facility=4, host="", most=100).startswith(b"<38>1 2026-03-01T12:00:00.250Z - flowlake")
    long = framed(notice(), "ä" * 5000, facility=16, host="h", most=2048)
    assert 2046 <= len(long) <= 2048
    assert long.decode()  # no character is cut in two


# --- schemas


@EACH
@pytest.mark.parametrize("version", ["1.1.0", "1.3.0", "1.8.0"])
def test_ocsf_keeps_the_published_schema(one: Notice, version: str) -> None:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version)).get_class_schema("detection_finding")
    event = json.loads(json.dumps(ocsf.finding(one)))
    jsonschema.Draft202012Validator(schema).validate(event)
    assert (event["class_uid"], event["type_uid"] - event["activity_id"]) == (2004, 200_400)


def test_the_check_against_the_schema_can_fail() -> None:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.3.0")).get_class_schema("detection_finding")
    for wrong in ({"class_uid": 2002}, {"severity_id": 17}, {"finding_info": {"title": "x"}}, {"invented": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema).validate({**ocsf.finding(notice()), **wrong})


def test_ocsf_tells_an_incident_from_its_creation_to_its_close() -> None:
    events = [ocsf.finding(NOTICES[name]) for name in ("new", "raised", "resolved", "false alarm")]
    assert [event["activity_id"] for event in events] == [1, 2, 3, 3]
    assert [event["status_id"] for event in events] == [1, 1, 4, 4]
    assert [event["severity_id"] for event in events] == [4, 5, 4, 4]
    assert {event["finding_info"]["uid"] for event in events} == {notice().key}
    assert events[3]["status_detail"] == "false positive"
    assert events[0]["evidences"] == [{"src_endpoint": {"ip": "203.0.113.7"}, "dst_endpoint": {"ip": "192.0.2.10"}}]


#: What ECS 8.17 expects of the fields that are filled (elastic.co/guide/en/ecs/8.17: event, observer, related, rule, source, threat).
ECS_VALUES = {
    ("event", "kind"): {"alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"},
    ("event", "category"): {"intrusion_detection", "network", "threat", "malware", "host"},
    ("event", "type"): {"access", "allowed", "connection", "denied", "end", "info", "protocol", "start"},
}
ECS_FIELDS = {
    "@timestamp": None, "message": None, "tags": None, "ecs": {"version"},
    "event": {"id", "kind", "category", "type", "action", "module", "dataset", "provider", "severity", "created", "start", "end", "reason",
              "url"},
    "observer": {"vendor", "product", "version", "type"}, "rule": {"name", "category"}, "threat": {"framework", "technique"},
    "source": {"ip", "address"}, "destination": {"ip", "address"}, "related": {"ip", "hosts"},
}  # fmt: skip


@EACH
def test_ecs_has_fields_of_the_schema_alone(one: Notice) -> None:
    document = json.loads(json.dumps(ecs.document(one)))
    for name, value in document.items():
        if name == "flowlake":
            continue
        fields = ECS_FIELDS[name]
        assert fields is None or set(value) <= fields
    for (group, name), allowed in ECS_VALUES.items():
        value = document[group][name]
        assert set(value if isinstance(value, list) else [value]) <= allowed
    assert all(re.fullmatch(r"[0-9a-f.:]+", ip) for ip in document.get("related", {}).get("ip", []))
    assert isinstance(document["event"]["severity"], int)


def test_ecs_tells_who_and_where() -> None:
    document = ecs.document(notice())
    assert document["source"]["ip"] == "203.0.113.7"
    assert document["related"]["ip"] == ["203.0.113.7", "192.0.2.10"]
    assert document["threat"]["technique"]["id"] == ["T1046", "T1110.001"]
    assert ecs.document(NOTICES["many hosts"])["related"] == {"ip": ["203.0.113.7", "2001:db8::7"], "hosts": ["printer-7"]}
    assert HOSTILE not in json.dumps(ecs.document(hostile()))
