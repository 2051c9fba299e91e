"""GeoIP files into the hot store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from infra.config import Settings
from infra.errors import ConfigError
from jobs.hotstore import countries
from jobs.sinks import postgres
from schemas.countries import COUNTRIES

pytestmark = pytest.mark.integration

DBIP = "1.0.0.0,1.0.0.255,AU\n2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,NL\n1.0.1.0,1.0.3.255,CN\n"
IPINFO = 'network,country,country_code\n1.0.0.0/24,Australia,AU\n"1.0.1.7/24","C, with a comma",CN\n'
BLOCKS = "network,geoname_id,registered_country_geoname_id\n1.0.0.0/24,2077456,2077456\n2001:db8::/32,2750405,\n1.0.1.0/24,,1\n"
PLACES = "geoname_id,locale_code,country_iso_code,country_name\n2077456,en,AU,Australia\n2750405,en,NL,Netherlands\n"


def quiet(_: str) -> None:
    """Progress is not looked at here."""


@pytest.fixture
def own(database: dict[str, Any], settings: Callable[..., Settings]) -> Settings:
    return settings(hot=database)


def held(own: Settings) -> list[tuple[str, str]]:
    with closing(postgres.connect(own.hot, "test")) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT text(network), country FROM {COUNTRIES} ORDER BY network")
        return list(cursor.fetchall())


class TestCountriesFile:
    def test_three_layouts(self, own: Settings, tmp_path: Path) -> None:
        for name, content in (("dbip", DBIP), ("ipinfo", IPINFO), ("blocks", BLOCKS), ("places", PLACES)):
            (tmp_path / name).write_text(content)
        found = countries.load(own, [tmp_path / "dbip"], None, quiet)
        assert (found.networks, found.refused) == (4, 0)
        assert held(own) == [("1.0.0.0/24", "AU"), ("1.0.1.0/24", "CN"), ("1.0.2.0/23", "CN"), ("2001:db8::/32", "NL")]
        countries.load(own, [tmp_path / "ipinfo"], None, quiet)
        assert held(own) == [("1.0.0.0/24", "Australia"), ("1.0.1.0/24", "C, with a comma")]
        found = countries.load(own, [tmp_path / "blocks"], tmp_path / "places", quiet)
        assert held(own) == [("1.0.0.0/24", "Australia"), ("2001:db8::/32", "Netherlands")]
        assert (found.refused, found.examples) == (1, ["line 4: no country"])

    def test_lines_that_say_nothing_are_counted_and_hostile_text_is_text(self, own: Settings, tmp_path: Path) -> None:
        file = tmp_path / "odd.csv"
        file.write_text("network,country\n1.0.0.0/33,AU\nnonsense\n::1/128,'; DROP TABLE ip_countries; --\n9.0.0.0/8,\n\n8.0.0.0/8,=1+1\n")
        found = countries.load(own, [file], None, quiet)
        assert (found.networks, found.refused) == (2, 3)
        assert held(own) == [("8.0.0.0/8", "=1+1"), ("::1/128", "'; DROP TABLE ip_countries; --")]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "first line is of no known layout"),
            (b"a,b,c\n1,2,3\n", "first line is of no known layout"),
            (b"network,city\n1.0.0.0/8,Bonn\n", "no column of it is a country"),
            (b"network,country\nx,AU\n", "no line says a network and a country: line 2"),
            (b"\xff\xfe\x00", "cannot be read"),
        ],
    )
    def test_a_file_of_another_kind_leaves_what_is_there(self, own: Settings, tmp_path: Path, content: bytes, said: str) -> None:
        good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
        good.write_text(DBIP)
        bad.write_bytes(content)
        countries.load(own, [good], None, quiet)
        before = held(own)
        with pytest.raises(ConfigError, match=said):
            countries.load(own, [bad], None, quiet)
        assert held(own) == before

    def test_a_file_that_is_not_there(self, own: Settings, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none.csv cannot be read: No such file"):
            countries.load(own, [tmp_path / "none.csv"], None, quiet)
