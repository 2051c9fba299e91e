"""Networks and the countries that they are in, as a GeoIP file says: a table beside the hot ones, if somebody loads it."""

from __future__ import annotations

from schemas.migrations import Statement

COMPONENT = "countries"
COUNTRIES = "ip_countries"
#: Which file it was loaded from.
LOADED = "ip_countries_loaded"

#: What holds for them: :mod:`schemas.migrations`.
MIGRATIONS: dict[int, tuple[Statement, ...]] = {
    1: (
        f"CREATE TABLE IF NOT EXISTS {COUNTRIES} (network inet NOT NULL, country text NOT NULL)",
        # "which of these networks is an address in": the other indexes of PostgreSQL know no such order
        f"CREATE INDEX IF NOT EXISTS {COUNTRIES}_network ON {COUNTRIES} USING gist (network inet_ops)",
        f"CREATE TABLE IF NOT EXISTS {LOADED} (one boolean PRIMARY KEY DEFAULT true CHECK (one), file text NOT NULL, sha256 text NOT NULL, "
        "networks bigint NOT NULL, loaded_at timestamptz NOT NULL DEFAULT clock_timestamp())",
    ),
}
