"""Why something was not decoded: one word for each reason, which is what is counted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FaultReason(StrEnum):
    """Reasons, in the order in which a datagram can run into them."""

    UNKNOWN_VERSION = "unknown_version"  # of the first two bytes, or too few bytes to tell
    SHORT_HEADER = "short_header"
    WRONG_LENGTH = "wrong_length"  # IPFIX: the message's own length cannot be
    SHORT_RECORDS = "short_records"  # v5: fewer bytes than the count says
    BAD_SET = "bad_set"  # its length goes beyond the message, or is less than its header's
    BAD_TEMPLATE = "bad_template"  # cut short, an id below 256, too many fields
    EMPTY_TEMPLATE = "empty_template"  # its records would have no bytes
    TOO_MANY_TEMPLATES = "too_many_templates"
    BAD_RECORD = "bad_record"  # a variable length that goes beyond the set
    TOO_MANY_RECORDS = "too_many_records"
    NO_TEMPLATE = "no_template"  # it waited for its template, and there was no more room or time
    BAD_SAMPLE = "bad_sample"  # sFlow: a length that goes beyond what holds it
    FORGOTTEN = "forgotten"  # an exporter's state, for want of memory


class MessageFault(Exception):
    """What makes a message, or a part of it, unreadable, and the byte of the datagram at which."""

    def __init__(self, reason: FaultReason, at: int) -> None:
        super().__init__(f"{reason} at byte {at}")
        self.reason = reason
        self.at = at


@dataclass(frozen=True, slots=True)
class Rejected:
    """A datagram that was not decoded wholly: what a dead letter is made of.

    Attributes
    ----------
    datagram
        Its number in the batch.
    reason
        Of its first fault.
    at
        Byte of the datagram at which the fault was found.
    whole
        Nothing of it was taken.
    """

    datagram: int
    reason: FaultReason
    at: int
    whole: bool
