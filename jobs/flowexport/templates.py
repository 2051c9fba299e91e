"""Templates: read from their sets, remembered for as long as they may be, replaced at once by a new definition.

Layouts: RFC 3954, 5.2 and 6.1 (NetFlow v9); RFC 7011, 3.4.1 and 3.4.2.2 (IPFIX). Rules of UDP: RFC 7011, 8.4.
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field

from jobs.flowexport.elements import ENTERPRISE_BIT, SCOPE_INTERFACE_V9, Element
from jobs.flowexport.faults import FaultReason, MessageFault
from jobs.flowexport.layouts import FieldSpec, Layout, compiled
from jobs.flowexport.rules import DecodeRules

_TWO, _THREE, _LONG = struct.Struct(">HH"), struct.Struct(">HHH"), struct.Struct(">I")
#: Ids below are those of sets (RFC 7011, 3.4.3).
FIRST_ID = 256
#: In place of an enterprise number: a scope of NetFlow v9, which are numbered on their own.
SCOPE_V9 = 0xFFFF_FFFF
_REFRESHES = 3


@dataclass(slots=True)
class Template:
    """A definition.

    Attributes
    ----------
    number
        Template id.
    fields
        In the order of the record, scopes first.
    scopes
        How many of them are scopes; 0: a template of flows.
    learned_us
        When it was last sent.
    interval_us
        Longest time between two times that it was sent; 0: it was sent once.
    """

    number: int
    fields: tuple[FieldSpec, ...]
    scopes: int
    learned_us: int
    interval_us: int = 0
    _layout: weakref.ref[Layout] | None = field(default=None, compare=False, repr=False)

    @property
    def layout(self) -> Layout:
        """How its records are read: compiled when the first one comes, and anew when many others were compiled since."""
        found = self._layout() if self._layout is not None else None
        if found is None:
            found = compiled(self.fields)
            self._layout = weakref.ref(found)
        return found

    def expired(self, now_us: int, rules: DecodeRules) -> bool:
        """Whether it was not sent again for too long."""
        age_us = now_us - self.learned_us
        return age_us > rules.template_lifetime_us and age_us > _REFRESHES * self.interval_us

    def again(self, before: Template | None) -> Template:
        """The same, knowing when it was sent before."""
        if before is not None and before.fields == self.fields:
            self.interval_us = max(before.interval_us, self.learned_us - before.learned_us)
            self._layout = before._layout
        return self


def templates_v9(data: bytes, at: int, end: int, now_us: int) -> Iterator[Template]:
    """Templates of a NetFlow v9 template FlowSet, ``data[at:end]``: its content."""
    while end - at >= _TWO.size:
        number, count = _TWO.unpack_from(data, at)
        if number == 0 and count == 0:  # padding
            return
        at += _TWO.size
        fields, at = _fields_v9(data, at, end, count)
        yield Template(_checked(number, at), fields, 0, now_us)


def options_v9(data: bytes, at: int, end: int, now_us: int) -> Iterator[Template]:
    """Templates of a NetFlow v9 options template FlowSet; their lengths are in bytes."""
    while end - at >= _THREE.size:
        number, scope_bytes, option_bytes = _THREE.unpack_from(data, at)
        if number == 0:
            return
        at += _THREE.size
        if scope_bytes % 4 or option_bytes % 4:
            raise MessageFault(FaultReason.BAD_TEMPLATE, at)
        scopes, at = _fields_v9(data, at, end, scope_bytes // 4)
        options, at = _fields_v9(data, at, end, option_bytes // 4)
        yield Template(_checked(number, at), tuple(map(_scope_v9, scopes)) + options, max(len(scopes), 1), now_us)


def _scope_v9(scope: FieldSpec) -> FieldSpec:
    if scope.element == SCOPE_INTERFACE_V9:
        return FieldSpec(0, int(Element.INPUT), scope.length)
    return FieldSpec(SCOPE_V9, scope.element, scope.length)


def _fields_v9(data: bytes, at: int, end: int, count: int) -> tuple[tuple[FieldSpec, ...], int]:
    if at + _TWO.size * count > end:
        raise MessageFault(FaultReason.BAD_TEMPLATE, at)
    flat = struct.unpack_from(f">{2 * count}H", data, at)
    return tuple(FieldSpec(0, e, n) for e, n in zip(flat[::2], flat[1::2], strict=True)), at + _TWO.size * count


def templates_ipfix(data: bytes, at: int, end: int, now_us: int, *, options: bool) -> Iterator[Template]:
    """Templates of an IPFIX (options) template set; one without fields withdraws an earlier one."""
    while end - at >= _TWO.size:
        number, count = _TWO.unpack_from(data, at)
        if number == 0:  # padding
            return
        at += _TWO.size
        scopes = 0
        if options and count:
            if end - at < 2:
                raise MessageFault(FaultReason.BAD_TEMPLATE, at)
            scopes = int.from_bytes(data[at : at + 2], "big")
            at += 2
            if not 0 < scopes <= count:  # RFC 7011, 3.4.2.2: the scope count is not 0
                raise MessageFault(FaultReason.BAD_TEMPLATE, at)
        fields, at = _fields_ipfix(data, at, end, count)
        yield Template(_checked(number, at, withdrawal=count == 0), fields, scopes, now_us)


def _fields_ipfix(data: bytes, at: int, end: int, count: int) -> tuple[tuple[FieldSpec, ...], int]:
    fields = []
    for _ in range(count):
        if at + _TWO.size > end:
            raise MessageFault(FaultReason.BAD_TEMPLATE, at)
        element, length = _TWO.unpack_from(data, at)
        at += _TWO.size
        enterprise = 0
        if element & ENTERPRISE_BIT:
            if at + _LONG.size > end:
                raise MessageFault(FaultReason.BAD_TEMPLATE, at)
            (enterprise,) = _LONG.unpack_from(data, at)
            at += _LONG.size
        fields.append(FieldSpec(enterprise, element & ~ENTERPRISE_BIT, length))
    return tuple(fields), at


def _checked(number: int, at: int, *, withdrawal: bool = False) -> int:
    """The id; a withdrawal may name a whole kind of sets (RFC 7011, 8.1)."""
    if number < FIRST_ID and not withdrawal:
        raise MessageFault(FaultReason.BAD_TEMPLATE, at)
    return number
