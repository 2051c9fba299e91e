"""UDP sockets of a listener: IPv6 and IPv4, several on one port, with large buffers and the kernel's count of what it dropped.

Sources: socket(7), udp(7), ipv6(7), ``linux/sock_diag.h``. Where several sockets share a port (SO_REUSEPORT), the kernel chooses by a hash
of both addresses and ports: datagrams of one port of an exporter always reach the same one, in order.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import struct
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from infra.errors import ConfigError

log = logging.getLogger(__name__)

_SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SO_MEMINFO = 33, 35, 55
#: SO_MEMINFO: nine numbers of 32 bits, the last of which counts drops.
_MEMINFO = struct.Struct("=9I")
_DROPS = 8
_HINT = "see who listens: ss -lunp; or set the sensor's addresses and ports"


@dataclass
class FlowSocket:
    """A bound UDP socket.

    Attributes
    ----------
    address, port
        What it listens on, as configured; port 0 has become a real one.
    buffer_bytes
        Of the kernel's buffer: what it gave of what was asked for.
    """

    raw: socket.socket
    address: str
    port: int
    buffer_bytes: int
    _dropped: int = 0
    _last: int = 0

    def dropped(self) -> int:
        """Datagrams that the kernel has dropped since the socket was opened: its buffer was full, or their checksum wrong."""
        with suppress(OSError):  # an old kernel cannot say; a closed socket no more
            now = _MEMINFO.unpack(self.raw.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[_DROPS]
            self._dropped += (now - self._last) % (1 << 32)
            self._last = now
        return self._dropped

    def close(self) -> None:
        """Close it; may be called twice."""
        self.dropped()
        self.raw.close()


def open_sockets(addresses: Sequence[str], ports: Sequence[int], workers: int, buffer_bytes: int) -> list[list[FlowSocket]]:
    """Sockets on each port of each address, as many of each as there are workers.

    Parameters
    ----------
    addresses
        IPv4 or IPv6; ``::`` takes both (IPv4 alone on a machine without IPv6).
    ports
        UDP ports; 0 is any free one.
    workers
        How many share each port.
    buffer_bytes
        Asked for, for each socket. A warning says what the kernel gave if it is less.

    Returns
    -------
    list of list of FlowSocket
        Of each worker.

    Raises
    ------
    ConfigError
        A port is taken, or an address is not this machine's.
    """
    given: list[list[FlowSocket]] = [[] for _ in range(workers)]
    with ExitStack() as opened:
        for address in addresses:
            for port in ports:
                real = _free(address, port)
                for sockets in given:
                    one = _listening(address, real, buffer_bytes)
                    opened.callback(one.close)
                    sockets.append(one)
        opened.pop_all()
    least = min(one.buffer_bytes for sockets in given for one in sockets)
    if least < buffer_bytes:
        log.warning(
            "the kernel gives each socket a buffer of %.1f MB, not %.1f MB: run as root, or set net.core.rmem_max",
            least / (1 << 20),
            buffer_bytes / (1 << 20),
        )
    return given


def _free(address: str, port: int) -> int:
    """The port, if nobody listens there.

    Sharing a port would hide another sensor of ours on it: each would get a part of the exporters.
    """
    raw, target = _socket(address)
    with raw:
        _bind(raw, target, address, port)
        return int(raw.getsockname()[1])


def _listening(address: str, port: int, buffer_bytes: int) -> FlowSocket:
    raw, target = _socket(address)
    try:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        raw.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        granted = _buffer(raw, buffer_bytes)
        _bind(raw, target, address, port)
        raw.setblocking(False)
    except BaseException:
        raw.close()
        raise
    return FlowSocket(raw, address, port, granted)


def _buffer(raw: socket.socket, wanted: int) -> int:
    """Set the receive buffer; what was given."""
    size = min(wanted, (1 << 30) - 1)  # the kernel doubles it for its own book-keeping
    try:
        raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:  # needs CAP_NET_ADMIN; without it net.core.rmem_max is the limit
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    return raw.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def _socket(address: str) -> tuple[socket.socket, str]:
    """A socket for an address, and the address as it is bound to: ``::`` becomes IPv4's where there is no IPv6."""
    version = ipaddress.ip_address(address).version
    if version == 6:
        try:
            raw = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        except OSError as e:
            if e.errno != errno.EAFNOSUPPORT or address != "::":
                raise ConfigError(f"listening on {address}: {e.strerror}", _HINT) from e
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM), "0.0.0.0"
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return raw, address
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM), address


def _bind(raw: socket.socket, target: str, address: str, port: int) -> None:
    try:
        raw.bind((target, port))
    except OSError as e:
        raise ConfigError(f"listening on UDP port {port} of {address}: {e.strerror}", _HINT) from e
