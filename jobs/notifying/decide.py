"""What a channel is to be told of an incident: how it stands now, against what the channel was told last. Pure.

So it does not matter how often, or in what order, an incident changed in between: one that rose twice and is open is told once, and one
that was closed before anybody heard of it is not told at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from infra.channels import ChannelSettings
from jobs.notifying.facts import Facts
from jobs.notifying.notice import News
from schemas.incidents import PRIORITIES


@dataclass(frozen=True)
class Thread:
    """What a channel was told of an incident last: its priority (0 .. 3), and whether that it is over."""

    key: str
    subject_id: str
    level: int
    done: bool


def news(now: Facts | None, told: Thread | None, channel: ChannelSettings, classes: dict[str, str]) -> News | None:
    """What is to be said, or nothing.

    Parameters
    ----------
    now
        The incident; ``None``: it is no more.
    told
        What this channel was told of it; ``None``: nothing.
    channel
        Its settings.
    classes
        Attack type -> class of attacks (:attr:`schemas.labels.Label.kind`).
    """
    if now is None or now.done:
        return "resolved" if told is not None and not told.done else None
    if now.quiet or not wanted(now, channel, classes):
        return None
    if told is None:
        return "new"
    if told.done:
        return "reopened"
    return "raised" if now.level > told.level else None


def wanted(now: Facts, channel: ChannelSettings, classes: dict[str, str]) -> bool:
    """Whether a channel wants to hear of incidents like this one."""
    if now.level < PRIORITIES.index(channel.min_priority) or 0 < now.severity < channel.min_severity:
        return False
    return wants_kind(channel, now.kinds, classes)


def wants_kind(channel: ChannelSettings, kinds: tuple[str, ...], classes: dict[str, str]) -> bool:
    """Whether one of the attack types is among those that a channel wants."""
    return not channel.kinds or any(
        fnmatchcase(kind.upper(), word.upper()) or classes.get(kind, "") == word.lower() for kind in kinds for word in channel.kinds
    )
