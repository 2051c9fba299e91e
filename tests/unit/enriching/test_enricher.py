"""All columns about the ends of flows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.enriching.addresses import packed
from jobs.enriching.enricher import END_COLUMNS, Enricher, enricher
from jobs.enriching.machines import CloudMachine
from jobs.enriching.settings import AwsSettings, CacheSettings, CloudSettings, DnsSettings, EnrichmentSettings, GeoIpSettings
from schemas.exportedflows import SCHEMA
from tests.unit.enriching import mmdbfile
from tests.unit.enriching.dnsserver import dns_server
from tests.unit.enriching.endpoints import Clock, matrix
from tests.unit.enriching.test_cloudranges import AWS, written
from tests.unit.enriching.test_geo import BERLIN, CITIES, SYSTEMS

DIRECTIONS = ("is_internal", "is_ingress", "is_egress")


def one(made: dict[str, pa.Array], n: int = 0) -> dict[str, object]:
    """Record ``n``, without what is null or false."""
    return {name: column[n].as_py() for name, column in made.items() if column[n].as_py()}


def files(folder: Path) -> EnrichmentSettings:
    city, asn = mmdbfile.write(folder / "city.mmdb", CITIES), mmdbfile.write(folder / "asn.mmdb", SYSTEMS)
    ranges = written(folder / "ip-ranges.json", AWS)
    return EnrichmentSettings(
        geoip=GeoIpSettings(database_path=str(city), asn_database_path=str(asn)), cloud=CloudSettings(aws=AwsSettings(ranges_path=ranges))
    )


def test_columns_are_those_of_the_record_type() -> None:
    for n in (0, 3):
        made = Enricher(EnrichmentSettings()).ends(np.zeros((n, 16), np.uint8), np.zeros((n, 16), np.uint8))
        assert set(made) == {f"{end}_{name}" for end in ("src", "dst") for name in END_COLUMNS} | set(DIRECTIONS)
        assert {name: column.type for name, column in made.items()} == {name: SCHEMA.field(name).type for name in made}
        assert {len(column) for column in made.values()} == {n}
        assert all(column.null_count == (0 if name in DIRECTIONS else n) for name, column in made.items())
        assert not any(any(made[name].to_pylist()) for name in DIRECTIONS)  # of no address, nothing is said


def test_places_and_clouds_of_both_ends(tmp_path: Path) -> None:
    made = Enricher(files(tmp_path)).ends(matrix(["10.0.0.1", "192.0.2.1", ""]), matrix(["192.0.2.1", "3.4.200.1", "10.0.0.1"]))
    berlin = {"country": "DE", "city": "Berlin", "latitude": 52.5, "longitude": 13.25, "asn": 64_500, "as_org": "Example Net"}
    assert one(made, 0) == {**{f"dst_{name}": value for name, value in berlin.items()}, "is_egress": True}
    cloud = {"dst_cloud": "aws", "dst_cloud_region": "eu-central-1", "dst_cloud_service": "EC2"}
    assert one(made, 1) == {**{f"src_{name}": value for name, value in berlin.items()}, **cloud}
    assert one(made, 2) == {}


@pytest.mark.parametrize(
    ("src", "dst", "said"),
    [
        ("10.0.0.1", "192.168.1.1", "is_internal"),
        ("10.0.0.1", "8.8.8.8", "is_egress"),
        ("8.8.8.8", "172.31.255.255", "is_ingress"),
        ("8.8.8.8", "172.32.0.0", ""),
        ("fd00::1", "2001:db8::1", "is_egress"),
        ("100.64.0.1", "fe80::1", "is_internal"),
        ("", "10.0.0.1", ""),
        ("10.0.0.1", "", ""),
    ],
)
def test_ways_in_and_out(src: str, dst: str, said: str) -> None:
    made = Enricher(EnrichmentSettings()).ends(matrix([src]), matrix([dst]))
    assert [name for name in DIRECTIONS if made[name][0].as_py()] == ([said] if said else [])


def test_our_networks_can_be_others() -> None:
    made = Enricher(EnrichmentSettings(internal=("192.0.2.0/24",))).ends(matrix(["192.0.2.1"]), matrix(["10.0.0.1"]))
    assert one(made) == {"is_egress": True}


def test_changed_files_are_seen_after_a_while(tmp_path: Path) -> None:
    settings, clock = files(tmp_path), Clock()
    known = Enricher(settings, clock)
    ask = (matrix(["198.51.100.1"]), matrix(["3.4.200.1"]))
    assert one(known.ends(*ask)).keys() == {"dst_cloud", "dst_cloud_region", "dst_cloud_service"}
    mmdbfile.write(Path(settings.geoip.database_path), {"198.51.100.0/24": BERLIN})
    written(Path(settings.cloud.aws.ranges_path), {"prefixes": [], "ipv6_prefixes": []})
    clock.now += settings.reload_seconds - 1
    assert "src_city" not in one(known.ends(*ask))
    clock.now += 2
    assert one(known.ends(*ask)).keys() == {"src_country", "src_city", "src_latitude", "src_longitude"}


@pytest.mark.parametrize("scope", ["internal", "all"])
def test_names_are_asked_for_within_their_scope(scope: str) -> None:
    with dns_server({"10.0.0.1": "inside.example.org.", "8.8.8.8": "outside.example.org."}) as server:
        dns = DnsSettings(enabled=True, scope=scope, resolver=server.address, wait_ms=20_000)
        known = Enricher(EnrichmentSettings(dns=dns))
        sources = ["10.0.0.1", "127.0.0.1", "169.254.1.1", "fe80::1", "", "224.0.0.1"]
        made = known.ends(matrix(sources), matrix(["8.8.8.8"] * len(sources)))
        assert made["src_hostname"].to_pylist() == ["inside.example.org", *[None] * 5]
        assert made["dst_hostname"].to_pylist() == ["outside.example.org" if scope == "all" else None] * len(sources)
        assert sorted(server.asked) == (["10.0.0.1", "8.8.8.8"] if scope == "all" else ["10.0.0.1"])
        assert known.figures()["names_found"] == len(server.asked)
        known.close()


def test_nobody_is_asked_by_default() -> None:
    with dns_server({}) as server:
        known = Enricher(EnrichmentSettings(dns=DnsSettings(resolver=server.address)))
        known.ends(matrix(["10.0.0.1"]), matrix(["8.8.8.8"]))
        assert known.figures() == {"addresses": 2, "machines": 0}
        assert server.asked == []


def test_machines_of_ours_say_more_than_ranges(tmp_path: Path) -> None:
    known = Enricher(files(tmp_path))
    ask = (matrix(["10.0.0.5"]), matrix(["3.4.200.1"]))
    assert "src_cloud" not in one(known.ends(*ask))
    machine = CloudMachine(packed("10.0.0.5"), "aws", "eu-west-1", "EC2", "web", "i-1")
    known._inventory._take("aws", [machine])
    made = one(known.ends(*ask))
    assert {k: v for k, v in made.items() if k.startswith("src")} == {
        "src_hostname": "web",
        "src_cloud": "aws",
        "src_cloud_region": "eu-west-1",
        "src_cloud_service": "EC2",
    }
    assert made["dst_cloud_region"] == "eu-central-1"


def test_memory_is_bounded_and_batches_are_not() -> None:
    known = Enricher(EnrichmentSettings(cache=CacheSettings(max_memory_entries=16)))
    many = matrix([f"10.0.{n // 250}.{n % 250}" for n in range(1000)])
    made = known.ends(many, many[::-1])
    assert all(made["is_internal"].to_pylist())
    assert known.figures()["addresses"] <= 16


def test_one_enricher_serves_a_process() -> None:
    first = enricher(EnrichmentSettings(reload_seconds=1.5))
    assert enricher(EnrichmentSettings(reload_seconds=1.5)) is first
    assert enricher(EnrichmentSettings(reload_seconds=2.5)) is not first
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # a fork has none of the threads
        os.write(writing, b"y" if enricher(EnrichmentSettings(reload_seconds=1.5)) is not first else b"n")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1) == b"y"
