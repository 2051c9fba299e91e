"""Filters of the packet socket: pcap-filter(7) expressions, compiled by libpcap, run by the kernel.

The compiler comes with the package ``pcapy-ng``, whose wheels hold libpcap: every sensor understands the whole language. Machine:
McCanne and Jacobson 1993; instructions of ``linux/filter.h``.
"""

from __future__ import annotations

import ctypes
import re
import socket
import struct

import pcapy

from infra.errors import CaptureError, one_line

#: Instructions ``(code, jt, jf, k)``.
Program = list[tuple[int, int, int, int]]

_SO_ATTACH_FILTER = 26
_ACCEPT = 262_144  # bytes of an accepted frame to hand on: all of them
_OPTIMIZE, _NETMASK_UNKNOWN = 1, 0xFFFFFFFF
#: LINKTYPE_* of a capture file -> DLT_* of libpcap, where they differ.
_DLT = {101: 12}  # raw IP
_HINT = "see pcap-filter(7)"


def compile_filter(text: str, link_type: int) -> Program:
    """Compile a filter for frames of one kind of link.

    Parameters
    ----------
    text
        pcap-filter(7) expression.
    link_type
        LINKTYPE_* of the frames.

    Raises
    ------
    CaptureError
        The expression is wrong, or asks for what frames of this link do not have.
    """
    if re.search(r"(?<!\\)\bvlan\b", text):
        raise CaptureError(
            f"filter {text!r}: no VLAN tag is seen by a filter, the kernel takes it out of the frame before",
            "filter by what is behind the tag, e.g. net 10.5.0.0/16; the tag is put back into what is captured",
        )
    try:
        compiled = pcapy.compile(_DLT.get(link_type, link_type), _ACCEPT, text, _OPTIMIZE, _NETMASK_UNKNOWN)
    except (pcapy.PcapError, pcapy.BPFError, ValueError) as e:  # ValueError: a NUL, or bytes that are no text
        raise CaptureError(f"filter {text!r}: {one_line(e)}", _HINT) from e
    return [(code, jt, jf, k & 0xFFFFFFFF) for code, jt, jf, k in compiled.get_bpf()]


def attach(raw: socket.socket, program: Program, text: str) -> None:
    """Put a program in force on a socket; the kernel copies it.

    Parameters
    ----------
    raw
        Socket whose messages begin with the frame.
    program
        What :func:`compile_filter` made of ``text``.

    Raises
    ------
    CaptureError
        The kernel does not take it: it has more than 4,096 instructions, or ``net.core.optmem_max`` is too small for it.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *i) for i in program))
    try:
        raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
    except (OSError, struct.error) as e:
        raise CaptureError(f"filter {text!r}: the kernel refuses its {len(program):,} instructions: {e}", "shorten it") from e
