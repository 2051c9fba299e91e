"""Settings of the enrichment, as users write them."""

from __future__ import annotations

import pytest
import yaml
from pydantic import ValidationError

from jobs.enriching.settings import EnrichmentSettings, resolver_address, service_key

WRITTEN = """
dns:
  enabled: true
  resolver: "system"
  timeout_ms: 500
  cache_ttl_seconds: 3600
  negative_cache_ttl_seconds: 300
  max_concurrent_lookups: 100
geoip:
  enabled: true
  database_path: "/data/GeoLite2-City.mmdb"
  asn_database_path: "/data/GeoLite2-ASN.mmdb"
cloud:
  aws:
    enabled: true
    regions: ["us-east-1", "us-west-2"]
    refresh_interval_seconds: 300
  azure:
    enabled: false
  gcp:
    enabled: false
cache:
  backend: "memory"
  redis_url: "redis://localhost:6379/0"
  max_memory_entries: 100000
"""


def test_a_file_of_users_is_understood() -> None:
    settings = EnrichmentSettings(**yaml.safe_load(WRITTEN))
    assert settings.cloud.aws.regions == ("us-east-1", "us-west-2")
    assert settings.dns.enabled
    assert settings.dns.scope == "internal"


def test_nobody_is_asked_unless_it_is_said() -> None:
    settings = EnrichmentSettings()
    assert not settings.dns.enabled
    assert not any((settings.cloud.aws.enabled, settings.cloud.azure.enabled, settings.cloud.gcp.enabled))
    assert settings.cache.backend == "memory"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dns": {"resolver": "ns.example.org"}}, "'ns.example.org' is no resolver"),
        ({"dns": {"resolver": "192.0.2.1"}}, "is no resolver"),
        ({"dns": {"resolver": "192.0.2.1:0"}}, "is no resolver"),
        ({"dns": {"resolver": "192.0.2.256:53"}}, "no address"),
        ({"dns": {"resolver": "[::g]:53"}}, "is no resolver"),
        ({"dns": {"scope": "off"}}, "Input should be"),
        ({"geoip": {"database_path": "city.mmdb"}}, "'city.mmdb' is no absolute path"),
        ({"cloud": {"aws": {"ranges_path": "ip-ranges.json"}}}, "is no absolute path"),
        ({"cloud": {"aws": {"enabled": True}}}, "regions names nothing to ask for"),
        ({"cloud": {"azure": {"enabled": True}}}, "subscriptions names nothing to ask for"),
        ({"cloud": {"gcp": {"enabled": True}}}, "projects names nothing to ask for"),
        ({"cache": {"redis_url": "http://127.0.0.1"}}, "no redis:// or rediss:// address"),
        ({"cache": {"redis_url": "redis://:hidden@127.0.0.1/0"}}, "cache.redis_password"),
        ({"internal": ["10.0.0.1/8"]}, "the network is 10.0.0.0/8"),
        ({"services": {"443": "x"}}, "'443' is no port and protocol"),
        ({"services": {"443/icmp": "x"}}, "no port and protocol"),
        ({"services": {"443/tcp": "A b"}}, "no name of a service"),
        ({"dns": {"enabled": True, "server": "x"}}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        EnrichmentSettings(**given)
    told = [problem["msg"] for problem in error.value.errors(include_input=False)]
    assert said in told[0]
    assert "hidden" not in "".join(told)


def test_resolvers_and_services_as_people_write_them() -> None:
    assert resolver_address("system") is None
    assert resolver_address("192.0.2.53:5353") == ("192.0.2.53", 5353)
    assert resolver_address("[2001:db8::53]:53") == ("2001:db8::53", 53)
    assert service_key("5060/sctp") == (5060, 132)
