"""BPF filters for the packet socket: by libpcap where it is installed, else by a small compiler for the usual expressions.

The language is that of pcap-filter(7); the fallback knows ``ip ip6 arp tcp udp sctp icmp icmp6``, ``host``, ``net``, ``port``,
``portrange`` with ``src``/``dst`` and a protocol in front, ``proto N``, ``less``/``greater N``, ``and or not ( )``. As there, ``and`` and
``or`` bind equally and from the left. Machine: McCanne and Jacobson 1993; opcodes of ``linux/bpf_common.h``.
"""

from __future__ import annotations

import ctypes
import ipaddress
import re
import socket
import struct
from dataclasses import dataclass

from infra.errors import CaptureError, one_line

Program = list[tuple[int, int, int, int]]  # code, jt, jf, k

_LD, _LDH, _LDB, _LDH_X, _LDX_IHL, _LD_LEN, _AND = 0x20, 0x28, 0x30, 0x48, 0xB1, 0x80, 0x54
_JEQ, _JGT, _JGE, _JSET, _RET = 0x15, 0x25, 0x35, 0x45, 0x06
_SO_ATTACH_FILTER = 26
_ACCEPT = 262_144

_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmp6": 58, "sctp": 132}
_ETHERTYPES = {"ip": 0x0800, "arp": 0x0806, "rarp": 0x8035, "ip6": 0x86DD}
_HINT = "see pcap-filter(7); expressions beyond the usual ones need libpcap (apt install libpcap0.8)"


def compile_filter(text: str, link_type: int) -> Program:
    """Compile a filter for frames of ``link_type`` (LINKTYPE_*).

    Raises
    ------
    CaptureError
        The expression is wrong, or needs libpcap and there is none.
    """
    program = _by_libpcap(text, link_type)
    if program is None:
        program = _by_ourselves(text, link_type)
    return program


def attach(raw: socket.socket, program: Program) -> None:
    """Put ``program`` in force on ``raw``; the kernel copies it."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *i) for i in program))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))


def _by_libpcap(text: str, link_type: int) -> Program | None:
    """Compiled by libpcap through Scapy; None when there is no libpcap."""
    from scapy.arch import common
    from scapy.error import Scapy_Exception

    try:
        compiled = common.compile_filter(text, linktype=12 if link_type == 101 else link_type)  # DLT_RAW
    except ImportError:
        return None
    except (Scapy_Exception, OSError) as e:
        raise CaptureError(f"filter {text!r}: {one_line(e)}", "see pcap-filter(7)") from e
    try:
        return [(i.code, i.jt, i.jf, i.k & 0xFFFFFFFF) for i in (compiled.bf_insns[n] for n in range(compiled.bf_len))]
    finally:
        common.free_filter(compiled)


# -- the fallback: expression -> tree of tests -> program ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Test:
    """Load something into the accumulator, compare it with ``k``."""

    loads: tuple[tuple[int, int], ...]  # opcode, k
    jump: int
    k: int


@dataclass(frozen=True)
class _All:
    parts: tuple[_Node, ...]


@dataclass(frozen=True)
class _Any:
    parts: tuple[_Node, ...]


@dataclass(frozen=True)
class _Not:
    part: _Node


_Node = _Test | _All | _Any | _Not


def _by_ourselves(text: str, link_type: int) -> Program:
    parser = _Parser(text, link_type)
    tree = parser.expression()
    if parser.peek():
        raise parser.wrong(f"{parser.peek()!r} is not expected")
    return _assemble(tree, text)


def _assemble(tree: _Node, text: str) -> Program:
    """Short-circuit code: every test jumps forward to where its outcome is decided."""
    code: list[tuple[int, object, object, int]] = []
    places: dict[object, int] = {}

    def emit(node: _Node, yes: object, no: object) -> None:
        if isinstance(node, _Not):
            emit(node.part, no, yes)
        elif isinstance(node, _Test):
            code.extend((op, 0, 0, k) for op, k in node.loads)
            code.append((node.jump, yes, no, node.k))
        else:
            for part in node.parts[:-1]:
                following = object()
                if isinstance(node, _All):
                    emit(part, following, no)
                else:
                    emit(part, yes, following)
                places[following] = len(code)
            emit(node.parts[-1], yes, no)

    accept, reject = object(), object()
    emit(tree, accept, reject)
    places[accept] = len(code)
    code.append((_RET, 0, 0, _ACCEPT))
    places[reject] = len(code)
    code.append((_RET, 0, 0, 0))
    program: Program = []
    for at, (op, yes, no, k) in enumerate(code):
        jt, jf = (0 if label == 0 else places[label] - at - 1 for label in (yes, no))
        if max(jt, jf) > 255:
            raise CaptureError(f"filter {text!r} is too long", _HINT)
        program.append((op, jt, jf, k & 0xFFFFFFFF))
    return program


class _Parser:
    """Recursive descent over the words of an expression."""

    def __init__(self, text: str, link_type: int) -> None:
        self._text = text
        self._words = re.findall(r"[()!]|&&|\|\||[^\s()!&|]+", text)
        self._at = 0
        self._ethernet = link_type == 1
        if link_type not in (1, 101):
            raise CaptureError(f"filter {text!r}: a link of type {link_type} needs libpcap", _HINT)
        self._base = 14 if self._ethernet else 0

    def wrong(self, why: str) -> CaptureError:
        return CaptureError(f"filter {self._text!r}: {why}", _HINT)

    def peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def next(self) -> str:
        word = self.peek()
        if not word:
            raise self.wrong("ends early")
        self._at += 1
        return word

    def _taken(self, *words: str) -> str:
        return self.next() if self.peek() in words and self.peek() else ""

    def expression(self) -> _Node:
        node = self._factor()
        while operator := self._taken("and", "&&", "or", "||"):
            right = self._factor()
            node = _All((node, right)) if operator in ("and", "&&") else _Any((node, right))
        return node

    def _factor(self) -> _Node:
        if self._taken("not", "!"):
            return _Not(self._factor())
        if self._taken("("):
            node = self.expression()
            if not self._taken(")"):
                raise self.wrong("a parenthesis is not closed")
            return node
        return self._primitive()

    def _primitive(self) -> _Node:
        if size := self._taken("less", "greater"):
            n = self._number(self.next())
            test = _Test(((_LD_LEN, 0),), _JGT if size == "less" else _JGE, n)
            return _Not(test) if size == "less" else test
        protocol = self._taken(*_PROTOCOLS, *_ETHERTYPES)
        if protocol in ("ip", "ip6") and self._taken("proto"):
            word = self.next()
            n = _PROTOCOLS.get(word.lstrip("\\")) or self._number(word)
            return self._of_protocol(n, protocol)
        side = self._taken("src", "dst")
        if side and self._taken("or", "and"):
            joined = self._words[self._at - 1]
            if not self._taken("src", "dst"):
                raise self.wrong("expected src or dst")
            side = "both" if joined == "and" else ""
        kind = self._taken("host", "net", "port", "portrange")
        if not kind and protocol and not side:
            return self._protocol(protocol)
        word = self.next()
        if not kind:
            if not side and not re.match(r"^[0-9a-fA-F.:]+$", word):
                raise self.wrong(f"{word!r} is not known")
            kind = "host"
        if kind in ("host", "net"):
            node = self._address(word, side, kind)
            return _All((self._protocol(protocol), node)) if protocol else node
        if protocol and protocol not in ("tcp", "udp", "sctp", "ip", "ip6"):
            raise self.wrong(f"{protocol} has no ports")
        return self._port(word, side, protocol, kind)

    def _number(self, word: str) -> int:
        try:
            n = int(word, 0)
        except ValueError:
            n = -1
        if not 0 <= n <= 0xFFFFFFFF:
            raise self.wrong(f"{word!r} is not a number")
        return n

    def _ethertype(self, name: str) -> _Node:
        if self._ethernet:
            return _Test(((_LDH, 12),), _JEQ, _ETHERTYPES[name])
        version = {"ip": 0x40, "ip6": 0x60}.get(name, 0xFFFF)  # no ARP without Ethernet
        return _Test(((_LDB, 0), (_AND, 0xF0)), _JEQ, version)

    def _of_protocol(self, number: int, version: str = "") -> _Node:
        four = _All((self._ethertype("ip"), _Test(((_LDB, self._base + 9),), _JEQ, number)))
        six = _All((self._ethertype("ip6"), _Test(((_LDB, self._base + 6),), _JEQ, number)))
        return {"ip": four, "ip6": six}.get(version) or _Any((four, six))

    def _protocol(self, name: str) -> _Node:
        if name in _ETHERTYPES:
            return self._ethertype(name)
        return self._of_protocol(_PROTOCOLS[name], {"icmp": "ip", "icmp6": "ip6"}.get(name, ""))

    @staticmethod
    def _sides(side: str, source: _Node, destination: _Node) -> _Node:
        choices: dict[str, _Node] = {"src": source, "dst": destination, "both": _All((source, destination))}
        return choices.get(side) or _Any((source, destination))

    def _address(self, word: str, side: str, kind: str) -> _Node:
        try:
            net = ipaddress.ip_network(word, strict=False)
        except ValueError:
            raise self.wrong(f"{word!r} is not an IP {'address' if kind == 'host' else 'network, e.g. 10.0.0.0/8'}") from None
        if net.version == 4:
            found: list[_Node] = []
            layouts = [("ip", 12, 16), ("arp", 14, 24)] if self._ethernet else [("ip", 12, 16)]
            for layer, source, destination in layouts:
                at = [self._words_equal(self._base + offset, net) for offset in (source, destination)]
                found.append(_All((self._ethertype(layer), self._sides(side, at[0], at[1]))))
            return _Any(tuple(found)) if len(found) > 1 else found[0]
        ends = [self._words_equal(self._base + offset, net) for offset in (8, 24)]
        return _All((self._ethertype("ip6"), self._sides(side, ends[0], ends[1])))

    @staticmethod
    def _words_equal(offset: int, net: ipaddress.IPv4Network | ipaddress.IPv6Network) -> _Node:
        address, mask = net.network_address.packed, net.netmask.packed
        tests: list[_Node] = []
        for i in range(0, len(address), 4):
            want, bits = (int.from_bytes(b[i : i + 4], "big") for b in (address, mask))
            if bits:
                cut = () if bits == 0xFFFFFFFF else ((_AND, bits),)
                tests.append(_Test(((_LD, offset + i), *cut), _JEQ, want))
        return _All(tuple(tests)) if tests else _Test(((_LD_LEN, 0),), _JGE, 0)

    def _port(self, word: str, side: str, protocol: str, kind: str) -> _Node:
        low, _, high = word.partition("-")
        if kind == "port" and high:
            raise self.wrong(f"{word!r} is not a port")
        first, last = self._port_number(low, protocol), self._port_number(high or low, protocol)
        if first > last:
            raise self.wrong(f"port range {word} is empty")
        numbers = [_PROTOCOLS[protocol]] if protocol in _PROTOCOLS else [_PROTOCOLS[p] for p in ("tcp", "udp", "sctp")]

        def within(loads: tuple[tuple[int, int], ...]) -> _Node:
            if first == last:
                return _Test(loads, _JEQ, first)
            return _All((_Test(loads, _JGE, first), _Not(_Test(loads, _JGT, last))))

        def version(name: str, next_header: int, ports: list[_Node], whole: tuple[_Node, ...]) -> _Node:
            kinds = tuple(_Test(((_LDB, self._base + next_header),), _JEQ, n) for n in numbers)
            return _All((self._ethertype(name), _Any(kinds), *whole, self._sides(side, ports[0], ports[1])))

        ihl = (_LDX_IHL, self._base)
        first_fragment = _Not(_Test(((_LDH, self._base + 6),), _JSET, 0x1FFF))
        four = version("ip", 9, [within((ihl, (_LDH_X, self._base + k))) for k in (0, 2)], (first_fragment,))
        six = version("ip6", 6, [within(((_LDH, self._base + 40 + k),)) for k in (0, 2)], ())
        return {"ip": four, "ip6": six}.get(protocol) or _Any((four, six))

    def _port_number(self, word: str, protocol: str) -> int:
        if word.isdigit() and int(word) <= 65_535:
            return int(word)
        try:
            return socket.getservbyname(word, protocol if protocol in ("tcp", "udp") else "tcp")
        except OSError:
            raise self.wrong(f"{word!r} is not a port") from None
