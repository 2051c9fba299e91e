"""What a real Grafana says of the dashboards, where there is one."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from ops.grafana.files import files
from schemas.packets import FLOWS
from schemas.windowrecords import WINDOWS

pytestmark = pytest.mark.integration
PAGES = {name: json.loads(content) for name, content in files([FLOWS, *WINDOWS.values()]).items() if name.endswith(".json")}


class GrafanaApi:
    """Its HTTP API, as a service account with the role Admin."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url.rstrip("/"), token

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"{self._url}/api/{path}",
            json.dumps(body).encode() if body is not None else None,
            {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{method} {path}: {e.code} {e.read().decode('utf-8', 'replace')}") from e


@pytest.fixture(scope="module")
def grafana() -> GrafanaApi:
    url, token = os.environ.get("FLOWLAKE_GRAFANA_URL", ""), os.environ.get("FLOWLAKE_GRAFANA_TOKEN", "")
    if not url or not token:
        pytest.skip("FLOWLAKE_GRAFANA_URL and FLOWLAKE_GRAFANA_TOKEN name no Grafana (a service account with the role Admin)")
    return GrafanaApi(url, token)


@pytest.fixture(scope="module")
def folder(grafana: GrafanaApi) -> Iterator[str]:
    """A folder of this test alone."""
    uid = f"flowlake-test-{uuid.uuid4().hex[:12]}"
    grafana.call("POST", "folders", {"uid": uid, "title": uid})
    yield uid
    grafana.call("DELETE", f"folders/{uid}?forceDeleteRules=true")


class TestRealGrafana:
    @pytest.mark.parametrize("name", PAGES)
    def test_it_takes_a_dashboard_and_gives_it_back(self, grafana: GrafanaApi, folder: str, name: str) -> None:
        uid = uuid.uuid4().hex
        page = {**PAGES[name], "uid": uid, "title": f"{PAGES[name]['title']} {uid}", "id": None}
        said = grafana.call("POST", "dashboards/db", {"dashboard": page, "folderUid": folder, "overwrite": False})
        assert said["status"] == "success"
        kept = grafana.call("GET", f"dashboards/uid/{uid}")["dashboard"]
        assert [panel["title"] for panel in kept["panels"]] == [panel["title"] for panel in page["panels"]]
        asked = [target for panel in kept["panels"] for target in panel.get("targets", ())]
        assert [t.get("rawSql") or t["expr"] for t in asked] == [
            t.get("rawSql") or t["expr"] for panel in page["panels"] for t in panel.get("targets", ())
        ]
