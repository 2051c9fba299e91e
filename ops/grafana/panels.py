"""A panel of a view as a panel of Grafana."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args
from urllib.parse import quote

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog import builder as cog
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models import common as styles
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DynamicConfigValue, GridPos

from ops.grafana.names import DATASOURCES, PLUGINS, uid
from ops.views.model import SENSOR, Colour, Field, Link, Panel, Source

_SERIES = ("timeseries", "bars_over_time")
#: Most points of a series: more than a screen shows costs time only.
POINTS = 400
#: Colours by Grafana's names; gray has none.
_COLOURS: dict[Colour, str] = {name: name for name in get_args(Colour)} | {"gray": "#8e8e8e"}


class PostgresQuery(variants.Dataquery, cog.Builder[variants.Dataquery]):
    """A question to PostgreSQL, which the SDK has no type for (fields as in Grafana's documentation of the data source)."""

    def __init__(self, source: Source, sql: str, form: str) -> None:
        self._source, self._sql, self._form = source, sql, form

    def build(self) -> variants.Dataquery:
        return self

    def to_json(self) -> dict[str, object]:
        return {
            "refId": "A",
            "datasource": {"type": PLUGINS[self._source], "uid": DATASOURCES[self._source]},
            "editorMode": "code",
            "format": self._form,
            "rawQuery": True,
            "rawSql": self._sql,
        }


def reference(source: Source) -> DataSourceRef:
    """A data source as dashboards name it."""
    return DataSourceRef(type_val=PLUGINS[source], uid=DATASOURCES[source])


def built(panel: Panel, number: int, place: GridPos) -> Any:
    """A builder of the SDK for a panel.

    Parameters
    ----------
    panel
        The declaration.
    number
        Unique in its dashboard.
    place
        Where it lies.
    """
    made = _SHAPES[panel.kind](panel)
    made.id(number).title(panel.title).description(panel.description).grid_pos(place)
    made.datasource(reference(panel.source)).interval(panel.interval).max_data_points(POINTS)
    made.with_target(_target(panel)).thresholds(_thresholds(panel))
    if panel.unit:
        made.unit(panel.unit)
    _colour_words(panel, made)
    for field in panel.columns:
        if properties := list(_properties(panel, field)):
            made.override_by_name(field.name, properties)
    return made


def _target(panel: Panel) -> cog.Builder[variants.Dataquery]:
    if panel.source != "metrics":
        return PostgresQuery(panel.source, panel.query, "time_series" if panel.kind in _SERIES else "table")
    query = prometheus.Dataquery().expr(panel.query).ref_id("A").datasource(reference("metrics"))
    if panel.legend:
        query.legend_format(panel.legend)
    return query.range() if panel.kind in _SERIES else query.instant()


def _stat(panel: Panel) -> stat.Panel:
    made = stat.Panel().reduce_options(_last()).graph_mode(styles.BigValueGraphMode.NONE)
    limited = panel.warn is not None or panel.bad is not None
    return made.color_mode(styles.BigValueColorMode.BACKGROUND if limited else styles.BigValueColorMode.NONE)


def _bars(_: Panel) -> bargauge.Panel:
    rows = common.ReduceDataOptions().values(True).calcs([])
    made = bargauge.Panel().reduce_options(rows).orientation(styles.VizOrientation.HORIZONTAL).min(0)
    return made.display_mode(styles.BarGaugeDisplayMode.BASIC).show_unfilled(False)


def _table(_: Panel) -> table.Panel:
    return table.Panel().cell_height(styles.TableCellHeight.SM).align(styles.FieldTextAlignment.AUTO).inspect(False).filterable(True)


def _series(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().min(0).tooltip(common.VizTooltipOptions().mode(styles.TooltipDisplayMode.MULTI))
    made.legend(
        common.VizLegendOptions()
        .display_mode(styles.LegendDisplayMode.LIST)
        .placement(styles.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    if panel.kind == "bars_over_time":
        made.draw_style(styles.GraphDrawStyle.BARS).fill_opacity(80).line_width(0)
    else:
        # A gap stays a gap: what is not known is not drawn.
        made.draw_style(styles.GraphDrawStyle.LINE).fill_opacity(10).line_width(1).span_nulls(False)
        made.show_points(styles.VisibilityMode.AUTO)
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(styles.StackingMode.NORMAL).group("A"))
    return made


_SHAPES: dict[str, Callable[[Panel], Any]] = {
    "stat": _stat,
    "bars": _bars,
    "table": _table,
    "timeseries": _series,
    "bars_over_time": _series,
}


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """Green, yellow and red; without limits one colour."""
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(_steps(panel))


def _steps(panel: Panel) -> list[models.Threshold]:
    limits = [(panel.warn, "yellow"), (panel.bad, "red")]
    if panel.falling:  # below `bad` red, below `warn` yellow
        limits = [(panel.bad, "yellow"), (panel.warn, "green")]
        steps = [models.Threshold(None, "red")]
    else:
        steps = [models.Threshold(None, "green")]
    given = [models.Threshold(value, color) for value, color in limits if value is not None]
    # Two limits at one number: the later one holds.
    return steps + [step for n, step in enumerate(given) if n + 1 == len(given) or given[n + 1].value != step.value]


def _colour_words(panel: Panel, made: Any) -> None:
    """Series and bars whose names have a colour; those of a table's cells are properties of their column."""
    coloured = next((field for field in panel.columns if field.colours), None)
    if coloured is None or panel.kind == "table":
        return
    for word, colour in coloured.colours.items():
        fixed = [DynamicConfigValue("color", {"mode": "fixed", "fixedColor": _COLOURS[colour]})]
        if panel.kind == "bars":
            made.override_by_name(word, fixed)
        else:  # before the name of a series others may stand
            made.override_by_regexp(f"/{word}$/", fixed)
    if panel.kind == "bars":  # each row becomes a field: only fields have colours of their own
        (number,) = (field for field in panel.columns if field.type == "number")
        keys = {coloured.name: "field.name", number.name: "field.value"}
        mappings = [{"fieldName": name, "handlerKey": key} for name, key in keys.items()]
        made.with_transformation(models.DataTransformerConfig("rowsToFields", options={"mappings": mappings}))
        made.reduce_options(_last())


def _cells(field: Field) -> Iterable[DynamicConfigValue]:
    """How words of a table's column are coloured."""
    words = {word: {"color": _COLOURS[colour], "index": n} for n, (word, colour) in enumerate(field.colours.items())}
    yield DynamicConfigValue("mappings", [{"type": "value", "options": words}])
    yield DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"})


def _properties(panel: Panel, field: Field) -> Iterable[DynamicConfigValue]:
    """How a column is shown, where another way than its panel."""
    if panel.kind in _SERIES and field.name in ("time", "metric"):
        return
    if field.title or "_" in field.name:
        yield DynamicConfigValue("displayName", field.label)
    if field.unit:
        yield DynamicConfigValue("unit", field.unit)
    if field.colours and panel.kind == "table":
        yield from _cells(field)
    if field.hidden:
        yield DynamicConfigValue("custom.hidden", True)
    if field.link:
        yield DynamicConfigValue("links", [{"title": field.link.title, "url": address(field.link), "targetBlank": False}])


def address(link: Link) -> str:
    """Address of a view with what a row says: variables, time; chosen sensors stay as they are."""
    taken = [f"var-{variable}={_value(column)}" for variable, column in link.variables.items()]
    if link.begin and link.end:
        taken += [f"from={_value(link.begin)}", f"to={_value(link.end)}"]
    else:
        taken.append("${__url_time_range}")
    return f"/d/{quote(uid(link.view))}?{'&'.join([*taken, f'${{{SENSOR}:queryparam}}'])}"


def _value(column: str) -> str:
    return f"${{__data.fields.{column}:percentencode}}"


def places(panels: Sequence[Panel], y: int) -> list[GridPos]:
    """Where panels lie, side by side as long as there is room.

    Parameters
    ----------
    panels
        In their order.
    y
        The row of the grid where the first lies.
    """
    found: list[GridPos] = []
    x = tallest = 0
    for panel in panels:
        if x + panel.width > 24:
            x, y, tallest = 0, y + tallest, 0
        found.append(GridPos(h=panel.height, w=panel.width, x=x, y=y))
        x, tallest = x + panel.width, max(tallest, panel.height)
    return found
