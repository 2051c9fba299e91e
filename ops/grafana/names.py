"""What dashboards, data sources, folders and rules are called in Grafana: one refers to another by these."""

from __future__ import annotations

from ops.views.model import Source

#: Identities of the data sources.
DATASOURCES: dict[Source, str] = {"hot": "flowlake-hot", "alerts": "flowlake-alerts", "metrics": "flowlake-metrics"}
#: Their plugins.
PLUGINS: dict[Source, str] = {"hot": "grafana-postgresql-datasource", "alerts": "grafana-postgresql-datasource", "metrics": "prometheus"}
#: Folder of what people on call look at, and of what those who run the platform look at.
TRAFFIC, PLATFORM = "flowlake", "flowlake platform"
FOLDERS = {"model": PLATFORM, "pipeline": PLATFORM, "storage": PLATFORM}
#: By which dashboards find each other.
TAG = "flowlake"


def uid(view: str) -> str:
    """Identity of a view's dashboard."""
    return f"flowlake-{view}"


def folder(view: str) -> str:
    """Folder of a view's dashboard."""
    return FOLDERS.get(view, TRAFFIC)
