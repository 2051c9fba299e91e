"""Taking datagrams out of a socket, many by one system call.

Sources: recvmmsg(2), socket(7), ``linux/in6.h``; the layout of the structures is that of Linux on 64 bits.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensors.netflow.sockets import FlowSocket

#: Datagrams of one call. Their buffers are as long as a datagram can be: memory that nothing long comes into is never touched.
_BATCH = 256
_LONGEST = 1 << 16
_MSG_DONTWAIT = 0x40
#: Bytes: address (sockaddr_in6: 28), ancillary data (a header of 16, and the time in 16), struct mmsghdr.
_ADDRESS, _CONTROL, _HEADER = 32, 32, 64
#: Of the ancillary data: 32 bits of level, then of kind, as one number.
_TIMESTAMP = socket.SOL_SOCKET | 35 << 32
_MAPPED = np.frombuffer(bytes(10) + b"\xff\xff", np.uint8)


@dataclass(frozen=True, slots=True)
class Drained:
    """Datagrams of one socket, in order: ``columns`` are payloads, senders (16 bytes), their ports, and times of receipt (us)."""

    listening: int
    columns: tuple[list[bytes], list[bytes], list[int], list[int]]

    def __len__(self) -> int:
        return len(self.columns[0])

    @property
    def newest_us(self) -> int:
        """Time of receipt of the last one."""
        return self.columns[3][-1]


class Drain:
    """The buffers of one thread that receives; for one thread only."""

    def __init__(self) -> None:
        self._payloads = np.zeros(_BATCH * _LONGEST, np.uint8)
        self._addresses = np.zeros((_BATCH, _ADDRESS), np.uint8)
        self._controls = np.zeros((_BATCH, _CONTROL // 8), np.int64)
        step = np.arange(_BATCH, dtype=np.uint64)
        self._vectors = np.zeros((_BATCH, 2), np.uint64)
        self._vectors[:, 0] = self._payloads.ctypes.data + step * np.uint64(_LONGEST)
        self._vectors[:, 1] = _LONGEST
        # struct msghdr: name, namelen(+pad), iov, iovlen, control, controllen, flags(+pad); then msg_len(+pad)
        headers = np.zeros((_BATCH, _HEADER // 8), np.uint64)
        headers[:, 0] = self._addresses.ctypes.data + step * np.uint64(_ADDRESS)
        headers[:, 1] = _ADDRESS
        headers[:, 2] = self._vectors.ctypes.data + step * np.uint64(16)
        headers[:, 3] = 1
        headers[:, 4] = self._controls.ctypes.data + step * np.uint64(_CONTROL)
        headers[:, 5] = _CONTROL
        self._fresh, self._headers = headers, headers.copy()
        self._call = ctypes.CDLL(None, use_errno=True).recvmmsg  # a call through it releases the GIL
        self._call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]

    def take(self, source: FlowSocket) -> tuple[Drained | None, bool]:
        """What has come, at most 256 datagrams, and whether there may be more; None: nothing. Never waits.

        Raises
        ------
        OSError
            The socket cannot be read.
        """
        got = self._call(source.raw.fileno(), self._headers.ctypes.data, _BATCH, _MSG_DONTWAIT, None)
        if got < 0:
            number = ctypes.get_errno()
            if number in (errno.EAGAIN, errno.EINTR):
                return None, False
            raise OSError(number, os.strerror(number))
        drained = Drained(source.port, (self._bytes(got), *self._senders(got, source), self._times(got)))
        self._headers[:got] = self._fresh[:got]
        return drained, got == _BATCH

    def _bytes(self, got: int) -> list[bytes]:
        lengths = (self._headers[:got, 7] & np.uint64(0xFFFF_FFFF)).tolist()
        view = self._payloads.data
        return [bytes(view[at : at + n]) for at, n in zip(range(0, got * _LONGEST, _LONGEST), lengths, strict=True)]

    def _senders(self, got: int, source: FlowSocket) -> tuple[list[bytes], list[int]]:
        rows = self._addresses[:got]
        ports = rows[:, 2:4].copy().view(">u2")[:, 0].tolist()
        if source.raw.family == socket.AF_INET6:  # IPv4 comes to it as mapped addresses
            addresses: NDArray[np.uint8] = np.ascontiguousarray(rows[:, 8:24])
        else:
            addresses = np.concatenate([np.broadcast_to(_MAPPED, (got, 12)), rows[:, 4:8]], axis=1)
        whole = addresses.tobytes()
        return [whole[at : at + 16] for at in range(0, 16 * got, 16)], ports

    def _times(self, got: int) -> list[int]:
        """The kernel's times of receipt; now, where it gives none."""
        rows = self._controls[:got]
        stamped = (self._headers[:got, 5] >= _CONTROL) & (rows[:, 1] == _TIMESTAMP)
        times = rows[:, 2] * 1_000_000 + rows[:, 3] // 1000
        found: list[int] = np.where(stamped, times, time.time_ns() // 1000).tolist()
        return found
