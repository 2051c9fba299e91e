"""Statements for Athena: a table over each Delta table of the lake, and one over each archive, whose months it finds by itself.

Athena runs one statement at a time: each is a file. The archive's months are *projected*: Athena computes the folders' names from a range
of years instead of being told of each.
"""

from __future__ import annotations

from infra.config import Settings
from infra.errors import ConfigError
from jobs.engines.tables import SCHEMA, Placed, archives, columns, lake_tables
from schemas.records import RecordType

#: First and last year whose months are looked for.
YEARS = (2010, 2049)


def statements(settings: Settings, years: tuple[int, int] = YEARS) -> dict[str, str]:
    """Name -> statement, in the order in which they are to be run.

    Parameters
    ----------
    settings
        Where lake and archive are.
    years
        First and last year of the archive.

    Raises
    ------
    ConfigError
        Lake or archive is not on S3, or a year is out of range.
    """
    first, last = years
    if not 1 <= first <= last <= 9999:
        raise ConfigError(f"--years {first}-{last}: no range of years", "write it as 2010-2049")
    found = {"create_database": f"CREATE DATABASE IF NOT EXISTS {SCHEMA};\n"}
    for table in lake_tables(settings):
        found[f"create_{table.name}"] = _delta(_on_s3(table, "lake.path"))
    for record, table in archives(settings):
        found[f"create_{table.name}"] = _archive(record, _on_s3(table, "archive.path"), years)
        if by_month := attacks_by_month(record, table.name):
            found[f"ask_{table.name}_by_month"] = by_month
    return found


def attacks_by_month(record: RecordType, table: str) -> str:
    """The reference's question to the archive; empty where records are not scored."""
    if "predicted_label" not in columns(record):
        return ""
    return (
        "SELECT year, month, count(*) AS total_flows, sum(predicted_label) AS attacks\n"
        f"FROM {SCHEMA}.{table}\nWHERE year = 2024\nGROUP BY year, month\nORDER BY year, month;\n"
    )


def _on_s3(table: Placed, setting: str) -> Placed:
    if not table.place.startswith("s3://"):
        raise ConfigError(
            f"Athena reads S3 alone, and {table.name} lies in {table.place} ({setting})",
            "put lake and archive on S3 (docs/how-to/lake-on-s3.md), or ask with flowlake sql or Trino",
        )
    return table


def _delta(table: Placed) -> str:
    """Columns and partitions are those of the table's own log."""
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {SCHEMA}.{table.name}\n"
        f"LOCATION '{_quoted(table.place)}/'\nTBLPROPERTIES ('table_type' = 'DELTA');\n"
    )


def _archive(record: RecordType, table: Placed, years: tuple[int, int]) -> str:
    listed = ",\n  ".join(f"`{name}` {kind.hive}" for name, kind in columns(record).items())
    place = _quoted(table.place)
    properties = {
        "projection.enabled": "true",
        "projection.year.type": "integer",
        "projection.year.range": f"{years[0]},{years[1]}",
        "projection.year.digits": "4",
        "projection.month.type": "integer",
        "projection.month.range": "1,12",
        "projection.month.digits": "2",
        "storage.location.template": f"{place}/year=${{year}}/month=${{month}}/",
    }
    said = ",\n  ".join(f"'{name}' = '{value}'" for name, value in properties.items())
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {SCHEMA}.{table.name} (\n  {listed}\n)\n"
        "PARTITIONED BY (`year` int, `month` int)\nSTORED AS PARQUET\n"
        f"LOCATION '{place}/'\nTBLPROPERTIES (\n  {said}\n);\n"
    )


def _quoted(text: str) -> str:
    return text.replace("'", "''")
