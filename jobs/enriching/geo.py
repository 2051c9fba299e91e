"""Country, place and autonomous system of an address, from databases in the MaxMind DB format.

The format: https://maxmind.github.io/MaxMind-DB/. Fields are those of GeoLite2 and of the databases that follow it; flat ones
(``country_code``, ``autonomous_system_number``) are read too.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from infra import log
from infra.errors import ConfigError, one_line
from infra.names import printable
from jobs.enriching.reloading import WatchedFile
from jobs.enriching.settings import GeoIpSettings

if TYPE_CHECKING:
    from maxminddb import Reader

_log = log.get(__name__)


class GeoPlace(NamedTuple):
    """Where an address is, and whose; ``None``: not known."""

    country: str | None = None  # ISO 3166-1, two letters
    city: str | None = None  # in English
    latitude: float | None = None  # degrees, WGS 84
    longitude: float | None = None
    asn: int | None = None
    as_org: str | None = None


NOWHERE = GeoPlace()


class GeoSource(Protocol):
    """What tells places."""

    def place(self, address: IPv4Address | IPv6Address) -> GeoPlace: ...

    def look(self) -> bool:
        """Read changed files again; whether there are new answers."""


class NoPlaces:
    """Knows nothing."""

    def place(self, _address: IPv4Address | IPv6Address) -> GeoPlace:
        return NOWHERE

    def look(self) -> bool:
        return False


class DatabasePlaces:
    """GeoSource from files.

    Parameters
    ----------
    settings
        At least one of the two files is named.

    Raises
    ------
    ConfigError
        A file is missing or damaged, or the package maxminddb is not installed.
    """

    def __init__(self, settings: GeoIpSettings) -> None:
        named = {"geoip.database_path": settings.database_path, "geoip.asn_database_path": settings.asn_database_path}
        self._files = [WatchedFile(path, f"enrichment.{name}", _open) for name, path in named.items() if path]

    def place(self, address: IPv4Address | IPv6Address) -> GeoPlace:
        """What the files say together; the first that knows a thing counts."""
        found = NOWHERE
        for file in self._files:
            record = _record(file.content, address)
            if record:
                said = read_place(record)
                found = said if found is NOWHERE else _together(found, said)
        return found

    def look(self) -> bool:
        return sum(file.look() for file in self._files) > 0


class _GeoDatabase(NamedTuple):
    reader: Reader
    ipv4_only: bool


def _open(path: Path) -> _GeoDatabase:
    try:
        import maxminddb
    except ImportError as e:
        raise ConfigError("databases of places need the package maxminddb, which is not installed", "pip install maxminddb") from e
    # The library maps the file into memory: one that is then overwritten in place would end the process (SIGBUS). The copy is ours.
    with tempfile.NamedTemporaryFile(prefix="flowlake-places-", suffix=".mmdb") as copy:
        shutil.copyfile(path, copy.name)
        try:
            reader = maxminddb.open_database(copy.name)
        except maxminddb.InvalidDatabaseError as e:
            raise ValueError(f"no database in the MaxMind DB format: {one_line(str(e).replace(copy.name, path.name))}") from e
    return _GeoDatabase(reader, reader.metadata().ip_version == 4)


def _record(database: _GeoDatabase, address: IPv4Address | IPv6Address) -> dict[str, Any] | None:
    if database.ipv4_only and address.version == 6:
        return None
    try:
        found = database.reader.get(address)
    except RuntimeError:  # InvalidDatabaseError: the file was copied while somebody wrote it, and will be read again
        return None
    return found if isinstance(found, dict) else None


def _together(first: GeoPlace, second: GeoPlace) -> GeoPlace:
    return GeoPlace._make([b if a is None else a for a, b in zip(first, second, strict=True)])


def read_place(record: dict[str, Any]) -> GeoPlace:
    """A record of a database as a place; what is of an unexpected kind counts as not known."""
    country = _of(record, "country", "iso_code") or _of(record, "registered_country", "iso_code")
    return GeoPlace(
        _text(country or record.get("country_code")),
        _text(_of(record, "city", "names", "en") or record.get("city")),
        _number(_of(record, "location", "latitude") or record.get("latitude")),
        _number(_of(record, "location", "longitude") or record.get("longitude")),
        _whole(record.get("autonomous_system_number")),
        _text(record.get("autonomous_system_organization")),
    )


def _of(record: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(record, dict):
            return None
        record = record.get(key)
    return record


def _text(value: Any) -> str | None:
    return _fit(value) if isinstance(value, str) and value else None


@lru_cache(65_536)
def _fit(text: str) -> str:
    """Fit for one line; one object for all addresses of a country, city or network."""
    return printable(text)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


class PackagedPlaces:
    """Countries and the names of autonomous systems from the package geoip2fast, which brings a database along."""

    def __init__(self) -> None:
        from geoip2fast import GeoIP2Fast

        self._database = GeoIP2Fast()

    def place(self, address: IPv4Address | IPv6Address) -> GeoPlace:
        found = self._database.lookup(str(address))
        if found.is_private:
            return NOWHERE
        country = _text(found.country_code)
        return GeoPlace(country=None if country == "--" else country, as_org=_text(found.asn_name))

    def look(self) -> bool:
        return False


def places(settings: GeoIpSettings) -> GeoSource:
    """What the settings name; without files the package geoip2fast, where it is installed.

    Raises
    ------
    ConfigError
        See :class:`DatabasePlaces`.
    """
    if not settings.enabled:
        return NoPlaces()
    if settings.database_path or settings.asn_database_path:
        return DatabasePlaces(settings)
    try:
        return PackagedPlaces()
    except ImportError:
        _log.info("places stay empty: no file is named", settings="enrichment.geoip.database_path, enrichment.geoip.asn_database_path")
        return NoPlaces()
