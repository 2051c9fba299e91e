"""What all views have in common, whatever the record types are."""

from __future__ import annotations

import re

import pytest

from ops.views.catalogue import sensors_query, views
from ops.views.model import Field, Link, Panel, View
from ops.views.subjects import Subject, subjects
from schemas.packets import FLOWS
from schemas.windowrecords import WINDOWS
from tests.toy_source.records import READING

#: Of records that have a table each, and with those that share one.
BOTH = views([READING, FLOWS], countries=True)
ALL = views([READING, *WINDOWS.values(), FLOWS], countries=True)


class TestViews:
    def test_the_views_and_their_order(self) -> None:
        names = ["traffic", "attacks", "alerts", "model", "pipeline", "storage", "flows"]
        assert [view.name for view in BOTH] == names

    def test_a_table_that_is_shared_has_a_view_of_its_own(self) -> None:
        assert [view.name for view in ALL] == ["traffic", "attacks", "windows", "alerts", "model", "pipeline", "storage", "flows"]
        others = [panel for view in ALL if view.name not in ("windows", "storage") for panel in view.panels]
        assert not [panel.key for panel in others if "window_features" in panel.query or "windows_" in panel.key + panel.title.lower()]
        (size,) = [panel for view in ALL if view.name == "storage" for panel in view.panels if "window_features" in panel.query]
        assert (size.key, size.title) == ("windows_size", "Size of window_features")

    def test_counts_of_windows_are_of_one_size_or_by_size(self) -> None:
        (view,) = [view for view in ALL if view.name == "windows"]
        for panel in (panel for panel in view.panels if panel.source == "hot" and panel.key != "age"):
            assert re.search(r"window_size = \d+|SELECT .*\bwindow_size\b.* FROM", panel.query), panel.key

    def test_flows_come_first_and_each_record_type_has_its_panels(self) -> None:
        sections = [panel.section for panel in BOTH[0].panels]
        assert sections == sorted(sections, key=lambda section: section != "")
        assert set(sections) == {"", "Readings"}

    def test_countries_only_where_a_file_was_loaded(self) -> None:
        def shown(countries: bool) -> bool:
            return any("ip_countries" in panel.query for view in views([FLOWS], countries=countries) for panel in view.panels)

        assert (shown(True), shown(False)) == (True, False)

    def test_without_a_record_type_what_the_platform_has_is_shown(self) -> None:
        assert {view.name for view in views([]) if view.panels} == {"alerts", "model", "pipeline", "storage"}

    def test_every_link_leads_to_a_view_that_takes_its_variables(self) -> None:
        known = {view.name: {variable.name for variable in view.variables} for view in ALL}
        links = [column.link for view in ALL for panel in view.panels for column in panel.columns if column.link]
        assert links
        for link in links:
            assert set(link.variables) <= known[link.view]

    def test_every_panel_says_what_it_shows_and_a_row_of_them_fits(self) -> None:
        for view in ALL:
            for panel in view.panels:
                assert panel.description.endswith((".", "ID")), f"{view.name}.{panel.key}"
                assert panel.title

    def test_no_question_is_open_in_time(self) -> None:
        """A question of rows says from when to when; what is open stays small by an index, or by what it counts."""
        open_ones = {
            "open_alerts",
            "unassigned",
            "by_priority",
            "archive",
            "flows_size",
            "readings_size",
            "windows_size",
        }
        for panel in (panel for view in ALL for panel in view.panels if panel.source != "metrics"):
            bounded = re.search(r"\$__timeFilter|\$__timeTo", panel.query)
            assert bool(bounded) != (panel.key in open_ones), panel.key

    def test_a_question_asks_one_database(self) -> None:
        """The alerts may have a server of their own."""
        tables = {
            "hot": {
                "network_flows",
                "sensor_readings",
                "hourly_flow_stats",
                "hourly_attack_stats",
                "archive_months",
                "ip_countries",
                "window_features",
            },
            "alerts": {"alerts", "incidents"},
        }
        for panel in (panel for view in ALL for panel in view.panels if panel.source != "metrics"):
            named = set(re.findall(r"\b(?:FROM|JOIN) (\w+)", panel.query)) | set(re.findall(r"to_regclass\('(\w+)'\)", panel.query))
            other = tables["alerts" if panel.source == "hot" else "hot"]
            assert named & tables[panel.source], panel.key
            assert not named & other, panel.key

    def test_sensors_of_those_that_have_them(self) -> None:
        asked = sensors_query(subjects([READING, FLOWS]))
        assert "hourly_flow_stats" in asked
        assert "sensor_readings" not in asked
        assert sensors_query(subjects([READING])) == sensors_query([]) == "SELECT NULL::text AS sensor_id WHERE false"


class TestDeclarations:
    def test_a_panel_with_a_fault_is_refused(self) -> None:
        good = {"key": "k", "title": "t", "kind": "table", "source": "hot", "query": "SELECT 1", "description": "d."}
        one = Field("a", "number")
        faults: list[tuple[dict[str, object], str]] = [
            ({"key": "No Name", "columns": (one,)}, "its key must match"),
            ({}, "SQL has columns"),
            ({"source": "metrics", "columns": (one,)}, "PromQL has none"),
            ({"columns": (one, one)}, "its columns are a, a"),
            ({"columns": (Field("a", "number", link=Link("l", "flows", {"source": "b"})),)}, "a link reads b"),
            ({"kind": "timeseries", "columns": (one,)}, "is the time"),
            ({"columns": (one,), "width": 25}, "not of 1..24"),
        ]
        for fault, said in faults:
            with pytest.raises(ValueError, match=said):
                Panel(**{**good, **fault})  # type: ignore[arg-type]

    def test_a_view_with_a_fault_is_refused(self) -> None:
        panel = Panel("k", "t", "stat", "metrics", "up", "d.")
        with pytest.raises(ValueError, match="'k' is there twice"):
            View("v", "V", "d.", (panel, panel))
        with pytest.raises(ValueError, match="its name must match"):
            View("V 1", "V", "d.", ())
        assert View("v", "V", "d.", (panel,)).panel("k") is panel

    def test_columns_of_a_record_type_by_what_they_are(self) -> None:
        flows, readings = Subject(FLOWS), Subject(READING)
        assert [flows.column("src_ip"), flows.column("flow_id"), flows.column("nothing")] == ["src_ip", "flow_id", ""]
        assert [readings.column("src_ip"), readings.column("flow_id"), readings.column("domain")] == ["", "reading_id", "device"]
        assert (flows.rollup is not None, readings.rollup) == (True, None)
