"""The files that Grafana and Prometheus are given: dashboards, data sources, folders, rules. No secret is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from infra.sections import MetricsSettings
from ops.grafana import dashboards, rules
from ops.grafana.names import DATASOURCES, PLATFORM, PLUGINS, TRAFFIC, folder
from ops.views.catalogue import sensors_query, views
from ops.views.model import Source
from ops.views.subjects import subjects
from schemas.records import RecordType

_NOTE = "# Written by flowlake grafana write. Do not edit: it is written anew.\n"
#: Variables that Grafana needs in its environment, and what they are.
VARIABLES = {
    "FLOWLAKE_HOT__HOST": "address of the hot store's server",
    "FLOWLAKE_HOT__PORT": "its port",
    "FLOWLAKE_HOT__DATABASE": "its database",
    "FLOWLAKE_ALERTS__HOST": "address of the alerts' server",
    "FLOWLAKE_ALERTS__PORT": "its port",
    "FLOWLAKE_ALERTS__DATABASE": "its database",
    "FLOWLAKE_GRAFANA_USER": "a login that was granted flowlake_analyst, in both databases",
    "FLOWLAKE_GRAFANA_PASSWORD": "its password",
    "FLOWLAKE_GRAFANA_SSLMODE": "disable, require, verify-ca or verify-full",
    "FLOWLAKE_GRAFANA_DASHBOARDS": "folder of the dashboards' files",
    "FLOWLAKE_PROMETHEUS_URL": "URL of Prometheus",
}


def files(records: Sequence[RecordType], *, countries: bool = False) -> dict[str, str]:
    """Path below a folder -> content.

    Parameters
    ----------
    records
        Record types; those with a hot table are shown.
    countries
        Whether a GeoIP file has been loaded.
    """
    sensors = sensors_query(subjects(records))
    shown = views(records, countries=countries)
    pages = {f"grafana/dashboards/{folder(view.name)}/{view.name}.json": dashboards.made(view, sensors) for view in shown if view.panels}
    return {
        **{name: json.dumps(page, indent=1, sort_keys=True) + "\n" for name, page in pages.items()},
        "grafana/provisioning/datasources/flowlake.yml": _yaml(_datasources()),
        "grafana/provisioning/dashboards/flowlake.yml": _yaml(_provider()),
        "grafana/provisioning/alerting/flowlake.yml": _yaml(rules.provisioned()),
        "prometheus/flowlake.rules.yml": _yaml(rules.prometheus()),
        "prometheus/prometheus.yml": _yaml(_scrapes()),
    }


def left(into: Path, made: Mapping[str, str]) -> list[Path]:
    """Dashboards in our folders that are not among those that were made: Grafana would show them still."""
    folders = {Path(name).parent for name in made if name.endswith(".json")}
    return sorted(path for folder in folders for path in (into / folder).glob("*.json") if str(path.relative_to(into)) not in made)


def _yaml(content: Mapping[str, Any]) -> str:
    # By way of JSON no value is there twice as the same object, which YAML would show as a reference.
    return _NOTE + yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False, width=120, allow_unicode=True)


def _datasources() -> dict[str, Any]:
    """Two databases and Prometheus."""
    return {
        "apiVersion": 1,
        "datasources": [
            _postgres("hot", "flowlake hot store", "FLOWLAKE_HOT"),
            _postgres("alerts", "flowlake alerts", "FLOWLAKE_ALERTS"),
            {
                "name": "flowlake metrics", "type": PLUGINS["metrics"], "uid": DATASOURCES["metrics"], "access": "proxy",
                "url": "${FLOWLAKE_PROMETHEUS_URL}", "editable": False,
                "jsonData": {"httpMethod": "POST", "timeInterval": "15s", "prometheusType": "Prometheus"},
            },
        ],
    }  # fmt: skip


def _postgres(source: Source, name: str, prefix: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": PLUGINS[source],
        "uid": DATASOURCES[source],
        "access": "proxy",
        "url": f"${{{prefix}__HOST}}:${{{prefix}__PORT}}",
        "user": "${FLOWLAKE_GRAFANA_USER}",
        "editable": False,
        "jsonData": {
            "database": f"${{{prefix}__DATABASE}}",
            "sslmode": "${FLOWLAKE_GRAFANA_SSLMODE}",
            "postgresVersion": 1500,
            # The questions are the same on both; with it a macro would give another type.
            "timescaledb": False,
            "maxOpenConns": 10,
            "connMaxLifetime": 14400,
        },
        "secureJsonData": {"password": "${FLOWLAKE_GRAFANA_PASSWORD}"},
    }


def _provider() -> dict[str, Any]:
    """Dashboards of a folder of files; its sub-folders are Grafana's folders."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": f"{TRAFFIC}, {PLATFORM}", "orgId": 1, "type": "file", "disableDeletion": False, "allowUiUpdates": False,
                "updateIntervalSeconds": 30,
                "options": {"path": "${FLOWLAKE_GRAFANA_DASHBOARDS}", "foldersFromFilesStructure": True},
            }
        ],
    }  # fmt: skip


def _scrapes() -> dict[str, Any]:
    """What Prometheus asks: the stream's page, and those of sensors, which a file names."""
    stream = f"127.0.0.1:{MetricsSettings().stream_port}"
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["flowlake.rules.yml"],
        "scrape_configs": [
            {"job_name": "flowlake-stream", "static_configs": [{"targets": [stream]}]},
            {"job_name": "flowlake-sensors", "file_sd_configs": [{"files": ["flowlake-sensors.yml"]}]},
        ],
    }
