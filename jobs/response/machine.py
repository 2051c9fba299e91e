"""Addresses that must stay reachable: this machine's, its gateways and DNS servers, our servers, and of whoever is logged in here."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from infra.config import Settings
from infra.errors import ConfigError
from jobs.response.addresses import Network, mapped_away, target

#: Never to be blocked on any machine (IANA's registries of special-purpose addresses, RFC 6890).
ALWAYS: tuple[tuple[str, str], ...] = (
    ("127.0.0.0/8", "loopback"),
    ("::1/128", "loopback"),
    ("169.254.0.0/16", "link-local addresses"),
    ("fe80::/10", "link-local addresses"),
    ("224.0.0.0/4", "multicast"),
    ("ff00::/8", "multicast"),
    ("255.255.255.255/32", "the broadcast address"),
    ("0.0.0.0/8", "unspecified addresses"),
    ("::/128", "the unspecified address"),
    ("240.0.0.0/4", "reserved addresses"),
)
#: Of a whole route table, a line that is up and has a gateway (linux/route.h).
_UP, _GATEWAY = 0x1, 0x2
#: Seconds for all names of servers together.
_NAMES_S = 3.0


@dataclass(frozen=True)
class Protected:
    """A network that is never blocked, and why."""

    network: Network
    why: str


@dataclass(frozen=True)
class Surroundings:
    """All that is protected; ``unresolved``: names of servers that have no address now, and so no protection."""

    protected: tuple[Protected, ...]
    unresolved: tuple[str, ...] = ()

    def why_not(self, network: Network) -> str:
        """Why a network must not be blocked; empty: it may."""
        for one in self.protected:
            if one.network.version == network.version and one.network.overlaps(network):
                return one.why if one.network.supernet_of(network) else f"it covers {one.network}: {one.why}"  # type: ignore[arg-type]
        return ""


def surroundings(settings: Settings, root: Path = Path("/")) -> Surroundings:
    """What must not be blocked from this machine.

    Parameters
    ----------
    settings
        Their ``response.protected``, and the servers they name.
    root
        Under which ``proc/net/route`` and ``etc/resolv.conf`` are read.
    """
    addresses, unresolved = _servers(settings)
    networks = [(ip_network(text), why) for text, why in ALWAYS]
    networks += [(ip_network(text, strict=False), "response.protected of the settings") for text in settings.response.protected]
    singles = [*_own(), *gateways(root), *dns(root), *_logged_in(), *addresses]
    networks += [(ip_network(address), why) for address, why in singles]
    # What is protected in its mapped form is protected as what it is.
    return Surroundings(tuple(Protected(mapped_away(network), why) for network, why in networks), tuple(unresolved))


_Named = tuple[IPv4Address | IPv6Address, str]


def _own() -> Iterator[_Named]:
    for name, addresses in psutil.net_if_addrs().items():
        for one in addresses:
            for text, why in ((one.address, "an address of this machine"), (one.broadcast, "a broadcast address of this machine")):
                if one.family in (socket.AF_INET, socket.AF_INET6) and text and (found := _parsed(text)):
                    yield found, f"{why} ({name})"


def gateways(root: Path = Path("/")) -> Iterator[_Named]:
    """Gateways of the kernel's routes: ``/proc/net/route`` (IPv4, in the machine's byte order) and ``/proc/net/ipv6_route``."""
    for line in _lines(root / "proc/net/route")[1:]:
        parts = line.split()
        if len(parts) > 3 and int(parts[3], 16) & (_UP | _GATEWAY) == _UP | _GATEWAY:
            yield IPv4Address(socket.ntohl(int(parts[2], 16))), f"a gateway of this machine ({parts[0]})"
    for line in _lines(root / "proc/net/ipv6_route"):
        parts = line.split()
        if len(parts) > 9 and int(parts[8], 16) & (_UP | _GATEWAY) == _UP | _GATEWAY:
            yield IPv6Address(int(parts[4], 16)), f"a gateway of this machine ({parts[9]})"


def dns(root: Path = Path("/")) -> Iterator[_Named]:
    """Name servers: resolv.conf(5), and what systemd-resolved asks behind its own."""
    for file in ("etc/resolv.conf", "run/systemd/resolve/resolv.conf"):
        for line in _lines(root / file):
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver" and (found := _parsed(words[1])):
                yield found, "a DNS server of this machine"


def _logged_in() -> Iterator[_Named]:
    """Who types this over SSH would lock himself out; sudo takes the variable away, the list of sessions stays."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    for text in [*words[:1], *(user.host or "" for user in psutil.users())]:
        if found := _parsed(text):
            yield found, "an address that somebody is logged in here from"


def _servers(settings: Settings) -> tuple[list[_Named], list[str]]:
    named: dict[str, str] = {}
    for where in settings.kafka.bootstrap_servers.split(","):
        named.setdefault(urlsplit(f"//{where.strip()}").hostname or "", "our Kafka (kafka.bootstrap_servers)")
    named.setdefault(settings.hot.host, "our PostgreSQL (hot.host)")
    named.setdefault(settings.alerts.host, "our PostgreSQL (alerts.host)")
    for url, why in (
        (settings.lake.s3_endpoint, "our object store (lake.s3_endpoint)"),
        (settings.trino.url, "our Trino (trino.url)"),
        (settings.scoring.tracking_uri, "our model registry (scoring.tracking_uri)"),
        (settings.response.webhook_url, "the webhook (response.webhook_url)"),
    ):
        named.setdefault(urlsplit(url).hostname or "", why)
    hosts = [name for name in named if name and not name.startswith("/")]
    answers = _resolved(hosts)
    found = [(address, named[name]) for name, addresses in answers.items() for address in addresses]
    return found, [name for name in hosts if not answers.get(name)]


def _resolved(hosts: Sequence[str]) -> dict[str, list[IPv4Address | IPv6Address]]:
    """Addresses of names, side by side: a resolver that hangs delays a block by :data:`_NAMES_S` and no longer."""
    answers: dict[str, list[IPv4Address | IPv6Address]] = {}

    def resolve(name: str) -> None:
        with suppress(OSError, ValueError):
            infos = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            answers[name] = [ip_address(str(info[4][0]).partition("%")[0]) for info in infos]

    threads = [threading.Thread(target=resolve, args=(name,), daemon=True) for name in hosts]
    for thread in threads:
        thread.start()
    end = time.monotonic() + _NAMES_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(answers)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return target(text.partition("%")[0]).network_address
    except ConfigError:  # what the system writes there and is no address, protects nothing
        return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
