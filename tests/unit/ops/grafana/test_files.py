"""The files for Grafana and Prometheus: those in the repository are what is declared, and each is what Grafana's own types read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from typer.testing import CliRunner

from infra import config
from ops.cli.grafana import app
from ops.grafana import rules
from ops.grafana.files import VARIABLES, files
from ops.grafana.names import DATASOURCES, folder, uid
from ops.views.catalogue import views
from ops.views.model import View
from schemas.exportedflows import EXPORTED_FLOWS
from schemas.interfacecounters import INTERFACE_COUNTERS
from schemas.packets import FLOWS
from schemas.windowrecords import WINDOWS
from tests.toy_source.records import READING

INFRA = config.ROOT / "infra"
RECORDS = [FLOWS, EXPORTED_FLOWS, INTERFACE_COUNTERS, *WINDOWS.values()]
MADE = files(RECORDS)
PAGES = {name: json.loads(content) for name, content in MADE.items() if name.endswith(".json")}


def panels(page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from (panel for panel in page["panels"] if panel["type"] != "row")


class TestWrittenFiles:
    def test_those_in_the_repository_are_current(self) -> None:
        stale = [name for name, content in MADE.items() if not (INFRA / name).is_file() or (INFRA / name).read_text("utf-8") != content]
        assert stale == [], "flowlake grafana write --into infra"

    def test_none_in_the_repository_is_of_a_view_that_is_no_more(self) -> None:
        there = {str(path.relative_to(INFRA)) for path in (INFRA / "grafana").rglob("*") if path.suffix in (".json", ".yml")}
        assert there == {name for name in MADE if name.startswith("grafana/")}

    def test_the_command_writes_them(self, tmp_path: Path) -> None:
        done = CliRunner().invoke(app, ["write", "--into", str(tmp_path / "new" / "place")])
        assert done.exit_code == 0, done.output
        assert {str(p.relative_to(tmp_path / "new" / "place")) for p in tmp_path.rglob("*") if p.is_file()} == set(MADE)

    def test_a_dashboard_of_before_is_told_and_stays(self, tmp_path: Path) -> None:
        old = tmp_path / "grafana" / "dashboards" / "flowlake" / "former.json"
        old.parent.mkdir(parents=True)
        old.write_text("{}")
        done = CliRunner().invoke(app, ["write", "--into", str(tmp_path)])
        assert f"{old}: of before, no view is called so now" in done.stderr
        assert old.exists()

    def test_a_folder_that_cannot_be_written_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        done = CliRunner().invoke(app, ["write", "--into", str(tmp_path / "file")])
        assert done.exit_code != 0
        assert "cannot be written: Not a directory" in str(done.exception)

    def test_no_password_is_in_them(self) -> None:
        for name, content in MADE.items():
            for secret in re.findall(r"(?i)(?:password|token|secret)\w*: *(\S+)", content):
                assert secret == "${FLOWLAKE_GRAFANA_PASSWORD}", f"{name}: {secret}"

    def test_every_variable_of_the_environment_is_named(self) -> None:
        read = {found for name, text in MADE.items() if "provisioning" in name for found in re.findall(r"\$\{(\w+)\}", text)}
        assert read == set(VARIABLES)

    def test_another_record_type_has_its_panels(self) -> None:
        page = json.loads(files([READING, FLOWS])["grafana/dashboards/flowlake/traffic.json"])
        assert [panel["title"] for panel in page["panels"] if panel["type"] == "row"] == ["Readings"]


class TestDashboards:
    @pytest.mark.parametrize("name", PAGES)
    def test_it_is_what_the_types_of_grafana_read(self, name: str) -> None:
        """Read by the SDK's types and written again nothing is lost: there is no field that they do not know, none of another type."""
        plugins.register_default_plugins()
        read = Dashboard.from_json(json.loads(MADE[name]))
        again = json.loads(json.dumps(read, cls=JSONEncoder))
        assert list(lost(PAGES[name], again)) == []

    @pytest.mark.parametrize("view", views(RECORDS), ids=lambda view: view.name)
    def test_every_panel_asks_what_its_view_declares(self, view: View) -> None:
        page = PAGES[f"grafana/dashboards/{folder(view.name)}/{view.name}.json"]
        shown = list(panels(page))
        assert page["uid"] == uid(view.name)
        assert [drawn["title"] for drawn in shown] == [panel.title for panel in view.panels]  # of each record type by itself
        for panel, drawn in zip(view.panels, shown, strict=True):
            (target,) = drawn["targets"]
            assert target["datasource"]["uid"] == DATASOURCES[panel.source]
            assert (target.get("rawSql") or target["expr"]) == panel.query

    @pytest.mark.parametrize("name", PAGES)
    def test_panels_have_ids_of_their_own_and_lie_beside_each_other(self, name: str) -> None:
        placed = [(panel["id"], panel["gridPos"]) for panel in PAGES[name]["panels"]]
        assert len({number for number, _ in placed}) == len(placed)
        cells = [
            (x, y) for _, p in placed for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])
        ]  # fmt: skip
        assert len(set(cells)) == len(cells), "two panels lie on each other"
        assert max(x for x, _ in cells) < 24

    def test_a_link_leads_to_a_dashboard_with_its_variables(self) -> None:
        found = re.findall(r'"url": "(/d/[^"]+)"', MADE["grafana/dashboards/flowlake/alerts.json"])
        assert found == [
            "/d/flowlake-flows?var-source=${__data.fields.flows_of:percentencode}&var-target=${__data.fields.flows_to:percentencode}"
            "&from=${__data.fields.begin_ms:percentencode}&to=${__data.fields.end_ms:percentencode}&${sensor:queryparam}"
        ]
        named = {variable["name"] for variable in PAGES["grafana/dashboards/flowlake/flows.json"]["templating"]["list"]}
        assert named == {"sensor", "source", "target"}

    def test_limits_are_colours(self) -> None:
        shown = {panel["title"]: panel for panel in panels(PAGES["grafana/dashboards/flowlake platform/pipeline.json"])}

        def steps(title: str) -> list[tuple[float | None, str]]:
            return [(step["value"], step["color"]) for step in shown[title]["fieldConfig"]["defaults"]["thresholds"]["steps"]]

        assert steps("Messages behind") == [(None, "green"), (1000, "yellow"), (100_000, "red")]
        assert steps("Queries running") == [(None, "red"), (1, "green")]

    def test_what_is_urgent_is_red_in_every_panel(self) -> None:
        """Wherever words of severity or priority are shown, they have the colours of these."""
        shown = {panel["title"]: panel for panel in panels(PAGES["grafana/dashboards/flowlake/alerts.json"])}

        def overrides(title: str, name: str) -> dict[str, str]:
            found = {}
            for rule in shown[title]["fieldConfig"]["overrides"]:
                for given in rule["properties"]:
                    if given["id"] == "color":
                        found[rule["matcher"]["options"].strip("/$")] = given["value"]["fixedColor"]
                    if given["id"] == "mappings" and rule["matcher"]["options"] == name:
                        found |= {word: told["color"] for word, told in given["value"][0]["options"].items()}
            return found

        priorities = {"CRITICAL": "red", "HIGH": "orange", "MEDIUM": "yellow", "LOW": "blue"}
        severities = {"5 critical": "red", "4 high": "orange", "3 medium": "yellow", "2 minor": "light-blue", "1 low": "blue"}
        assert overrides("Incidents", "priority") == overrides("Incidents to see to", "priority") == priorities
        assert overrides("Alerts", "severity").items() >= severities.items()
        assert overrides("Alerts by severity", "metric").items() >= severities.items()
        (transformation,) = shown["Incidents to see to"]["transformations"]
        assert transformation["id"] == "rowsToFields"  # a bar's name is a field's: overrides find it
        named = {(view.name, panel.key) for view in views(RECORDS) for panel in view.panels for field in panel.columns if field.colours}
        words = {
            (view.name, panel.key) for view in views(RECORDS) for panel in view.panels
            if re.search(r"\b(severity|priority) (AS|,)|AS (severity|priority)\b|SELECT priority", panel.query)
        }  # fmt: skip
        assert words <= named


class TestMonitoringRules:
    def test_grafana_has_those_of_prometheus_and_those_of_the_database(self) -> None:
        platform, on_call = yaml.safe_load(MADE["grafana/provisioning/alerting/flowlake.yml"])["groups"]
        assert [rule["title"] for rule in platform["rules"]] == [rule.name for rule in rules.RULES]
        assert [rule["title"] for rule in on_call["rules"]] == [rule.name for rule in rules.DATABASE_RULES]
        assert {platform["folder"], on_call["folder"]} == {folder(view.name) for view in views(RECORDS)}

    def test_a_rule_of_grafana_is_whole(self) -> None:
        groups = yaml.safe_load(MADE["grafana/provisioning/alerting/flowlake.yml"])["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        assert len({rule["uid"] for rule in found}) == len(found)
        for rule in found:
            asked = {data["refId"]: data for data in rule["data"]}
            assert rule["condition"] in asked
            assert asked[rule["condition"]]["model"]["expression"] in asked
            assert {data["datasourceUid"] for data in asked.values()} <= {*DATASOURCES.values(), "__expr__"}
            assert set(re.findall(r"\$values\.(\w+)", rule["annotations"]["summary"])) <= set(asked)
            assert len(rule["uid"]) <= 40

    def test_no_annotation_looks_like_a_variable_of_the_environment(self) -> None:
        for rule in (*rules.RULES, *rules.DATABASE_RULES):
            assert "${" not in rule.summary + rule.description

    def test_each_is_tested_where_it_fires_and_where_it_does_not(self) -> None:
        tests = yaml.safe_load((INFRA / "prometheus" / "flowlake.rules.test.yml").read_text("utf-8"))["tests"]
        tried = [case for test in tests for case in test["alert_rule_test"]]
        for fires in (True, False):
            assert {c["alertname"] for c in tried if bool(c.get("exp_alerts")) == fires} == {rule.name for rule in rules.RULES}

    @pytest.mark.parametrize(
        "what",
        [("check", "rules", "flowlake.rules.yml"), ("test", "rules", "flowlake.rules.test.yml"), ("check", "config", "prometheus.yml")],
    )
    def test_promtool(self, what: tuple[str, str, str], tmp_path: Path) -> None:
        if not shutil.which("promtool"):
            pytest.skip("no promtool on PATH: apt-get install prometheus")
        folder = tmp_path / "prometheus"
        shutil.copytree(INFRA / "prometheus", folder)
        (folder / "flowlake-sensors.yml").write_text("- targets: ['127.0.0.1:9109']\n")
        done = subprocess.run(["promtool", *what], cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def lost(written: Any, read: Any, path: str = "") -> Iterator[str]:
    """What of a document is not in another one, which may have more: defaults."""
    if isinstance(written, dict) and isinstance(read, dict):
        for name, value in written.items():
            if value is not None:
                yield from lost(value, read.get(name), f"{path}/{name}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for number, (one, other) in enumerate(zip(written, read, strict=True)):
            yield from lost(one, other, f"{path}/{number}")
    elif written != read:
        yield f"{path}: {written!r}, {read!r}"
