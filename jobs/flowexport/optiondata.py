"""What an exporter says of itself in options records: sampling rates, names, when it started.

Elements: RFC 3954, 8 (samplers), RFC 5477 (selectors: n of N, probability), RFC 6759 (applications).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from jobs.flowexport.elements import Element as E
from jobs.flowexport.layouts import FieldSpec

Known = dict[int, bytes]
#: Ways of sampling, as selectorAlgorithm numbers them (RFC 5477, 8.2.1): count-based, n out of N, by probability.
COUNTED, N_OF_MANY, PROBABLE = 1, 3, 4
#: No time is later, in ms: in us it still is a number of 64 bits.
_LATEST_MS = 1 << 52
#: Bytes of a name that are kept, and of an application's number.
_LONGEST_NAME, _LONGEST_NUMBER = 200, 32
_Key = TypeVar("_Key", int, bytes)
_Value = TypeVar("_Value", float, str)


@dataclass
class OptionData:
    """What is known of an exporter and domain; a later record overwrites an earlier one. Never changed in place: see :func:`learned`.

    Attributes
    ----------
    samplers
        Rate (one packet of so many) by sampler or selector id.
    by_interface
        Rate by interface.
    rate
        Of everything else; 0: not said.
    interfaces, vrfs, applications
        Names by number, by number, by application id (RFC 6759: engine and selector, as bytes).
    boot_ms
        When the exporter started, ms since the epoch; 0: not said.
    """

    samplers: dict[int, float] = field(default_factory=dict)
    by_interface: dict[int, float] = field(default_factory=dict)
    rate: float = 0.0
    interfaces: dict[int, str] = field(default_factory=dict)
    vrfs: dict[int, str] = field(default_factory=dict)
    applications: dict[bytes, str] = field(default_factory=dict)
    boot_ms: int = 0

    @property
    def names(self) -> int:
        """How many entries there are."""
        return len(self.samplers) + len(self.by_interface) + len(self.interfaces) + len(self.vrfs) + len(self.applications)


#: Of an exporter of which no options have come.
NOTHING_SAID = OptionData()


def learned(before: OptionData, fields: Sequence[FieldSpec], records: Sequence[Sequence[bytes]], most: int) -> OptionData:
    """What is known after some options records of one template; ``most``: entries of each kind. ``before`` stays as it is."""
    now = replace(
        before,
        samplers=dict(before.samplers),
        by_interface=dict(before.by_interface),
        interfaces=dict(before.interfaces),
        vrfs=dict(before.vrfs),
        applications=dict(before.applications),
    )
    for values in records:
        known: Known = {}
        for f, value in zip(fields, values, strict=True):
            if f.enterprise == 0 and value:
                known.setdefault(f.element, value)
        _rates(now, known, most)
        _names(now, known, most)
        if E.BOOT_MS in known:
            now.boot_ms = min(_number(known[E.BOOT_MS]), _LATEST_MS)
    return now


def _number(value: bytes) -> int:
    return int.from_bytes(value[-8:], "big")


def _set(table: dict[_Key, _Value], at: _Key, value: _Value, most: int) -> None:
    """Keep an entry; the oldest one makes room."""
    table.pop(at, None)
    if len(table) >= most:
        del table[next(iter(table))]
    table[at] = value


def stated_rate(known: Known) -> float:
    """One packet of so many, by the elements of one record; 0: it says nothing of it."""
    algorithm = _number(known.get(E.SELECTOR_ALGORITHM, b""))
    given = [one for one in _BY_ALGORITHM if all(element in known for element in one.parameters)]
    if given:
        return next((one for one in given if one.algorithm == algorithm), given[0]).rate(known)
    for element in (E.SAMPLER_INTERVAL, E.SAMPLING_INTERVAL):
        if element in known:
            return float(max(_number(known[element]), 1))  # 0: every packet
    return 0.0


def _counted(known: Known) -> float:
    """So many packets in a row, then none for so many (none at all, where that is not said)."""
    chosen, passed = _number(known[E.SAMPLING_PACKET_INTERVAL]), _number(known.get(E.SAMPLING_PACKET_SPACE, b""))
    return (chosen + passed) / chosen if chosen else 0.0


def _n_of_many(known: Known) -> float:
    chosen, population = _number(known[E.SAMPLING_SIZE]), _number(known[E.SAMPLING_POPULATION])
    return max(population / chosen, 1.0) if chosen else 0.0


def _probable(known: Known) -> float:
    p = _float(known[E.SAMPLING_PROBABILITY])
    return 1 / p if 1e-12 < p <= 1 else 0.0


class _Sampling(NamedTuple):
    """A way of sampling: its number, elements without which it says nothing, the rate."""

    algorithm: int
    parameters: tuple[E, ...]
    rate: Callable[[Known], float]


#: Exporters name elements of other ways than theirs, too: what a record's algorithm reads goes first, then what is whole.
_BY_ALGORITHM = (
    _Sampling(COUNTED, (E.SAMPLING_PACKET_INTERVAL, E.SAMPLING_PACKET_SPACE), _counted),
    _Sampling(N_OF_MANY, (E.SAMPLING_SIZE, E.SAMPLING_POPULATION), _n_of_many),
    _Sampling(PROBABLE, (E.SAMPLING_PROBABILITY,), _probable),
    _Sampling(COUNTED, (E.SAMPLING_PACKET_INTERVAL,), _counted),
)


def _float(value: bytes) -> float:
    if len(value) not in (4, 8):
        return 0.0
    return float(struct.unpack(">f" if len(value) == 4 else ">d", value)[0])


def _rates(now: OptionData, known: Known, most: int) -> None:
    rate = stated_rate(known)
    if not rate:
        return
    sampler = known.get(E.SAMPLER, known.get(E.SELECTOR))
    interface = known.get(E.INPUT, known.get(E.INGRESS_PHYSICAL))
    if sampler is not None:
        _set(now.samplers, _number(sampler), rate, most)
    elif interface is not None:
        _set(now.by_interface, _number(interface), rate, most)
    else:
        now.rate = rate


def _names(now: OptionData, known: Known, most: int) -> None:
    interface = next((known[e] for e in (E.INPUT, E.OUTPUT, E.INGRESS_PHYSICAL, E.EGRESS_PHYSICAL) if e in known), None)
    name = known.get(E.INTERFACE_NAME, known.get(E.INTERFACE_DESCRIPTION))
    if interface is not None and name is not None:
        _set(now.interfaces, _number(interface), text(name), most)
    if E.VRF_NAME in known:
        for element in (E.INGRESS_VRF, E.EGRESS_VRF):
            if element in known:
                _set(now.vrfs, _number(known[element]), text(known[E.VRF_NAME]), most)
    if E.APPLICATION_NAME in known and 0 < len(known.get(E.APPLICATION, b"")) <= _LONGEST_NUMBER:
        _set(now.applications, known[E.APPLICATION], text(known[E.APPLICATION_NAME]), most)


def text(value: bytes) -> str:
    """A string as exporters send them: padded with zeros, UTF-8 (RFC 7011, 6.1.6), what is none replaced."""
    return value[:_LONGEST_NAME].split(b"\0", 1)[0].decode("utf-8", "replace").strip()
