"""The files that a Trino server reads: its own, and a catalog for each store.

No secret is in them: they name the variables of the environment that hold it, which are those of flowlake's settings.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

from infra import paths
from infra.config import Settings
from infra.errors import ConfigError
from infra.sections import PostgresSettings
from jobs.engines.tables import SCHEMA, archives, lake_tables
from jobs.runtime import lake, s3

LAKE, HOT, ALERTS, ARCHIVE = "lake", "hot", "alerts", "archive"
#: Memory of the server, and how much of it one question may take (MB).
HEAP_MB = 1024
QUESTION_MB = 512
#: Where the container image has its files, and its data.
IMAGE_FILES, IMAGE_DATA = "/etc/trino", "/data/trino"

Properties = Mapping[str, str]
_VARIABLE = re.compile(r"\$\{ENV:(\w+)\}")


@dataclass(frozen=True)
class ServerFolders:
    """How a server is laid out.

    Parameters
    ----------
    files : str
        Absolute folder of its configuration, as the server sees it.
    data : str
        Absolute folder of its data.
    """

    files: str
    data: str


def files(settings: Settings, server: ServerFolders) -> dict[str, str]:
    """Name below the configuration folder -> content.

    Raises
    ------
    ConfigError
        A store lies where Trino is not led to.
    """
    port = urlsplit(settings.trino.url).port or 8080
    local = _local(settings.trino.url)
    own = {
        "node.properties": {
            "node.environment": "flowlake",
            "node.data-dir": server.data,
            **({"node.internal-address": "127.0.0.1", "node.bind-ip": "127.0.0.1"} if local else {}),
        },
        "config.properties": {
            "coordinator": "true",
            "node-scheduler.include-coordinator": "true",
            "http-server.http.port": str(port),
            "discovery.uri": f"http://{'127.0.0.1' if local else 'localhost'}:{port}",
            "query.max-memory": f"{QUESTION_MB}MB",
            "query.max-memory-per-node": f"{QUESTION_MB}MB",
            "memory.heap-headroom-per-node": f"{HEAP_MB // 4}MB",
        },
        "log.properties": {"io.trino": "INFO"},
        "access-control.properties": {
            "access-control.name": "file",
            "security.config-file": str(PurePosixPath(server.files) / "rules.json"),
        },
    }
    found = {name: _text(properties) for name, properties in own.items()}
    found["jvm.config"] = "".join(f"{option}\n" for option in jvm())
    found["rules.json"] = json.dumps(rules(settings), indent=2) + "\n"
    return found | {f"catalog/{name}.properties": _text(properties) for name, properties in catalogs(settings).items()}


def variables(made: Mapping[str, str]) -> tuple[str, ...]:
    """Variables of the environment that a configuration names."""
    return tuple(sorted({name for content in made.values() for name in _VARIABLE.findall(content)}))


def secrets(settings: Settings, made: Mapping[str, str]) -> dict[str, str]:
    """The same with their values, for a server that we start."""
    known = {
        "FLOWLAKE_LAKE__S3_ACCESS_KEY": settings.lake.s3_access_key.get_secret_value(),
        "FLOWLAKE_LAKE__S3_SECRET_KEY": settings.lake.s3_secret_key.get_secret_value(),
        "FLOWLAKE_HOT__PASSWORD": settings.hot.password.get_secret_value(),
        "FLOWLAKE_ALERTS__PASSWORD": settings.alerts.password.get_secret_value(),
    }
    return {name: known.get(name, os.environ.get(name, "")) for name in variables(made)}


def jvm() -> tuple[str, ...]:
    """Options of the server's Java. Times are UTC everywhere."""
    return (
        "-server",
        f"-Xmx{HEAP_MB}M",
        "-XX:+UseG1GC",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:ReservedCodeCacheSize=256M",
        "-Djdk.attach.allowAttachSelf=true",
        "-Duser.timezone=UTC",
    )


def rules(settings: Settings) -> dict[str, object]:
    """Who may do what: the user of the settings registers tables, everybody else reads. Nobody writes rows: the stores have owners."""
    owner = settings.trino.user
    known = "|".join(catalogs(settings))
    return {
        "catalogs": [
            {"user": owner, "catalog": f"({LAKE}|{ARCHIVE})", "allow": "all"},
            {"catalog": f"({known}|system)", "allow": "read-only"},
        ],
        "schemas": [{"user": owner, "catalog": f"({LAKE}|{ARCHIVE})", "schema": SCHEMA, "owner": True}, {"owner": False}],
        "tables": [
            {"user": owner, "catalog": LAKE, "schema": SCHEMA, "privileges": ["SELECT", "OWNERSHIP"]},
            # Noting months counts as adding and removing rows. Rows themselves nobody can add: the tables are external.
            {"user": owner, "catalog": ARCHIVE, "schema": SCHEMA, "privileges": ["SELECT", "INSERT", "DELETE", "OWNERSHIP"]},
            {"privileges": ["SELECT"]},
        ],
        "procedures": [{"user": owner, "catalog": f"({LAKE}|{ARCHIVE})", "schema": "system", "privileges": ["EXECUTE"]}],
    }


def catalogs(settings: Settings) -> dict[str, dict[str, str]]:
    """Catalog -> its properties: the lake, PostgreSQL (once more for alerts where they have a database of their own), the archive.

    Raises
    ------
    ConfigError
        A store lies where Trino is not led to.
    """
    found = {
        LAKE: {
            "connector.name": "delta_lake",
            **_files(settings, lake_tables(settings)[0].place if lake_tables(settings) else settings.lake.path, LAKE),
            "delta.register-table-procedure.enabled": "true",
        },
        HOT: _postgres(settings.hot, "FLOWLAKE_HOT__PASSWORD"),
    }
    if _database(settings.alerts) != _database(settings.hot):
        found[ALERTS] = _postgres(settings.alerts, "FLOWLAKE_ALERTS__PASSWORD")
    if archives(settings):
        found[ARCHIVE] = {
            "connector.name": "hive",
            **_files(settings, s3.uri(lake.archive(settings)), ARCHIVE),
            "hive.partition-projection-enabled": "true",
            "hive.parquet.time-zone": "UTC",
        }
    return found


def location(place: str) -> str:
    """A place as Trino names it: ``s3://bucket/prefix``, ``local:///folder``."""
    return place if "://" in place else f"local://{place}"


def _files(settings: Settings, place: str, catalog: str) -> dict[str, str]:
    """How a catalog reaches its files, and where it notes its tables: beside the store, or with a metastore that others ask too."""
    if place.startswith("s3://"):
        reach = {"fs.native-s3.enabled": "true", **_bucket(settings)}
    elif "://" in place:
        raise ConfigError(
            f"Trino's catalogs are for folders and S3; {place!r} is neither",
            "set lake.path and archive.path, or write the catalog yourself",
        )
    else:
        reach = {"fs.native-local.enabled": "true", "local.location": "/"}
    return {**_metastore(settings, place, catalog), **reach}


def _metastore(settings: Settings, place: str, catalog: str) -> dict[str, str]:
    chosen = settings.trino.metastore
    if chosen == "glue":
        return {"hive.metastore": "glue"}
    if chosen.startswith("thrift://"):
        return {"hive.metastore": "thrift", "hive.metastore.uri": chosen}
    above = place.rpartition("/")[0]
    beside = place if above.endswith(("/", ":")) or not above else above
    return {"hive.metastore": "file", "hive.metastore.catalog.dir": location(f"{beside}/trino/{catalog}")}


def _bucket(settings: Settings) -> dict[str, str]:
    store = settings.lake
    found = {"s3.region": s3.region(store) or "${ENV:AWS_REGION}"}
    if store.s3_endpoint:
        found |= {"s3.endpoint": store.s3_endpoint, "s3.path-style-access": str(store.s3_addressing == "path").lower()}
    if store.s3_endpoint or store.s3_access_key.get_secret_value():
        # Without, what Amazon's own machines and profiles have.
        found |= {
            "s3.aws-access-key": "${ENV:FLOWLAKE_LAKE__S3_ACCESS_KEY}",
            "s3.aws-secret-key": "${ENV:FLOWLAKE_LAKE__S3_SECRET_KEY}",
        }
    return found


def _postgres(settings: PostgresSettings, password: str) -> dict[str, str]:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {
        "connector.name": "postgresql",
        "connection-url": f"jdbc:postgresql://{host}:{settings.port}/{quote(settings.database, safe='')}",
        "connection-user": settings.user,
        "connection-password": f"${{ENV:{password}}}",
        # Addresses are inet there, which Trino does not know: without, such a column is left out.
        "unsupported-type-handling": "CONVERT_TO_VARCHAR",
        # Conditions on such a column are Trino's to check. Within an OR they would be handed down as a comparison of inet and text.
        "complex-expression-pushdown.enabled": "false",
    }


def _database(settings: PostgresSettings) -> tuple[str, int, str]:
    return settings.host, settings.port, settings.database


def _local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _text(properties: Properties) -> str:
    return "".join(f"{name}={_escaped(value)}\n" for name, value in properties.items())


def _escaped(value: str) -> str:
    """As Java reads a property: in Latin-1, a backslash begins an escape, blanks in front are no part of it."""
    if paths.CONTROL.found.search(value):
        raise ConfigError(f"{value!r} cannot stand in a catalog: {paths.CONTROL.why}", "correct the setting")
    text = value.replace("\\", "\\\\")
    text = "".join(c if c.isascii() else "".join(f"\\u{unit:04x}" for unit in _utf16(c)) for c in text)
    return f"\\{text}" if text.startswith(" ") else text


def _utf16(character: str) -> list[int]:
    data = character.encode("utf-16-be")
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
