"""The name of an address by reverse DNS (RFC 1035, section 3.5; RFC 3596, section 2.5)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from infra.errors import ConfigError, FlowlakeError
from infra.names import printable
from jobs.enriching.settings import DnsSettings, resolver_address

#: Characters of a name at most, as text (RFC 1035, section 2.3.4, without the dot at the end).
LONGEST_NAME = 253


class LookupFailed(FlowlakeError):
    """There is no answer, neither a name nor that there is none."""


class Resolver(Protocol):
    """Who tells names."""

    def name(self, address: IPv4Address | IPv6Address) -> str | None: ...


class DnsResolver:
    """Asks DNS servers; may be called by many threads at once. Each question has a random port and number of its own.

    Raises
    ------
    ConfigError
        The package dnspython is not installed, or the system names no server.
    """

    def __init__(self, settings: DnsSettings) -> None:
        try:
            from dns import resolver
        except ImportError as e:
            raise ConfigError("enrichment.dns.enabled needs the package dnspython, which is not installed", "pip install dnspython") from e
        server = resolver_address(settings.resolver)
        try:
            self._resolver = resolver.Resolver(configure=server is None)
        except resolver.NoResolverConfiguration as e:
            hint = "name a server: enrichment.dns.resolver: 192.0.2.53:53"
            raise ConfigError("enrichment.dns.resolver: system: /etc/resolv.conf names no server", hint) from e
        if server:
            self._resolver.nameservers, self._resolver.port = [server[0]], server[1]
        self._patience = settings.timeout_ms / 1000

    def name(self, address: IPv4Address | IPv6Address) -> str | None:
        """The name; of several, the first in the order of the alphabet, so that it does not change from question to question.

        Returns
        -------
        str or None
            In lower case, without the dot at the end, fit for one line; ``None``: it has none.

        Raises
        ------
        LookupFailed
            No server answers in time, or none that can.
        """
        from dns import exception, resolver, reversename

        try:
            answer = self._resolver.resolve(reversename.from_address(str(address)), "PTR", search=False, lifetime=self._patience)
            names = [record.target.to_text(omit_final_dot=True).lower() for record in answer]
        except (resolver.NXDOMAIN, resolver.NoAnswer):
            return None
        except (exception.DNSException, OSError) as e:
            raise LookupFailed(f"{type(e).__name__}") from e
        return min((printable(name)[:LONGEST_NAME] for name in names if name not in ("", ".", "@")), default=None)
