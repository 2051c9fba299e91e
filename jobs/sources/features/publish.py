"""The scoring step: messages of ``flow-features`` in, messages of ``predictions`` and dead letters out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from infra.names import valid_text
from jobs.runtime import outgoing
from jobs.runtime.dead_letter import DeadLetter
from jobs.scoring.model import ScoringModel
from jobs.scoring.modelset import ModelSet
from jobs.sources.features import build, convert
from jobs.sources.features.convert import Reading
from jobs.sources.features.message import FeatureMessage, take_apart
from jobs.sources.features.rows import GivenRows
from schemas.packets import FLOWS
from schemas.wire import Header

#: Codes that a refusal may begin with.
CODES = ("empty", "size", "content-type", "json", "arrow", "schema", "rows", "value", "missing")
#: Column of the step's result beside those of :data:`jobs.runtime.outgoing.KAFKA_DDL`: refused rows and messages by code.
REFUSED = "refused"
DDL = f"{outgoing.KAFKA_DDL}, {REFUSED} map<string, bigint>"
_SCHEMA = outgoing.KAFKA_SCHEMA.append(pa.field(REFUSED, pa.map_(pa.string(), pa.int64())))
#: Rows of a message of predictions at most, as the meter has it.
_ROWS = 4_096
_LONGEST_NAME = 128


@dataclass(frozen=True)
class Step:
    """What the step needs to know, beside the model.

    Attributes
    ----------
    query
        Id of the query's checkpoint: part of the identity of its messages.
    name
        Its name, for the dead letters.
    prefix
        Of the topics.
    reading
        How rows are read.
    max_rows
        Rows that a message may hold.
    """

    query: str
    name: str
    prefix: str
    reading: Reading
    max_rows: int


def publish(batches: Iterable[pa.RecordBatch], champion: ModelSet | ScoringModel, step: Step) -> Iterator[pa.RecordBatch]:
    """Kafka rows of one task -> rows of :data:`DDL`.

    What one message holds goes into messages of its own, whose identity is that of its place in the topic: a batch that is repeated
    writes copies that readers know.
    """
    for batch in batches:
        messages = [_message(row) for row in batch.select(["value", "headers", "topic", "partition", "offset"]).to_pylist()]
        for part in take_apart(messages, step.max_rows):
            rows = _flows(part, messages, champion, step) if isinstance(part, GivenRows) else (_letter(part[0], part[1], step),)
            for row in rows:  # one by one: a value is up to some MB, and Spark's buffers grow by doubling
                yield pa.RecordBatch.from_pylist([row], _SCHEMA)


def _message(row: dict[str, Any]) -> FeatureMessage:
    headers = {pair["key"]: pair["value"] or b"" for pair in row["headers"] or ()}
    return FeatureMessage(row["value"], headers, row["topic"], row["partition"], row["offset"])


def _flows(rows: GivenRows, messages: Sequence[FeatureMessage], champion: ModelSet | ScoringModel, step: Step) -> Iterator[dict[str, Any]]:
    checked = convert.check(rows, step.reading)
    good = np.ones(len(rows.source), bool)
    good[list(checked.refused)] = False
    at = np.flatnonzero(good)
    source = rows.source[at]
    if len(at):
        told = {number: (_name(messages[number], Header.SENSOR), _name(messages[number], Header.DOMAIN)) for number in set(source.tolist())}
        sensors, domains = ([told[number][i] for number in source.tolist()] for i in (0, 1))
        scored = champion.score(build.records(checked, at, sensors, domains, step.reading.community_id_seed))
        yield from _published(scored, source, messages, step)
    by_message: dict[int, list[int]] = {}
    for row in sorted(checked.refused):
        by_message.setdefault(int(rows.source[row]), []).append(row)
    for number, bad in by_message.items():
        yield _partly(messages[number], rows, number, {row: checked.refused[row] for row in bad}, step)


def _name(message: FeatureMessage, header: str) -> str:
    said = message.headers.get(header, b"").decode("utf-8", "replace").replace("\0", "").strip()
    return valid_text(said)[:_LONGEST_NAME]


def _published(scored: pa.RecordBatch, source: np.ndarray, messages: Sequence[FeatureMessage], step: Step) -> Iterator[dict[str, Any]]:
    """Closed records and open ones of each message apart: readers of the former leave the latter alone."""
    closed = np.asarray(scored.column(scored.schema.get_field_index("closed")).to_numpy(zero_copy_only=False), bool)
    for number in np.unique(source).tolist():
        message = messages[number]
        for final in (True, False):
            mine = np.flatnonzero((source == number) & (closed == final))
            for first in range(0, len(mine), _ROWS):
                some = scored.take(pa.array(mine[first : first + _ROWS]))
                name = f"{step.query}/{message.partition}/{message.offset}/{'closed' if final else 'open'}/{first}"
                yield {**outgoing.records(FLOWS, some, str(message.partition), name, prefix=step.prefix, final=final), REFUSED: None}


def _partly(message: FeatureMessage, rows: GivenRows, number: int, refused: dict[int, str], step: Step) -> dict[str, Any]:
    """One letter for the refused rows of a message; they alone are its value, where others were taken."""
    mine = np.flatnonzero(rows.source == number)
    first, reason = next(iter(refused.items()))
    value = message.value
    if len(refused) < len(mine):
        value = rows.raw(sorted(refused))
    if len(mine) > 1:
        reason += f" ({len(refused)} of {len(mine)} rows refused, the first is row {first - int(mine[0]) + 1}"
        others = list(dict.fromkeys(why for why in refused.values() if why != refused[first]))
        reason += (f"; also {'; '.join(others[:3])}" if others else "") + (f" and {len(others) - 3} more" if len(others) > 3 else "") + ")"
    return _letter(message, reason, step, Counter(_code(why) for why in refused.values()), value)


def _code(reason: str) -> str:
    return reason.split(":", 1)[0]


def _letter(
    message: FeatureMessage, reason: str, step: Step, counts: dict[str, int] | None = None, value: bytes | None = None
) -> dict[str, Any]:
    kept = message.value if value is None else value
    letter = DeadLetter(kept, reason, message.topic, message.partition, message.offset, step.name)
    refused = counts if counts is not None else {_code(reason): 1}
    return {**outgoing.dead_letter(letter, prefix=step.prefix), REFUSED: list(refused.items())}
