"""Messages of ``flow-features``, taken apart: what each is, and its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.sources.features import arrowrows, jsonrows
from jobs.sources.features.rows import GivenRows, NoFlows
from jobs.sources.features.topic import CONTENT_ARROW
from schemas.topics import LARGEST_MESSAGE
from schemas.wire import CONTENT_JSON, KIND_PACKETS, Header

JSON, LINES, ARROW = "json", "lines", "arrow"
_CONTENT = {
    CONTENT_JSON: JSON,
    "text/json": JSON,
    **dict.fromkeys(("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"), LINES),
    **dict.fromkeys((CONTENT_ARROW, "application/vnd.apache.arrow.file"), ARROW),
}
#: Rows of JSON that are read on together: each column of one becomes an array, which costs the same for one row as for hundreds.
_TOGETHER = 20_000


@dataclass(frozen=True)
class FeatureMessage:
    """One Kafka record of the topic."""

    value: bytes | None
    headers: dict[str, bytes]
    topic: str
    partition: int
    offset: int

    @property
    def speaks(self) -> bool:
        """Whether it is meant to hold flows; a sensor's heartbeat and its end are not."""
        return bool(self.value) or self.headers.get(Header.KIND, KIND_PACKETS.encode()) == KIND_PACKETS.encode()


def content_of(message: FeatureMessage) -> str:
    """What a message is: :data:`JSON`, :data:`LINES` or :data:`ARROW`; without a content type, what it looks like.

    Raises
    ------
    NoFlows
        It is none of them, empty, or too large.
    """
    value = message.value
    if not value:
        raise NoFlows("empty: message without a value")
    if len(value) > LARGEST_MESSAGE:
        raise NoFlows(f"size: {len(value):,} bytes, at most {LARGEST_MESSAGE:,}")
    declared = message.headers.get(Header.CONTENT_TYPE, b"").decode("utf-8", "replace").strip()
    if known := _CONTENT.get(declared.split(";")[0].strip().lower()):
        return known
    if declared:
        raise NoFlows(f"content-type: {declared[:80]!r} is neither {CONTENT_JSON!r} nor {CONTENT_ARROW!r}")
    if value.startswith((arrowrows.MAGIC_STREAM, arrowrows.MAGIC_FILE)):
        return ARROW
    if value[:256].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return JSON
    raise NoFlows(f"content-type: none, and its first bytes, {value[:16]!r}, are neither JSON nor an Arrow stream")


def take_apart(messages: Iterable[FeatureMessage], most: int) -> Iterator[GivenRows | tuple[FeatureMessage, str]]:
    """Rows of messages, and messages that are refused whole, with the reason; ``GivenRows.source`` counts the messages from 0."""
    found: list[jsonrows.JsonRow] = []
    source: list[int] = []
    for number, message in enumerate(messages):
        if not message.speaks:
            continue
        try:
            content = content_of(message)
            value = message.value or b""
            if content == ARROW:
                yield arrowrows.parse(value, most, number)
                continue
            rows = jsonrows.parse(value, most, lines=content == LINES)
        except NoFlows as e:
            yield message, str(e)
            continue
        found += rows
        source += [number] * len(rows)
        if len(found) >= _TOGETHER:
            yield jsonrows.rows_of(found, source)
            found, source = [], []
    if found:
        yield jsonrows.rows_of(found, source)
