"""Raw frames with kernel time stamps from a Linux packet socket, many per system call.

The socket is Scapy's (``L2ListenSocket``: interface, promiscuous mode, BPF filter); its frames are taken with ``recvmmsg(2)`` instead of
one Python call per packet, and the ancillary data are read by a compiled kernel. Sources: packet(7), socket(7), recvmmsg(2),
``linux/if_packet.h``, ``linux/if_arp.h``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import select
import socket
import struct
from pathlib import Path

import numpy as np
from numba import njit

from infra.errors import CaptureError
from sensors.packets import bpf
from sensors.packets.frames import FrameBatch

#: ARPHRD_* of an interface -> LINKTYPE_* of its frames.
LINK_TYPES = {
    1: 1, 772: 1,  # Ethernet, loopback
    768: 101, 769: 101, 776: 101, 65534: 101, 519: 101,  # IP tunnels, tun and WireGuard, raw IP: no link header
    801: 105, 802: 119, 803: 127,  # 802.11 plain, Prism, radiotap
    513: 104, 280: 227, 824: 253,  # Cisco HDLC, CAN, netlink
}  # fmt: skip

_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_IGNORE_OUTGOING = 23
_MSG_TRUNC, _MSG_DONTWAIT = 0x20, 0x40
_ADDRESS, _CONTROL = 32, 128  # bytes kept for sockaddr_ll (20) and the ancillary data
_HEADER = 64  # struct mmsghdr


class PacketSocket:
    """Listening socket on one interface.

    Parameters
    ----------
    interface
        Name, e.g. ``eth0`` or ``lo``.
    snaplen
        Bytes kept of a frame.
    filter_text
        pcap-filter expression; empty takes everything.
    buffer_bytes
        Kernel receive buffer.

    Attributes
    ----------
    link_type : int
        LINKTYPE_* of every frame.
    kernel_dropped : int
        Packets the kernel dropped since the socket was opened; brought up to date by :meth:`statistics`.

    Raises
    ------
    CaptureError
        No such interface, no permission, unknown kind of link, wrong filter.
    """

    def __init__(self, interface: str, snaplen: int, filter_text: str = "", buffer_bytes: int = 32 << 20) -> None:
        self.interface = interface
        self.kernel_dropped = 0
        self._snaplen = snaplen
        try:
            self.index = socket.if_nametoindex(interface)
        except OSError as e:
            known = ", ".join(name for _, name in socket.if_nameindex())
            raise CaptureError(f"interface {interface}: no such interface", f"there are: {known}") from e
        hardware = int(Path(f"/sys/class/net/{interface}/type").read_text())
        if hardware not in LINK_TYPES:
            raise CaptureError(f"interface {interface}: link of hardware type {hardware} is not supported", "capture on another interface")
        self.link_type = LINK_TYPES[hardware]
        self._loopback = hardware == 772
        self._socket = self._open(filter_text)
        try:
            self._tune(buffer_bytes)
            self._prepare()
        except BaseException:
            self.close()
            raise

    def _open(self, filter_text: str) -> socket.socket:
        """Open Scapy's socket and keep it."""
        import scapy.arch.linux as scapy_linux
        from scapy.error import Scapy_Exception

        # Which layer to dissect with is of no concern here; Scapy warns that it cannot tell.
        logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
        program = bpf.compile_filter(filter_text, self.link_type) if filter_text else None
        try:
            self._scapy = scapy_linux.L2ListenSocket(iface=self.interface, promisc=not self._loopback, nofilter=1)
        except PermissionError as e:
            raise CaptureError(
                f"interface {self.interface}: no permission to capture",
                f"run as root, or once: sudo setcap cap_net_raw+ep {os.path.realpath('/proc/self/exe')}",
            ) from e
        except (OSError, Scapy_Exception, ValueError) as e:
            raise CaptureError(f"interface {self.interface}: {e}", "ip link show lists the interfaces") from e
        raw: socket.socket = self._scapy.ins
        if program is not None:
            bpf.attach(raw, program, filter_text)
            self._discard(raw)  # what came in before the filter was in force
        return raw

    @staticmethod
    def _discard(raw: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                raw.recv(1, _MSG_DONTWAIT)

    def _tune(self, buffer_bytes: int) -> None:
        size = min(buffer_bytes // 2, 2**30)  # the kernel doubles it for its own book-keeping
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
        except PermissionError:  # needs CAP_NET_ADMIN; without it net.core.rmem_max is the limit
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        if self._loopback:
            # Every packet on lo is seen twice, leaving and arriving.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.statistics()
        self.kernel_dropped = 0

    def _prepare(self) -> None:
        """Lay out message headers that point into flat arrays."""
        self._batch = max(16, min(1024, (64 << 20) // self._snaplen))
        self._frames = np.zeros((self._batch, self._snaplen), np.uint8)
        self._addresses = np.zeros((self._batch, _ADDRESS), np.uint8)
        self._controls = np.zeros((self._batch, _CONTROL), np.uint8)
        vectors = np.zeros((self._batch, 2), np.uint64)
        vectors[:, 0] = self._frames.ctypes.data + np.arange(self._batch, dtype=np.uint64) * np.uint64(self._snaplen)
        vectors[:, 1] = self._snaplen
        self._vectors = vectors
        # struct msghdr on 64 bits: name, namelen(+pad), iov, iovlen, control, controllen, flags(+pad); then msg_len(+pad)
        headers = np.zeros((self._batch, _HEADER // 8), np.uint64)
        step = np.arange(self._batch, dtype=np.uint64)
        headers[:, 0] = self._addresses.ctypes.data + step * np.uint64(_ADDRESS)
        headers[:, 1] = _ADDRESS
        headers[:, 2] = vectors.ctypes.data + step * np.uint64(16)
        headers[:, 3] = 1
        headers[:, 4] = self._controls.ctypes.data + step * np.uint64(_CONTROL)
        headers[:, 5] = _CONTROL
        self._fresh, self._headers = headers, headers.copy()
        self._arrays(0)  # compiles it before frames come in
        libc = ctypes.CDLL(None, use_errno=True)  # a call through it releases the GIL
        self._recvmmsg = libc.recvmmsg
        self._recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._scapy.close()

    def statistics(self) -> int:
        """Packets dropped by the kernel so far."""
        raw = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)  # reading it sets it back
        self.kernel_dropped += struct.unpack("II", raw)[1]
        return self.kernel_dropped

    def wait(self, seconds: float) -> bool:
        """Sleep until there are frames, at most ``seconds``."""
        return bool(self._poll.poll(max(0, int(seconds * 1000))))

    def take(self) -> tuple[FrameBatch, bool]:
        """Frames that are there now, at most 1024 at once, and whether there may be more. Never waits.

        Raises
        ------
        CaptureError
            The interface has gone.
        """
        self._headers[:] = self._fresh
        got = self._recvmmsg(self._socket.fileno(), self._headers.ctypes.data, self._batch, _MSG_DONTWAIT | _MSG_TRUNC, None)
        if got < 0:
            number = ctypes.get_errno()
            if number in (errno.EAGAIN, errno.EINTR):
                return FrameBatch.empty(), False
            if number == errno.ENETDOWN and self._exists():  # down for now: reported once, frames come again when it is up
                return FrameBatch.empty(), False
            raise CaptureError(f"interface {self.interface}: {os.strerror(number)}", "ip link show lists the interfaces")
        return self._arrays(got), got == self._batch

    def _arrays(self, got: int) -> FrameBatch:
        """The first ``got`` messages as a batch."""
        headers, ethernet = self._headers.view(np.uint8), self.link_type == 1
        ts, wire, data, offsets = _parse(got, headers, self._addresses, self._controls, self._frames, self._loopback, self.index, ethernet)
        return FrameBatch(ts, wire, np.full(len(ts), self.link_type, np.uint16), data, offsets)

    def _exists(self) -> bool:
        try:
            return socket.if_nametoindex(self.interface) == self.index
        except OSError:
            return False


@njit(cache=True, nogil=True, inline="always")
def _number(b, at, size):  # type: ignore[no-untyped-def]
    """Little-endian integer (the kernel's structures on the machines that Numba supports here)."""
    value = np.int64(0)
    for k in range(size):
        value |= np.int64(b[at + k]) << (8 * k)
    return value


@njit(cache=True, nogil=True)
def _parse(got, headers, addresses, controls, frames, loopback, index, ethernet):  # type: ignore[no-untyped-def]
    """Messages of ``recvmmsg`` to flat arrays; restores the VLAN tag that the kernel took out of the frame."""
    snaplen = frames.shape[1]
    ts = np.empty(got, np.int64)
    wire = np.empty(got, np.uint32)
    offsets = np.zeros(got + 1, np.int64)
    data = np.empty(got * snaplen, np.uint8)
    n = 0
    total = 0
    for i in range(got):
        address = addresses[i]
        if _number(address, 4, 4) != index or (loopback and address[10] == 4):  # PACKET_OUTGOING
            continue
        length = _number(headers[i], 56, 4)
        control_length = min(_number(headers[i], 40, 8), _CONTROL)
        time = np.int64(0)
        tag = np.int64(-1)
        protocol = np.int64(0x8100)
        at = np.int64(0)
        while at + 16 <= control_length:
            size = _number(controls[i], at, 8)
            if size < 16:
                break
            level = _number(controls[i], at + 8, 4)
            kind = _number(controls[i], at + 12, 4)
            if level == 1 and kind == 35:
                time = _number(controls[i], at + 16, 8) * 1_000_000_000 + _number(controls[i], at + 24, 8)
            elif level == 263 and kind == 8:
                status = _number(controls[i], at + 16, 4)
                if status & 0x10:  # TP_STATUS_VLAN_VALID
                    tag = _number(controls[i], at + 32, 2)
                    if status & 0x40:  # TP_STATUS_VLAN_TPID_VALID
                        protocol = _number(controls[i], at + 34, 2)
            at += (size + 7) // 8 * 8
        keep = min(length, snaplen)
        if tag >= 0 and ethernet and keep >= 12:
            length += 4
            keep = min(length, snaplen)
            frame = frames[i]
            for k in range(12):
                data[total + k] = frame[k]
            shim = (protocol >> 8, protocol & 0xFF, tag >> 8, tag & 0xFF)
            for k in range(min(4, keep - 12)):
                data[total + 12 + k] = shim[k]
            for k in range(16, keep):
                data[total + k] = frame[k - 4]
        else:
            for k in range(keep):
                data[total + k] = frames[i, k]
        ts[n] = time
        wire[n] = length
        total += keep
        n += 1
        offsets[n] = total
    return ts[:n].copy(), wire[:n].copy(), data[:total].copy(), offsets[: n + 1].copy()
