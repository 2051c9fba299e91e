"""Settings of the enrichment: section ``enrichment`` of a source that wants it."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from infra.errors import FlowlakeError
from infra.networks import network
from infra.sections import Section

#: RFC 1918, RFC 6598 (carrier-grade NAT), loopback and link-local (RFC 1122, 3927, 4291), unique local addresses (RFC 4193).
INTERNAL = (
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    *("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10", "fc00::/7"),
)
_RESOLVER = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>\d+\.\d+\.\d+\.\d+)):(?P<port>\d{1,5})")


def resolver_address(text: str) -> tuple[str, int] | None:
    """``127.0.0.1:53`` or ``[::1]:53`` as address and port; ``None`` for ``system``.

    Raises
    ------
    ValueError
        It is neither.
    """
    if text == "system":
        return None
    match = _RESOLVER.fullmatch(text)
    if not match or not 0 < int(match["port"]) < 65_536:
        raise ValueError(f"{text!r} is no resolver: system, 192.0.2.53:53 or [2001:db8::53]:53")
    try:
        network(match["v6"] or match["v4"])
    except FlowlakeError as e:
        raise ValueError(f"{text!r}: {e}") from e
    return match["v6"] or match["v4"], int(match["port"])


def _absolute(path: str) -> str:
    if path and not path.startswith("/"):
        raise ValueError(f"{path!r} is no absolute path: the tasks of a stream have other working folders")
    return path


class DnsSettings(Section):
    """Names of addresses, by reverse DNS. Never waited for unless ``wait_ms`` says so: a name comes with a later batch."""

    enabled: bool = Field(False, description="ask for names of addresses; whoever runs the resolver learns which addresses talk")
    scope: Literal["internal", "all"] = Field("internal", description="of which addresses; all: the owners of outside addresses see it")
    resolver: str = Field("system", description="host:port of the DNS server ([::1]:53 for IPv6); system: those of /etc/resolv.conf")
    timeout_ms: int = Field(500, ge=10, le=60_000, description="milliseconds for one name")
    wait_ms: int = Field(0, ge=0, le=60_000, description="milliseconds that a batch may wait for names of its own addresses; 0: never")
    cache_ttl_seconds: int = Field(3600, ge=1, description="seconds that a name holds")
    negative_cache_ttl_seconds: int = Field(300, ge=1, description="seconds until an address without a name is asked for again")
    max_concurrent_lookups: int = Field(100, ge=1, le=1000, description="lookups at once, in each process")
    lookups_per_second: float = Field(100.0, gt=0, le=100_000, description="lookups a second at most, in each process")
    max_waiting: int = Field(10_000, ge=1, description="addresses that wait for their lookup; more are asked for when they are seen again")

    @field_validator("resolver")
    @classmethod
    def _address(cls, text: str) -> str:
        resolver_address(text)
        return text


class GeoIpSettings(Section):
    """Country, place and autonomous system, from files in the MaxMind DB format."""

    enabled: bool = Field(True, description="look places up, where a file or the package geoip2fast is there")
    database_path: str = Field(
        "", description="absolute path of a City or Country database (.mmdb); each process keeps a copy in the temporary folder"
    )
    asn_database_path: str = Field("", description="absolute path of an ASN database (.mmdb)")

    @field_validator("database_path", "asn_database_path")
    @classmethod
    def _path(cls, path: str) -> str:
        return _absolute(path)


class _Provider(Section):
    ranges_path: str = Field("", description="absolute path of the file of address ranges that the provider publishes (JSON)")
    enabled: bool = Field(False, description="ask the provider's API for our own instances and their addresses")
    refresh_interval_seconds: int = Field(300, ge=10, description="seconds between two questions to the API")

    @field_validator("ranges_path")
    @classmethod
    def _path(cls, path: str) -> str:
        return _absolute(path)

    def _asked(self, key: str, example: str) -> None:
        """Refuse an API that is to be asked for nothing."""
        if self.enabled and not getattr(self, key):
            raise ValueError(f"enabled, but {key} names nothing to ask for: {key}: [{example}], or enabled: false")


class AwsSettings(_Provider):
    """Amazon Web Services: ``ip-ranges.json``, and instances of EC2. Keys come from the environment, as boto3 reads them."""

    regions: tuple[str, ...] = Field((), description="regions whose instances are asked for")

    @model_validator(mode="after")
    def _complete(self) -> AwsSettings:
        self._asked("regions", "us-east-1")
        return self


class AzureSettings(_Provider):
    """Microsoft Azure: ``ServiceTags_Public.json``, and network interfaces. Authorised by the managed identity of the machine."""

    subscriptions: tuple[str, ...] = Field((), description="subscriptions whose network interfaces are asked for")

    @model_validator(mode="after")
    def _complete(self) -> AzureSettings:
        self._asked("subscriptions", "00000000-0000-0000-0000-000000000000")
        return self


class GcpSettings(_Provider):
    """Google Cloud: ``cloud.json``, and instances. Authorised by the service account of the machine."""

    projects: tuple[str, ...] = Field((), description="projects whose instances are asked for")

    @model_validator(mode="after")
    def _complete(self) -> GcpSettings:
        self._asked("projects", "my-project")
        return self


class CloudSettings(Section):
    """Which addresses are of a cloud."""

    aws: AwsSettings = AwsSettings()
    azure: AzureSettings = AzureSettings()
    gcp: GcpSettings = GcpSettings()


class CacheSettings(Section):
    """What is remembered of addresses."""

    backend: Literal["memory", "redis"] = Field("memory", description="redis: names found by one process are known to all")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="redis:// or rediss:// address, without a password")
    redis_password: SecretStr = Field(SecretStr(""), description="password of the Redis server")
    max_memory_entries: int = Field(100_000, ge=16, description="addresses remembered in each process, about 0.7 kB each")

    @field_validator("redis_url")
    @classmethod
    def _address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and (parts.port or 6379) > 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("no redis:// or rediss:// address")  # which may hold a secret: not quoted
        if parts.password:
            raise ValueError("a password in the address is not taken: set cache.redis_password, by the environment")
        return url


class EnrichmentSettings(Section):
    """What is found out about the addresses of flows."""

    internal: tuple[str, ...] = Field(INTERNAL, description="our networks: they decide what is internal, comes in and goes out")
    services: dict[str, str] = Field(default_factory=dict, description="port/protocol -> name of a service, beside ours: 8443/tcp")
    reload_seconds: float = Field(30.0, gt=0, description="seconds between two looks whether a file has changed")
    dns: DnsSettings = DnsSettings()
    geoip: GeoIpSettings = GeoIpSettings()
    cloud: CloudSettings = CloudSettings()
    cache: CacheSettings = CacheSettings()

    @field_validator("internal")
    @classmethod
    def _networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            try:
                network(one)
            except FlowlakeError as e:
                raise ValueError(f"{e}: {e.hint}") from e
        return given

    @field_validator("services")
    @classmethod
    def _services(cls, given: dict[str, str]) -> dict[str, str]:
        for key, name in given.items():
            service_key(key)
            if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,39}", name):
                raise ValueError(f"{key}: {name!r} is no name of a service: lower case letters, digits, dots, dashes, underscores")
        return given


#: Protocols that have ports, by the names that people write.
PORT_PROTOCOLS = {"tcp": 6, "udp": 17, "dccp": 33, "sctp": 132}


def service_key(text: str) -> tuple[int, int]:
    """``443/tcp`` as port and number of the protocol.

    Raises
    ------
    ValueError
        It is neither.
    """
    port, _, protocol = text.partition("/")
    if not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65_536 or protocol not in PORT_PROTOCOLS:
        raise ValueError(f"{text!r} is no port and protocol: 443/tcp, 53/udp, 5060/sctp")
    return int(port), PORT_PROTOCOLS[protocol]
