"""GeoSource from real database files."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from infra.errors import ConfigError
from jobs.enriching.geo import NOWHERE, GeoPlace, places, read_place
from jobs.enriching.settings import GeoIpSettings
from tests.unit.enriching import mmdbfile

BERLIN = {
    "country": {"iso_code": "DE", "names": {"en": "Germany"}},
    "city": {"names": {"en": "Berlin", "de": "Berlin"}},
    "location": {"latitude": 52.5, "longitude": 13.25},
}
CITIES = {"192.0.2.0/24": BERLIN, "2001:db8::/32": {"registered_country": {"iso_code": "JP"}}}
SYSTEMS = {"192.0.2.0/25": {"autonomous_system_number": 64_500, "autonomous_system_organization": "Example Net"}}


@pytest.fixture
def settings(tmp_path: Path) -> GeoIpSettings:
    city, asn = mmdbfile.write(tmp_path / "city.mmdb", CITIES), mmdbfile.write(tmp_path / "asn.mmdb", SYSTEMS, version=4)
    return GeoIpSettings(database_path=str(city), asn_database_path=str(asn))


def test_both_files_say_one_place(settings: GeoIpSettings) -> None:
    known = places(settings)
    assert known.place(ip_address("192.0.2.1")) == GeoPlace("DE", "Berlin", 52.5, 13.25, 64_500, "Example Net")
    assert known.place(ip_address("192.0.2.200")) == GeoPlace("DE", "Berlin", 52.5, 13.25)
    assert known.place(ip_address("2001:db8::1")) == GeoPlace("JP")  # which a file of IPv4 alone is not asked for
    assert known.place(ip_address("198.51.100.1")) == NOWHERE


def test_a_changed_file_is_read_again(settings: GeoIpSettings) -> None:
    known = places(settings)
    assert not known.look()
    mmdbfile.write(Path(settings.database_path), {"198.51.100.0/24": BERLIN})
    assert known.look()
    assert known.place(ip_address("198.51.100.1")).city == "Berlin"
    assert known.place(ip_address("192.0.2.1")).city is None


def test_a_file_that_is_replaced_by_a_damaged_one_stays_in_use(settings: GeoIpSettings, caplog: pytest.LogCaptureFixture) -> None:
    known = places(settings)
    damaged = Path(settings.database_path).with_suffix(".damaged")
    damaged.write_bytes(b"half a file")
    damaged.rename(settings.database_path)
    assert not known.look()
    assert not known.look()  # and is said once
    assert known.place(ip_address("192.0.2.1")).city == "Berlin"


def test_a_file_may_be_overwritten_in_place(settings: GeoIpSettings) -> None:
    known = places(settings)
    path = Path(settings.database_path)
    whole = path.read_bytes()
    path.write_bytes(b"x")  # a copy that has just begun
    assert known.place(ip_address("192.0.2.1")).city == "Berlin"
    assert not known.look()
    path.write_bytes(bytes(len(whole) // 2) + whole[len(whole) // 2 :])  # and one whose metadata are whole and its tree is not
    assert known.look()
    assert known.place(ip_address("192.0.2.1")) == GeoPlace(asn=64_500, as_org="Example Net")
    path.write_bytes(whole)
    assert known.look()
    assert known.place(ip_address("192.0.2.1")).city == "Berlin"


@pytest.mark.parametrize("content", [None, b"", b"no database", b"\xab\xcd\xefMaxMind.com", bytes(4096)])
def test_a_missing_or_damaged_file_is_named_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "city.mmdb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"enrichment.geoip.database_path: .*city.mmdb: ") as error:
        places(GeoIpSettings(database_path=str(path)))
    assert "enrichment.geoip.database_path" in error.value.hint
    assert "flowlake-places" not in str(error.value)  # the copy is nobody's concern


def test_places_can_be_switched_off(settings: GeoIpSettings) -> None:
    known = places(GeoIpSettings(enabled=False, database_path=settings.database_path))
    assert known.place(ip_address("192.0.2.1")) == NOWHERE
    assert not known.look()


def test_flat_records_and_values_of_another_kind() -> None:
    assert read_place({"country_code": "FR", "city": "Paris", "latitude": 48, "longitude": 2.5}) == GeoPlace("FR", "Paris", 48.0, 2.5)
    odd = {"country": 7, "city": {"names": []}, "location": {"latitude": "north"}, "autonomous_system_number": "AS1"}
    assert read_place(odd) == NOWHERE
    assert read_place({"autonomous_system_organization": "a\nb"}).as_org == r"a\nb"


def test_the_package_with_a_database_of_its_own() -> None:
    pytest.importorskip("geoip2fast", reason="pip install geoip2fast")
    known = places(GeoIpSettings())
    assert len(known.place(ip_address("8.8.8.8")).country or "") == 2
    assert known.place(ip_address("10.0.0.1")) == NOWHERE
    assert not known.look()
