"""The hosts on one side of some alerts: which they are, else how many, as far as the alerts say. Pure.

An alert knows the addresses of a side one by one up to :data:`schemas.alerts.SAMPLE_SIZE`; of more it has a sample, and their number
(an estimate from :data:`schemas.alerts.SKETCH_SIZE` on). Two such alerts may have hosts in common or none, so of their number together
only the bounds are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from ipaddress import ip_address
from typing import Any

from infra.plurals import counted
from schemas.alerts import SKETCH_SIZE

#: Addresses named in a text; more are a number.
NAMED = 3
#: Bounds that lie no further apart are one number.
_NEAR = 1.1


def is_address(text: str) -> bool:
    """Whether the database takes it for one. Details are JSON, and whoever writes by psql may write anything."""
    try:
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False


@dataclass(frozen=True)
class SideHosts:
    """Hosts on one side of some alerts.

    Attributes
    ----------
    whole : tuple of str
        Addresses of alerts of which all are known, each once.
    sampled : tuple of str
        Some addresses of the other alerts, each once.
    most, total : int
        How many hosts those others have: the one with most, and all together, each counted for itself.
    estimated : bool
        One of their numbers is an estimate.
    unknown : bool
        There are alerts that say nothing about this side.
    """

    whole: tuple[str, ...] = ()
    sampled: tuple[str, ...] = ()
    most: int = 0
    total: int = 0
    estimated: bool = False
    unknown: bool = False

    def __bool__(self) -> bool:
        """Whether anything is known."""
        return bool(self.whole or self.sampled or self.most)

    def __or__(self, other: SideHosts) -> SideHosts:
        """Those of both, in the order in which they are first named."""
        return SideHosts(
            tuple(dict.fromkeys(self.whole + other.whole)), tuple(dict.fromkeys(self.sampled + other.sampled)),
            max(self.most, other.most), self.total + other.total, self.estimated or other.estimated, self.unknown or other.unknown,
        )  # fmt: skip

    @staticmethod
    def joined(sides: Iterable[SideHosts]) -> SideHosts:
        """Those of all."""
        return reduce(lambda a, b: a | b, sides, SideHosts())

    @classmethod
    def of_alert(cls, alert: Mapping[str, Any], side: str) -> SideHosts:
        """Those of one alert, a row with ``src_ip``, ``dst_ip`` and ``details``; ``side``: ``source`` or ``target``."""
        if address := alert["src_ip" if side == "source" else "dst_ip"]:
            return cls((address,))
        listed, number = alert["details"].get(f"{side}s"), alert["details"].get(f"distinct_{side}s")
        named = tuple(dict.fromkeys(str(one) for one in listed if one)) if isinstance(listed, list) else ()
        if not named and (number == 0 or "flow_id" in alert["details"]):
            return cls()  # it is about none
        count = number if isinstance(number, int) and number > len(named) else 0
        return cls((), named, count, count, count >= SKETCH_SIZE) if count else cls(named, unknown=not named)

    @property
    def told(self) -> bool:
        """Whether there is anything to tell: hosts, or that they are not known; of records without this side there is not."""
        return bool(self) or self.unknown

    def without(self, others: SideHosts) -> SideHosts:
        """Those that are not named among others; all of them where none would be left."""
        gone = {*others.whole, *others.sampled}
        left = tuple(one for one in self.whole if one not in gone)
        return replace(self, whole=left) if left or self.most else self

    def words(self, names: Mapping[str, str]) -> str:
        """``192.0.2.1 (shop)``, ``4 hosts``, ``about 2,700 hosts``, ``300 hosts or more``; ``many hosts`` where nothing is known.

        Parameters
        ----------
        names
            Of addresses.
        """
        if not self:
            return "many hosts"
        least = max(self.most, len({*self.whole, *self.sampled}))
        if least <= NAMED and not self.most:
            listed = ", ".join(f"{one} ({names[one]})" if one in names else one for one in self.whole)
            return f"{listed} and others" if self.unknown else listed
        utmost = max(least, self.total + len({*self.whole} - {*self.sampled}))
        near = utmost <= _NEAR * least
        about = "about " if self.estimated or (near and utmost > least) else ""
        return f"{about}{counted(least, 'host')}{'' if near and not self.unknown else ' or more'}"


def between(sources: SideHosts, targets: SideHosts, names: Mapping[str, str]) -> str:
    """``192.0.2.1 -> 4 hosts``; one side where records have no other; nothing of records that are not about hosts."""
    return " -> ".join(side.words(names) for side in (sources, targets) if side.told) if sources or targets else ""
