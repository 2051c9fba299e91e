"""Connections that bring no request must not keep others out: uvicorn's protocol, with limits that it has no setting for.

uvicorn counts open connections and refuses requests beyond a number of them, but waits for a request without end. A few hundred connections
that send half of a header (the attack *slowloris*) would then lock everybody out. Here

- a whole request, its body too, must come within a time of the connection's beginning, or of the answer before;
- of connections beyond a number, those go that have waited longest without a request. A newcomer is never refused for them;
- those of one client are counted by themselves, so that nobody loses his place to a crowd from one address.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds in which a request must be there, and in which a client must have read an answer.
REQUEST_S, READ_S = 10.0, 60.0
#: Seconds for a TLS handshake; asyncio's own limit is a minute.
HANDSHAKE_S = 5.0
#: Connections that are kept, and those of one client among them.
MOST, MOST_OF_ONE = 256, 100
_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def client(address: str) -> str:
    """Who is behind an address, for whatever is counted by client: of IPv6 the network, since one customer has all of its addresses.

    Examples
    --------
    >>> client("10.1.2.3"), client("::ffff:10.1.2.3"), client("2001:db8::1"), client("")
    ('10.1.2.3', '10.1.2.3', '2001:db8::/64', '')
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
    return address


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 on one connection, which is closed when it waits too long or where there are too many; see the module."""

    request_s: ClassVar[float] = REQUEST_S
    read_s: ClassVar[float] = READ_S
    most: ClassVar[int] = MOST
    most_of_one: ClassVar[int] = MOST_OF_ONE

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.since = self.loop.time()
        self.who = ""
        self._heard = False
        self._limit: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        """Whether no whole request is being answered."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; one that waits longer may have to go."""
        super().connection_made(transport)
        self.who = client(self.client[0] if self.client else "")
        self._wait(self.request_s)
        others = [one for one in self.connections if isinstance(one, BoundedProtocol)]
        gone = surplus(others, self, self.most, self.most_of_one)
        if gone is not None:
            gone.drop()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; the limit ends with its last."""
        self._heard = True
        super().data_received(data)
        if not self.waiting:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the client to read what is left of the answer."""
        unread = self.transport.get_write_buffer_size() > 0
        self.since = self.loop.time()
        self._wait(self.read_s if unread else self.request_s)
        super().on_response_complete()  # begins with the next request where that is there already
        if not self.waiting:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the limit."""
        self._stop_waiting()
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close at once, whatever is left to be sent."""
        self.connections.discard(self)
        self._stop_waiting()
        self.transport.abort()

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._limit = self.loop.call_later(seconds, self._too_long)

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _too_long(self) -> None:
        self._limit = None
        if self.cycle is None and self._heard and not self.transport.is_closing():
            self.transport.write(_TIMEOUT)
            self.transport.close()  # as abort, but what was written is sent: so few bytes wait for nobody
        else:
            self.drop()


def surplus(connections: Collection[BoundedProtocol], newcomer: BoundedProtocol, most: int, most_of_one: int) -> BoundedProtocol | None:
    """The connection that has to go so that a newcomer may stay; None: there is room, or all of them are being answered.

    Parameters
    ----------
    connections
        All of them, the newcomer too.
    newcomer
        The newest.
    most, most_of_one
        How many may be, and how many of one client.
    """
    of = Counter(one.who for one in connections)
    if of[newcomer.who] <= most_of_one and len(connections) <= most:
        return None
    waiting = [one for one in connections if one.waiting and one is not newcomer]
    if of[newcomer.who] > most_of_one:
        waiting = [one for one in waiting if one.who == newcomer.who] or (waiting if len(connections) > most else [])
    return min(waiting, key=lambda one: (-of[one.who], one.since), default=None)


class HandshakeLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers wait a few seconds for a TLS handshake: uvicorn has no setting for it."""

    async def create_server(self, *given: Any, **named: Any) -> Any:  # type: ignore[override]
        """As asyncio's."""
        if named.get("ssl") is not None:
            named.setdefault("ssl_handshake_timeout", HANDSHAKE_S)
        return await super().create_server(*given, **named)
