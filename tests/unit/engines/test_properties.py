"""The files of a Trino server: catalogs by the settings, and no secret in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from infra import config
from infra.config import ROOT, Settings
from infra.errors import ConfigError
from jobs.engines import properties
from jobs.engines.properties import ServerFolders
from ops.cli.main import main

Factory = Callable[..., Settings]
FOLDERS = ServerFolders("/etc/trino", "/data/trino")


def test_the_projects_files_are_current() -> None:
    made = properties.files(config.load(ROOT / "conf" / "cluster.yaml"), FOLDERS)
    folder = ROOT / "infra" / "trino"
    there = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file() and file.suffix != ".md"}
    assert there == made, "flowlake trino config --conf-file conf/cluster.yaml --into infra/trino --image"


def test_no_secret_is_written(settings: Factory) -> None:
    secret = "s3cr3t-of-a-test"
    made = settings(
        lake={"path": "s3a://b/flows", "s3_access_key": f"{secret}-1", "s3_secret_key": f"{secret}-2"},
        hot={"password": f"{secret}-3"},
        alerts={"password": f"{secret}-4", "database": "other"},
        trino={"password": f"{secret}-5"},
    )
    files = properties.files(made, FOLDERS)
    assert secret not in json.dumps(files)
    named = properties.variables(files)
    assert named == (
        "AWS_REGION",
        "FLOWLAKE_ALERTS__PASSWORD",
        "FLOWLAKE_HOT__PASSWORD",
        "FLOWLAKE_LAKE__S3_ACCESS_KEY",
        "FLOWLAKE_LAKE__S3_SECRET_KEY",
    )
    assert properties.secrets(made, files)["FLOWLAKE_ALERTS__PASSWORD"] == f"{secret}-4"


def test_alerts_have_a_catalog_where_they_have_a_database(settings: Factory) -> None:
    one = {"host": "db", "port": 5432}
    assert list(properties.catalogs(settings(hot=one, alerts=one))) == ["lake", "hot", "archive"]
    apart = properties.catalogs(settings(hot=one, alerts={**one, "database": "alerts"}))
    assert list(apart) == ["lake", "hot", "alerts", "archive"]
    assert apart["alerts"]["connection-url"] == "jdbc:postgresql://db:5432/alerts"
    assert apart["alerts"]["connection-password"] == "${ENV:FLOWLAKE_ALERTS__PASSWORD}"


def test_a_folder_is_reached_as_a_folder(settings: Factory, home: Path) -> None:
    found = properties.catalogs(settings())
    assert found["lake"]["fs.native-local.enabled"] == found["archive"]["fs.native-local.enabled"] == "true"
    assert found["lake"]["hive.metastore.catalog.dir"] == f"local://{home.resolve()}/var/lake/trino/lake"
    assert not [name for name in found["lake"] if name.startswith("s3.")]


def test_amazon_is_asked_with_what_the_machine_has(settings: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    lake = properties.catalogs(settings(lake={"path": "s3a://b/lake/flows"}))["lake"]
    assert lake["s3.region"] == "${ENV:AWS_REGION}"
    assert not {"s3.endpoint", "s3.aws-access-key", "s3.path-style-access"} & set(lake)


@pytest.mark.parametrize(("addressing", "path_style"), [("path", "true"), ("virtual", "false")])
def test_a_bucket_is_addressed_as_the_lake_addresses_it(settings: Factory, addressing: str, path_style: str) -> None:
    lake = {"path": "s3a://b/lake/flows", "s3_endpoint": "https://store:9000", "s3_addressing": addressing}
    found = properties.catalogs(settings(lake=lake))["lake"]
    assert (found["s3.endpoint"], found["s3.path-style-access"]) == ("https://store:9000", path_style)


@pytest.mark.parametrize(
    ("metastore", "expected"),
    [
        ("glue", {"hive.metastore": "glue"}),
        ("thrift://meta:9083", {"hive.metastore": "thrift", "hive.metastore.uri": "thrift://meta:9083"}),
        ("file", {"hive.metastore": "file", "hive.metastore.catalog.dir": "s3://b/lake/trino/archive"}),
    ],
)
def test_where_tables_are_noted(settings: Factory, metastore: str, expected: dict[str, str]) -> None:
    made = settings(lake={"path": "s3a://b/lake/flows"}, archive={"path": "s3a://b/lake/archive"}, trino={"metastore": metastore})
    archive = properties.catalogs(made)["archive"]
    assert {name: value for name, value in archive.items() if name.startswith("hive.metastore")} == expected


def test_what_is_noted_lies_outside_of_what_is_stored(settings: Factory) -> None:
    """A rule for the archive's life must not remove it."""
    made = settings(lake={"path": "s3a://b/flows", "tables": {"labels": "s3a://b/x/labels"}}, archive={"path": "s3a://c/old/archive"})
    found = {name: catalog.get("hive.metastore.catalog.dir", "") for name, catalog in properties.catalogs(made).items()}
    assert found["lake"] == "s3://b/trino/lake"
    assert found["archive"] == "s3://c/old/trino/archive"


def test_another_kind_of_store_is_refused(settings: Factory) -> None:
    with pytest.raises(ConfigError, match="'abfs://a/b' is neither"):
        properties.catalogs(settings(lake={"path": "abfs://a/b"}))


def test_values_are_read_as_they_were_written(settings: Factory) -> None:
    """Java reads Latin-1 and escapes; an address of IPv6 stands in brackets."""
    made = properties.files(settings(hot={"host": "::1", "database": "a b/ü", "user": " über\\u"}), FOLDERS)["catalog/hot.properties"]
    assert "connection-url=jdbc:postgresql://[::1]:1/a%20b%2F%C3%BC\n" in made
    assert "connection-user=\\ \\u00fcber\\\\u\n" in made
    assert made.isascii()


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://a:1", "http://", "http://a:0x", "http://user:secret@a:1", "http://a:1/path"])
def test_an_address_that_is_none_is_refused(settings: Factory, url: str) -> None:
    with pytest.raises(ValueError, match="address") as refused:
        settings(trino={"url": url})
    assert "secret" not in str(refused.value).partition("[type=")[0]


def test_a_server_that_others_reach_listens_to_them(settings: Factory) -> None:
    own = properties.files(settings(), FOLDERS)["node.properties"]
    assert "node.bind-ip=127.0.0.1" in own
    assert "bind-ip" not in properties.files(settings(trino={"url": "http://trino:8080"}), FOLDERS)["node.properties"]


def test_written_again_catalogs_of_before_are_gone(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogs = tmp_path / "etc" / "catalog"
    stale, foreign, own = catalogs / "alerts.properties", catalogs / "iceberg.properties", tmp_path / "etc" / "jvm.config"
    catalogs.mkdir(parents=True)
    for file in (stale, foreign, own):
        file.write_text("mine")
    with pytest.raises(SystemExit) as end:
        main(["trino", "config", "--into", str(tmp_path / "etc"), "--catalogs-only"])
    assert not end.value.code
    assert not stale.exists()
    assert foreign.read_text() == own.read_text() == "mine"
    assert not (tmp_path / "etc" / "rules.json").exists()
    assert (tmp_path / "etc" / "catalog" / "lake.properties").exists()
    assert "FLOWLAKE_HOT__PASSWORD" in capsys.readouterr().err
