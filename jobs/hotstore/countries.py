"""Networks and their countries, out of a GeoIP file in CSV, into a table beside the hot ones (:mod:`schemas.countries`).

Three layouts are known by their first line: a network and a country by the names of their columns (IPinfo and others); a network and the
number of a place, which a second file names (MaxMind's GeoLite2 and GeoIP2 Country); first address, last address, country without a header
(DB-IP).
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network, summarize_address_range
from itertools import chain
from pathlib import Path
from typing import Any

from infra.config import Settings
from infra.errors import ConfigError
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
_HINT = "a CSV file: columns network and country; GeoLite2-Country-Blocks-*.csv with --locations; or first,last,country"


@dataclass
class Countries:
    """What was loaded: networks, and lines that say no network or no country."""

    networks: int = 0
    refused: int = 0
    examples: list[str] = field(default_factory=list)

    def refuse(self, line: int, why: str) -> None:
        """Count a line."""
        self.refused += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(f"line {line}: {why}")


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
        One, or one of IPv4 and one of IPv6.
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
    names = dict(_places(locations)) if locations else {}
    paths = list(files)
    rows = ((network, country) for path in paths for network, country in networks(path, names, found))
    told = _buffer(rows, found)
    if not found.networks:
        raise ConfigError(f"{paths[0]}: no line says a network and a country: {'; '.join(found.examples) or 'it is empty'}", _HINT)
    migrate(component(settings), say)
    sums = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()
    with closing(postgres.connect(settings.hot, "flowlake-countries")) as connection, connection, connection.cursor() as cursor:
        _replace(cursor, told, paths, sums, found)
    return found


def _replace(cursor: Any, told: io.StringIO, paths: list[Path], sums: str, found: Countries) -> None:
    cursor.execute(f"DELETE FROM {COUNTRIES}")
    cursor.copy_expert(f"COPY {COUNTRIES} (network, country) FROM STDIN (FORMAT csv)", told)
    cursor.execute(
        f"INSERT INTO {LOADED} (file, sha256, networks) VALUES (%s, %s, %s) ON CONFLICT (one) DO UPDATE "
        "SET file = excluded.file, sha256 = excluded.sha256, networks = excluded.networks, loaded_at = clock_timestamp()",
        (", ".join(path.name for path in paths), sums, found.networks),
    )
    cursor.execute(f"ANALYZE {COUNTRIES}")


def _buffer(rows: Iterable[tuple[str, str]], found: Countries) -> io.StringIO:
    """Rows as CSV: some 25 bytes each, of less than a million."""
    told = io.StringIO()
    writer = csv.writer(told)
    for network, country in rows:
        writer.writerow((network, country))
        found.networks += 1
    told.seek(0)
    return told


def networks(path: Path, places: Mapping[str, str], found: Countries) -> Iterator[tuple[str, str]]:
    """Networks of a file and their countries.

    Parameters
    ----------
    path
        The file.
    places
        Number of a place -> its country.
    found
        Told what is refused.

    Raises
    ------
    ConfigError
        It cannot be read, or its layout is not known.
    """
    lines = _lines(path)
    head = next(lines, [])
    names = [name.strip().lower() for name in head]
    network = _column(names, _NETWORK)
    if network is None:
        yield from _ranges(path, head, lines, found)
        return
    place, country = _column(names, _PLACE), _column(names, _COUNTRY)
    if country is None and (place is None or not places):
        raise ConfigError(f"{path}: no column of it is a country: {', '.join(head)[:200]}", _HINT)
    for number, row in enumerate(lines, 2):
        try:
            told = places.get(row[place or 0], "") if country is None else row[country]
            if told := _clean(told):
                yield str(ip_network(row[network].strip(), strict=False)), told
            else:
                found.refuse(number, "no country")
        except (ValueError, IndexError) as e:
            found.refuse(number, str(e)[:100])


def _ranges(path: Path, head: list[str], lines: Iterator[list[str]], found: Countries) -> Iterator[tuple[str, str]]:
    """Of a file without a header: first address, last address, country."""
    try:
        ip_address(head[0]), ip_address(head[1])
    except (ValueError, IndexError) as e:
        raise ConfigError(f"{path}: its first line is of no known layout: {','.join(head)[:200]!r}", _HINT) from e
    for number, row in enumerate(chain([head], lines), 1):
        try:
            first, last = ip_address(row[0].strip()), ip_address(row[1].strip())
            if not (told := _clean(row[2])):
                found.refuse(number, "no country")
                continue
            if first.version == last.version:
                # Both are of one version, which the types of the library do not say.
                yield from ((str(network), told) for network in summarize_address_range(first, last))  # type: ignore[type-var]
            else:
                found.refuse(number, "one address is of IPv4, the other of IPv6")
        except (ValueError, IndexError) as e:
            found.refuse(number, str(e)[:100])


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from (row for row in csv.reader(file) if row)
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise ConfigError(f"{path} cannot be read: {getattr(e, 'strerror', None) or e}", _HINT) from e


def _places(path: Path) -> Iterator[tuple[str, str]]:
    lines = _lines(path)
    names = [name.strip().lower() for name in next(lines, [])]
    number, country = _column(names, _PLACE), _column(names, _COUNTRY)
    if number is None or country is None:
        raise ConfigError(f"--locations {path}: no columns geoname_id and country_name", "GeoLite2-Country-Locations-en.csv")
    yield from ((row[number], row[country]) for row in lines if len(row) > max(number, country))


def _column(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _clean(country: str) -> str:
    """Its name without what no text of PostgreSQL can hold; at most so long as a name is."""
    return country.replace("\0", "").strip()[:100]
