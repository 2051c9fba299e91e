"""The hosts of a generated site: who talks, with which stack, from how far away.

Outside addresses come from the blocks reserved for documentation and benchmarks (RFC 2544, 5737, 3849), so that no real party appears in
a generated capture. Clients, servers, remote users and attackers share these blocks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from sensors.generate import templates as tp

MS = 1_000_000

#: Outside blocks: (network, prefix length).
_OUTSIDE = ((0xC6120000, 15), (0xC6120000, 15), (0xC6120000, 15), (0xCB007100, 24), (0xC6336400, 24), (0xC0000200, 24))
_V6_OUTSIDE = 0x20010DB8 << 32


@dataclass(frozen=True)
class Stack:
    """How an operating system or tool fills TCP/IP headers."""

    name: str
    syn: int  # header kind of its SYN
    windows: tuple[int, ...]  # initial windows it is seen with
    wscale: tuple[int, ...]
    timestamps: bool
    sack: bool
    ttl: int
    ports: tuple[int, int]  # ephemeral range
    ident: str  # IPv4 identification: "zero", "counter", "random"


LINUX = Stack("linux", tp.TCP_SYN_LINUX, (64240, 64240, 29200, 65535, 42340), (7, 7, 9, 10), True, True, 64, (32768, 60999), "random")
WINDOWS = Stack("windows", tp.TCP_SYN_WINDOWS, (64240, 65535, 8192, 64240), (8, 8, 2), False, True, 128, (49152, 65535), "counter")
BSD = Stack("bsd", tp.TCP_SYN_BSD, (65535, 65535, 65228), (6, 5, 7), True, True, 64, (49152, 65535), "zero")
DEVICE = Stack("device", tp.TCP_MSS, (5840, 2920, 4096, 5744, 1024, 16384), (0,), False, False, 255, (1025, 20000), "counter")
OLD = Stack("old", tp.TCP_MSS, (512, 1024, 2048, 3072, 4096, 65535), (0,), False, False, 64, (1025, 65535), "random")
BARE = Stack("bare", tp.TCP_PLAIN, (1024, 512, 2048, 65535, 8192, 14600), (0,), False, False, 255, (1025, 65535), "random")

_ANY = (LINUX, LINUX, LINUX, WINDOWS, WINDOWS, WINDOWS, BSD, BSD, DEVICE, OLD)
_SERVERS = (LINUX, LINUX, LINUX, LINUX, WINDOWS, BSD)


@dataclass(slots=True)
class Host:
    """One host as the capture point sees it.

    ``rtt`` is the round trip between capture point and host, ``jitter`` the mean of what is added to it, both ns.
    """

    ip4: int
    ip6: int
    mac: int
    stack: Stack
    window: int
    wscale: int
    ttl: int
    rtt: int
    jitter: int
    outside: bool
    vlan: int
    next_port: int
    boot: int  # TCP timestamp clock at the start of the scenario

    def port(self, rng: random.Random) -> int:
        """The next ephemeral port; goes round the stack's range before one is used again."""
        low, high = self.stack.ports
        self.next_port += rng.randint(1, 3)
        if self.next_port > high:
            self.next_port = low + self.next_port % 3
        return self.next_port

    def delay(self, rng: random.Random) -> int:
        """One round trip to the host and back, ns."""
        return self.rtt + int(rng.expovariate(1.0) * self.jitter)


class World:
    """All hosts of a scenario, drawn from its seed."""

    def __init__(self, rng: random.Random, clients: int, servers: int, outside: int) -> None:
        self._rng = rng
        self._used: set[int] = set()
        self._site = (10 << 24) | (rng.randrange(256) << 16) | (rng.randrange(0, 256, 8) << 8)
        self._site6 = (0xFD << 56) | (rng.getrandbits(40) << 16)
        self._router = 0x02_00_5E_00_00_00 | rng.getrandbits(24)
        self._client_vlan = rng.choice((0, 0, rng.randrange(2, 4000)))
        self.clients = [self._inside(rng.choice(_ANY), self._client_vlan) for _ in range(clients)]
        self.servers = [self._inside(rng.choice(_SERVERS), 0) for _ in range(servers)]
        self.sites = [self.outsider(rng.choice(_SERVERS)) for _ in range(outside)]
        self.users = [self.outsider(rng.choice(_ANY)) for _ in range(outside)]
        self.resolver = self.servers[0]
        self.monitor = self.servers[-1]
        self._icmp: dict[tuple[int, int], int] = {}

    def claim_icmp(self, one: Host, other: Host, label: int) -> bool:
        """Whether ICMP between two hosts may carry ``label``: a pair's ICMP is one flow, so it can have one label only."""
        key = (min(one.ip4, other.ip4), max(one.ip4, other.ip4))
        return self._icmp.setdefault(key, label) == label

    def user(self, rng: random.Random) -> Host:
        """A remote user: sometimes a known one, often somebody new."""
        if rng.random() < 0.6:
            return rng.choice(self.users)
        self.users[rng.randrange(len(self.users))] = new = self.outsider(rng.choice(_ANY), rng)
        return new

    def attacker(self, rng: random.Random) -> Host:
        """An attacking host: new, one of the known remote users, or a host inside; its tool may bring its own stack."""
        draw = rng.random()
        if draw < 0.3:
            return rng.choice(self.users)
        if draw < 0.5:
            return rng.choice(self.clients)
        return self.outsider(rng.choice(_ANY), rng)

    def address(self, rng: random.Random) -> int:
        """Some outside IPv4 address, used or not (IPv4 as an int)."""
        network, prefix = rng.choice(_OUTSIDE)
        return network + rng.randrange(1, (1 << (32 - prefix)) - 1)

    def outsider(self, stack: Stack, rng: random.Random | None = None) -> Host:
        """A new outside host, behind the router."""
        rng = rng or self._rng
        ip4 = self.address(rng)
        while ip4 in self._used:
            ip4 = self.address(rng)
        rtt = int(rng.lognormvariate(3.4, 0.7) * MS)  # median 30 ms
        jitter = int(rtt * rng.uniform(0.01, 0.12))
        ip6 = (_V6_OUTSIDE | rng.getrandbits(32)) << 64 | rng.getrandbits(64)
        return self._host(rng, stack, ip4, ip6, self._router, stack.ttl - rng.randint(4, 22), rtt, jitter, True, 0)

    def _inside(self, stack: Stack, vlan: int) -> Host:
        rng = self._rng
        ip4 = self._site + rng.randrange(10, 2040)
        while ip4 in self._used:
            ip4 = self._site + rng.randrange(10, 2040)
        mac = (0x02 << 40) | rng.getrandbits(40)
        ip6 = self._site6 << 64 | rng.getrandbits(64)
        rtt = int(rng.lognormvariate(-1.4, 0.6) * MS)  # median 0.25 ms
        return self._host(rng, stack, ip4, ip6, mac, stack.ttl, rtt, max(1, rtt // 3), False, vlan)

    def _host(
        self,
        rng: random.Random,
        stack: Stack,
        ip4: int,
        ip6: int,
        mac: int,
        ttl: int,
        rtt: int,
        jitter: int,
        outside: bool,
        vlan: int,
    ) -> Host:
        self._used.add(ip4)
        return Host(
            ip4=ip4,
            ip6=ip6,
            mac=mac,
            stack=stack,
            window=rng.choice(stack.windows),
            wscale=rng.choice(stack.wscale),
            ttl=ttl,
            rtt=rtt,
            jitter=jitter,
            outside=outside,
            vlan=vlan,
            next_port=rng.randint(*stack.ports),
            boot=rng.getrandbits(31),
        )
