"""The container files agree with ``conf/cluster.yaml``; they are not run here."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from infra import config
from infra.config import ROOT, Settings

FOLDER = ROOT / "infra" / "cluster"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "docker-compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cluster() -> Settings:
    return config.load(ROOT / "conf" / "cluster.yaml")


def test_every_host_of_the_configuration_is_a_service(compose: dict[str, Any], cluster: Settings) -> None:
    urls = (cluster.scoring.tracking_uri, cluster.lake.s3_endpoint, cluster.spark.master)
    hosts = {urlsplit(url).hostname for url in urls} | {cluster.hot.host, cluster.alerts.host, urlsplit(cluster.trino.url).hostname}
    hosts |= {server.split(":")[0] for server in cluster.kafka.bootstrap_servers.split(",")}
    assert hosts <= set(compose["services"])


def test_brokers_carry_the_replication_that_is_configured(compose: dict[str, Any], cluster: Settings) -> None:
    brokers = {name: s for name, s in compose["services"].items() if name.startswith("kafka-")}
    assert len(brokers) >= cluster.kafka.replication_factor
    assert {s["environment"]["KAFKA_ADVERTISED_LISTENERS"] for s in brokers.values()} == {f"PLAINTEXT://{name}:9092" for name in brokers}
    assert len({s["environment"]["KAFKA_NODE_ID"] for s in brokers.values()}) == len(brokers)


def test_no_password_is_written_down(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for key, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|ACCESS_KEY|ROOT_USER", key):
                assert str(value).startswith("${"), f"{name}: {key}"
    for line in (FOLDER / "example.env").read_text().splitlines():
        assert line.startswith("#") or line.endswith("="), line


def test_volumes_and_networks_are_declared(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        places = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert {place for place in places if not place.startswith(".")} <= set(compose["volumes"])
        assert all((FOLDER / place).is_dir() for place in places if place.startswith("."))
        assert set(service["networks"]) <= set(compose["networks"])


def test_trino_is_the_version_that_was_tried_and_has_its_secrets(compose: dict[str, Any], cluster: Settings) -> None:
    from infra.jvm.trino import SERVER
    from jobs.engines import properties

    service = compose["services"]["trino"]
    assert service["image"] == f"trinodb/trino:{SERVER.version}"
    wanted = properties.variables(properties.files(cluster, properties.ServerFolders("/etc/trino", "/data/trino")))
    assert set(service["environment"]) == set(wanted)
