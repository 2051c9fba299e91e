"""Networks and their countries, out of a GeoIP file in CSV, into a table beside the hot ones (:mod:`schemas.countries`).

Three layouts are known by their first line: a network and a country by the names of their columns (IPinfo and others); a network and the
number of a place, which a second file names (MaxMind's GeoLite2 and GeoIP2 Country); first address, last address, country without a header
(DB-IP).
"""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import ip_address, summarize_address_range
from itertools import chain
from pathlib import Path
from typing import Any

from infra.config import Settings
from infra.errors import ConfigError, one_line
from infra.networks import network as network_of
from jobs.sinks import postgres
from jobs.sinks.grants import RoleGrants
from jobs.sinks.migrations import Component, migrate
from schemas.countries import COMPONENT, COUNTRIES, LOADED, MIGRATIONS
from schemas.roles import OF_COUNTRIES

_NETWORK = ("network", "cidr", "ip_range", "prefix")
_COUNTRY = ("country_name", "country", "country_iso_code", "country_code")
_PLACE = ("geoname_id", "registered_country_geoname_id")
#: Lines that are shown of those that say nothing.
_SHOWN = 3
_STDIN = Path("-")
_HINT = "a CSV file: columns network and country; GeoLite2-Country-Blocks-*.csv with --locations; or first,last,country"


@dataclass(frozen=True)
class GeoFile:
    """A file as it was read, once: a pipe gives its content to the first reader only.

    Parameters
    ----------
    name
        As a person names it.
    content
        All of it.
    """

    name: str
    content: bytes

    @property
    def sha256(self) -> str:
        """As ``sha256sum`` has it."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Countries:
    """What was loaded.

    Attributes
    ----------
    found
        Network -> country, each network once.
    refused, examples
        Lines left out, and the first of them: file, line, and why.
    repeated
        Networks that were given again with the same country.
    """

    found: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    repeated: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def networks(self) -> int:
        """How many."""
        return len(self.found)

    def refuse(self, place: str, why: object) -> None:
        """Leave a line out."""
        self.refused += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(f"{place}: {one_line(str(why), 160)}")

    def add(self, place: str, network: str, country: str) -> None:
        """Take a network; where it has a country already, the line before counts."""
        before = self.found.get(network)
        if before is None:
            self.found[network] = country
        elif before == country:
            self.repeated += 1
        else:
            why = f"{network} is of {country!r} here, and of {before!r} in a line before"
            self.refuse(place, why)


def component(settings: Settings) -> Component:
    """The tables."""
    return Component(COMPONENT, settings.hot, MIGRATIONS, RoleGrants(OF_COUNTRIES))


def load(settings: Settings, files: Iterable[Path], locations: Path | None, say: Callable[[str], None]) -> Countries:
    """Load files in place of what was there, in one transaction: whoever asks meanwhile sees the old ones.

    Parameters
    ----------
    settings
        Of the hot store.
    files
        One, or one of IPv4 and one of IPv6; pipes too, ``-`` is standard input.
    locations
        Names of places, where the files have numbers of them.
    say
        Told the progress.

    Raises
    ------
    ConfigError
        A file cannot be read, its layout is not known, or it has no network at all.
    StoreError
        The database refuses.
    """
    found = Countries()
    names = dict(_places(read(locations))) if locations else {}
    texts = [read(path) for path in files]
    for text in texts:
        take(text, names, found)
    if not found.networks:
        raise ConfigError(f"{texts[0].name}: no line says a network and a country: {'; '.join(found.examples) or 'it is empty'}", _HINT)
    migrate(component(settings), say)
    with closing(postgres.connect(settings.hot, "flowlake-countries")) as connection, connection, connection.cursor() as cursor:
        _replace(cursor, texts, found)
    return found


def _replace(cursor: Any, texts: list[GeoFile], found: Countries) -> None:
    cursor.execute(f"DELETE FROM {COUNTRIES}")
    cursor.copy_expert(f"COPY {COUNTRIES} (network, country) FROM STDIN (FORMAT csv)", _buffer(found.found))
    cursor.execute(
        f"INSERT INTO {LOADED} (file, sha256, networks) VALUES (%s, %s, %s) ON CONFLICT (one) DO UPDATE "
        "SET file = excluded.file, sha256 = excluded.sha256, networks = excluded.networks, loaded_at = clock_timestamp()",
        (", ".join(text.name for text in texts), ", ".join(text.sha256 for text in texts), found.networks),
    )
    cursor.execute(f"ANALYZE {COUNTRIES}")


def _buffer(rows: Mapping[str, str]) -> io.StringIO:
    """Rows as CSV: some 25 bytes each, of less than a million."""
    told = io.StringIO()
    csv.writer(told).writerows(rows.items())
    told.seek(0)
    return told


def read(path: Path) -> GeoFile:
    """A file, a pipe, or standard input (``-``), whole.

    Raises
    ------
    ConfigError
        It cannot be read.
    """
    name = "standard input" if path == _STDIN else path.name if path.is_file() else str(path)
    try:
        content = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
    except OSError as e:
        raise ConfigError(f"{path} cannot be read: {e.strerror or e}", _HINT) from e
    if content.startswith(b"\x1f\x8b"):
        raise ConfigError(f"{path} cannot be read: it is compressed by gzip", f"zcat {path} | flowlake countries load -")
    return GeoFile(name, content)


def take(text: GeoFile, places: Mapping[str, str], found: Countries) -> None:
    """Take the networks of a file and their countries.

    Parameters
    ----------
    text
        The file.
    places
        Number of a place -> its country.
    found
        Given the networks, and told what is refused.

    Raises
    ------
    ConfigError
        It is no CSV of UTF-8, or its layout is not known.
    """
    lines = _lines(text)
    begins, head = next(lines, (1, list[str]()))
    names = [name.strip().lower() for name in head]
    network = _column(names, _NETWORK)
    if network is None:
        _ranges(text, chain([(begins, head)], lines), found)
        return
    place, country = _column(names, _PLACE), _column(names, _COUNTRY)
    if country is None and (place is None or not places):
        raise ConfigError(f"{text.name}: no column of it is a country: {', '.join(head)[:200]}", _HINT)
    for number, row in lines:
        where = f"{text.name}, line {number}"
        try:
            told = _clean(places.get(row[place or 0], "") if country is None else row[country])
            given = row[network].strip()
            if told:
                found.add(where, str(network_of(given, "network")), told)
            else:
                found.refuse(where, f"{given!r} has no country")
        except ConfigError as e:
            found.refuse(where, f"{e} ({e.hint})" if "bits of a host" in str(e) else e)
        except IndexError:
            found.refuse(where, f"{','.join(row)!r} has fewer columns than the first line")


def _ranges(text: GeoFile, lines: Iterable[tuple[int, list[str]]], found: Countries) -> None:
    """Of a file without a header: first address, last address, country."""
    for index, (number, row) in enumerate(lines):
        where = f"{text.name}, line {number}"
        try:
            first, last = (_address(given) for given in (row[0], row[1]))
            told = _clean(row[2])
        except (ValueError, IndexError) as e:
            if not index:
                raise ConfigError(f"{text.name}: its first line is of no known layout: {','.join(row)[:200]!r}", _HINT) from e
            found.refuse(where, f"{','.join(row)!r} is not first address, last address, country" if isinstance(e, IndexError) else e)
            continue
        if not told:
            found.refuse(where, f"{row[0]!r} has no country")
        elif first.version != last.version:
            found.refuse(where, f"of {row[0]!r} and {row[1]!r} one is of IPv4, the other of IPv6")
        elif int(first) > int(last):
            found.refuse(where, f"{row[0]!r} is behind {row[1]!r}")
        else:
            # Both are of one version, which the types of the library do not say.
            for network in summarize_address_range(first, last):  # type: ignore[type-var]
                found.add(where, str(network), told)


def _address(given: str) -> Any:
    """An address; one of a zone means something on one machine's link alone, and one mapped into IPv6 is an IPv4 address."""
    text = given.strip()
    if "%" in text:
        raise ValueError(f"{text!r} has a zone")
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _lines(text: GeoFile) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold something, and the number of the line in which each ends."""
    try:
        rows = csv.reader(io.StringIO(text.content.decode("utf-8-sig"), newline=""))
        yield from ((rows.line_num, row) for row in rows if row)
    except (UnicodeDecodeError, csv.Error) as e:
        raise ConfigError(f"{text.name} cannot be read: {one_line(e)}", _HINT) from e


def _places(text: GeoFile) -> Iterator[tuple[str, str]]:
    lines = _lines(text)
    names = [name.strip().lower() for name in next(lines, (1, list[str]()))[1]]
    number, country = _column(names, _PLACE), _column(names, _COUNTRY)
    if number is None or country is None:
        raise ConfigError(f"--locations {text.name}: no columns geoname_id and country_name", "GeoLite2-Country-Locations-en.csv")
    yield from ((row[number], row[country]) for _, row in lines if len(row) > max(number, country))


def _column(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _clean(country: str) -> str:
    """Its name without what no text of PostgreSQL can hold; at most so long as a name is."""
    return country.replace("\0", "").strip()[:100]
