"""GeoIP files into the hot store."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config import Settings
from infra.errors import ConfigError
from jobs.hotstore import countries
from jobs.sinks import postgres
from schemas.countries import COUNTRIES, LOADED

pytestmark = pytest.mark.integration

DBIP = "1.0.0.0,1.0.0.255,AU\n2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,NL\n1.0.1.0,1.0.3.255,CN\n"
IPINFO = 'network,country,country_code\n1.0.0.0/24,Australia,AU\n"1.0.1.0/24","C, with a comma",CN\n'
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


def loaded(own: Settings) -> tuple[str, str, int]:
    """What is said of the files: their names, their sums, the number of networks."""
    with closing(postgres.connect(own.hot, "test")) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT file, sha256, networks FROM {LOADED}")
        (row,) = cursor.fetchall()
        return row[0], row[1], int(row[2])


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
        assert (found.refused, found.examples) == (1, ["blocks, line 4: '1.0.1.0/24' has no country"])

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
            (b"network,country\nx,AU\n", "no line says a network and a country: bad.csv, line 2: network 'x'"),
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

    def test_a_pipe_is_read_once_and_its_sum_is_that_of_its_content(self, own: Settings, tmp_path: Path) -> None:
        pipe, file = tmp_path / "pipe", tmp_path / "geo.csv"
        os.mkfifo(pipe)
        file.write_text(IPINFO)
        writer = threading.Thread(target=pipe.write_text, args=(DBIP,), daemon=True)
        writer.start()
        assert countries.load(own, [pipe, file], None, quiet).networks == 4
        writer.join()
        sums = ", ".join(hashlib.sha256(text.encode()).hexdigest() for text in (DBIP, IPINFO))
        assert loaded(own) == (f"{pipe}, geo.csv", sums, 4)

    def test_standard_input_by_the_command(self, own: Settings, tmp_path: Path) -> None:
        conf = tmp_path / "conf.yaml"
        conf.write_text(yaml.safe_dump({"hot": {name: getattr(own.hot, name) for name in ("host", "port", "user", "database")}}))
        secret = {"FLOWLAKE_HOT__PASSWORD": own.hot.password.get_secret_value()}
        command = [sys.executable, "-m", "ops.cli.main", "countries", "load", "-", "--conf-file", str(conf)]
        done = subprocess.run(command, input=DBIP.encode(), capture_output=True, env={**os.environ, **secret}, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"4 networks loaded; 0 lines left out" in done.stdout
        assert loaded(own) == ("standard input", hashlib.sha256(DBIP.encode()).hexdigest(), 4)

    def test_networks_count_once_and_the_first_country_holds(self, own: Settings, tmp_path: Path) -> None:
        one, two = tmp_path / "one.csv", tmp_path / "two.csv"
        one.write_text("network,country\n1.0.0.0/24,AU\n1.0.0.0/24,AU\n1.0.0.0/255.255.255.0,AU\n2001:DB8::/32,NL\n")
        two.write_text("1.0.0.0,1.0.0.255,NZ\n2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,NL\n::ffff:9.0.0.0,::ffff:9.0.0.1,US\n")
        found = countries.load(own, [one, two], None, quiet)
        assert held(own) == [("1.0.0.0/24", "AU"), ("9.0.0.0/31", "US"), ("2001:db8::/32", "NL")]
        assert (found.networks, found.repeated, found.refused) == (3, 3, 1)
        assert found.examples == ["two.csv, line 1: 1.0.0.0/24 is of 'NZ' here, and of 'AU' in a line before"]
        assert loaded(own)[2] == 3

    def test_what_no_network_may_have_is_refused_by_line_and_value(self, own: Settings, tmp_path: Path) -> None:
        named, ranges = tmp_path / "named.csv", tmp_path / "ranges.csv"
        named.write_text("network,country\n1.0.0.7/24,AU\nfe80::1%eth0/64,AU\n16777216,AU\n")
        ranges.write_text("2.0.0.0,2.0.0.255,FR\nfe80::1%1,fe80::2%1,FR\n2.0.0.9,2.0.0.1,FR\n3.0.0.0,::3,FR\n")
        found = countries.Countries()
        for file in (named, ranges):
            countries.take(countries.read(file), {}, found)
        assert (found.found, found.refused) == ({"2.0.0.0/24": "FR"}, 6)
        first, second, third = found.examples
        assert first.startswith("named.csv, line 2: network '1.0.0.7/24': bits of a host are set (the network is 1.0.0.0/24")
        assert second.startswith("named.csv, line 3: network 'fe80::1%eth0/64' is no address")
        assert third.startswith("named.csv, line 4: network '16777216' is no address")

    def test_what_is_compressed_has_a_way_out(self, own: Settings, tmp_path: Path) -> None:
        (tmp_path / "geo.csv.gz").write_bytes(gzip.compress(DBIP.encode()))
        with pytest.raises(ConfigError, match="compressed by gzip") as refused:
            countries.load(own, [tmp_path / "geo.csv.gz"], None, quiet)
        assert refused.value.hint.endswith("| flowlake countries load -")

    def test_a_file_that_is_not_there(self, own: Settings, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none.csv cannot be read: No such file"):
            countries.load(own, [tmp_path / "none.csv"], None, quiet)
