"""A view as a dashboard of Grafana."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from ops.grafana.names import TAG, uid
from ops.grafana.panels import built, places, reference
from ops.views.model import SENSOR, View

#: What a custom value for "all" becomes in ``${sensor:sqlstring}``: Grafana puts it in as it is.
_ALL = "NULL"


def made(view: View, sensors: str) -> dict[str, Any]:
    """The dashboard of a view, as JSON.

    Parameters
    ----------
    view
        The view.
    sensors
        SQL that lists the sensors that can be chosen.
    """
    page = dashboard.Dashboard(view.title).uid(uid(view.name)).description(view.description).tags([TAG])
    page.time(f"now-{view.span}", "now").timezone("browser").readonly().tooltip(models.DashboardCursorSync.CROSSHAIR)
    page.refresh(view.refresh or "").link(_others())
    if view.sensors:
        page.with_variable(_sensor(sensors))
    for variable in view.variables:
        typed = dashboard.TextBoxVariable(variable.name).label(variable.title).description(variable.description).default_value("")
        page.with_variable(typed)
    number, y = 1, 0
    for section, of in groupby(view.panels, key=lambda panel: panel.section):
        panels = list(of)
        if section:
            page.with_row(dashboard.Row(section).id(number).grid_pos(models.GridPos(h=1, w=24, x=0, y=y)))
            number, y = number + 1, y + 1
        at = places(panels, y)
        for panel, place in zip(panels, at, strict=True):
            page.with_panel(built(panel, number, place))
            number += 1
        y = max(place.y + place.h for place in at)
    found: dict[str, Any] = json.loads(json.dumps(page.build(), cls=JSONEncoder))
    return found


def _sensor(sql: str) -> dashboard.QueryVariable:
    """Several sensors, or all; asked anew when the time changes."""
    chosen = dashboard.QueryVariable(SENSOR).label("Sensor").datasource(reference("hot")).query(sql)
    chosen.multi(True).include_all(True).all_value(_ALL).sort(models.VariableSort.ALPHABETICAL_ASC)
    chosen.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return chosen.current(models.VariableOption(selected=True, text="All", value="$__all"))


def _others() -> dashboard.DashboardLink:
    """The other dashboards, at the same time and for the same sensors."""
    link = dashboard.DashboardLink("flowlake").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(True).keep_time(True).include_vars(True)
