"""The page in a real browser: its figures, the keyboard, a telephone's width, what it fetches, hostile text, and that it stays fresh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from infra.config import Settings
from tests import dashdata
from tests.integration.sinkbench import run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.integration
#: How many elements a person with a keyboard should come to.
REACHABLE = """
[...document.querySelectorAll('a, button, summary, input, .figure, .scroll')].filter((one) =>
  one.checkVisibility({ visibilityProperty: true }) && !one.closest('details:not([open]) > :not(summary)')).length
"""
#: The element that the keyboard has come to, and whether that is seen; null: none, or one that was met before.
FOCUSED = """
() => {
  const one = document.activeElement;
  if (one === document.body || window.met.has(one)) return null;
  window.met.add(one);
  const style = getComputedStyle(one);
  return [one.outerHTML.slice(0, 80), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
}
"""
HIDE = """(hidden) => {
  Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
VIEWS = ("traffic", "attacks", "windows", "alerts", "model", "pipeline", "storage", "flows")


class Watched:
    """A tab, and what was heard of it."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.address = address
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.requests: list[str] = []
        self.said: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page


@pytest.fixture
def tab(browser: Browser, dash: str) -> Iterator[Watched]:
    watched = Watched(browser, dash)
    yield watched
    watched.context.close()


def values(page: Page, panel: str, column: int = 0) -> list[str]:
    """What a table's column is sorted by: the values themselves."""
    cells: list[str] = page.eval_on_selector_all(
        f'[data-key="{panel}"] tbody tr', "(rows, column) => rows.map((row) => row.cells[column].dataset.v)", column
    )
    return cells


def test_figures_on_the_page_are_those_of_the_database(tab: Watched, stores: Settings) -> None:
    page = tab.open("/view/alerts")
    ((unresolved,),) = run(stores.alerts, "SELECT count(*) FROM alerts WHERE resolved_at IS NULL")
    assert page.inner_text('[data-key="open_alerts"] .figure-number') == str(unresolved)
    kinds = dict(run(stores.alerts, "SELECT attack_type, count(*) FROM alerts GROUP BY 1"))
    assert dict(zip(values(page, "kinds"), map(float, values(page, "kinds", 2)), strict=True)) == kinds
    ids = {row[0] for row in run(stores.alerts, "SELECT id::text FROM incidents")}
    assert set(values(page, "incidents", 7)) == ids
    page = tab.open("/view/traffic?from=now-2h")
    ((attacks, benign),) = run(
        stores.hot, "SELECT count(*) FILTER (WHERE predicted_label = 1), count(*) FILTER (WHERE predicted_label = 0) FROM network_flows"
    )
    drawn = [round(sum(float(v) for v in values(page, "flows_over_time", column))) for column in (1, 2)]
    assert drawn == [pytest.approx(benign, rel=0.02), pytest.approx(attacks, rel=0.02)]  # per minute, rounded to hundredths


def test_nothing_is_fetched_from_elsewhere_and_nothing_fails(tab: Watched) -> None:
    for view in VIEWS:
        tab.open(f"/view/{view}")
    assert tab.requests
    assert [url for url in tab.requests if not url.startswith(f"{tab.address}/")] == []
    assert tab.said == []


def test_hostile_text_is_text(tab: Watched, stores: Settings) -> None:
    ((incident,),) = run(stores.alerts, "SELECT id::text FROM incidents WHERE assigned_to = '<b>ben</b>'")
    ((alert,),) = run(stores.alerts, "SELECT min(id::text) FROM alerts WHERE incident_id = %s", incident)
    hostile = dashdata.HOSTILE.replace("\x1b", "\\x1b")
    for path in ("/view/alerts", f"/incident/{incident}", f"/alert/{alert}"):
        page = tab.open(path)
        assert hostile in page.inner_text("main")
        assert page.locator("main img, main script, main b, main i:not([class])").count() == 0
        assert "owned" not in page.title() or page.title().startswith("<img")
        with page.expect_response("**/panels*"):
            page.evaluate("document.getElementById('pause').click(); document.getElementById('pause').click()")  # asks anew at once
    attack = "%3C/script%3E%3Cimg src=x onerror=alert(1)%3E"
    page = tab.open(f"/view/flows?sensor={attack}&var-source={attack}&from=now-1h")
    assert page.locator("main img").count() == 0
    page.click("summary:has-text('Sensor')")
    assert "<img src=x onerror=alert(1)>" in page.inner_text("fieldset")
    assert tab.said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_shows_every_page_without_scrolling_sideways(browser: Browser, dash: str, stores: Settings, scheme: Any) -> None:
    watched = Watched(browser, dash, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    ((incident, alert),) = run(
        stores.alerts, "SELECT incident_id::text, min(a.id::text) FROM alerts a JOIN incidents i ON i.id = incident_id "
        "WHERE assigned_to IS NOT NULL GROUP BY 1",
    )  # fmt: skip
    for path in (*(f"/view/{view}" for view in VIEWS), f"/incident/{incident}", f"/alert/{alert}", "/view/nothing"):
        page = watched.open(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        for menu in page.locator("details.menu > summary").all():
            menu.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    watched.context.close()


def test_what_leads_on_from_a_row_is_seen_however_wide_its_table_is(browser: Browser, dash: str, stores: Settings) -> None:
    wide = "2001:db8:1111:2222:3333:4444:5555:"
    dashdata.write(stores, [dashdata.attack("DNS_TUNNEL", f"{wide}{n}", f"{wide}ffff") for n in range(1, 3)], 2)
    for width in (1280, 800):
        watched = Watched(browser, dash, viewport={"width": width, "height": 900})
        page = watched.open("/view/alerts")
        cells = page.locator('[data-key="alerts"] td.id')
        assert cells.count() > 1
        for box in (cells.nth(n).bounding_box() for n in range(cells.count())):
            assert box is not None
            assert 0 < box["x"] < box["x"] + box["width"] <= width - 20
        seen = "(cell) => { const b = cell.getBoundingClientRect(); const at = document.elementFromPoint(b.x + 12, b.y + 12);"
        cells.first.scroll_into_view_if_needed()
        assert cells.first.evaluate(f"{seen} return cell.contains(at); }}")
        watched.context.close()


def test_the_attacks_fit_a_screen_of_1280_pixels(browser: Browser, dash: str) -> None:
    watched = Watched(browser, dash, viewport={"width": 1280, "height": 900})
    page = watched.open("/view/attacks")
    wide = "all => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.getAttribute('aria-label'))"
    assert page.locator(".k-table .body > .scroll").count() >= 3
    assert page.eval_on_selector_all(".k-table .body > .scroll", wide) == []
    watched.context.close()


def test_everything_by_keyboard(tab: Watched) -> None:
    page = tab.open("/view/alerts")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    wanted = page.evaluate(REACHABLE)
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    page.evaluate("document.querySelector('.skip').focus()")
    seen, unmarked = 1, []
    page.evaluate("window.met = new Set([document.activeElement])")
    for _ in range(wanted + 20):
        page.keyboard.press("Tab")
        told = page.evaluate(FOCUSED)
        if told is None:
            break
        seen += 1
        unmarked += [] if told[1] else [told[0]]
    assert unmarked == []
    assert seen == wanted


def test_a_range_is_chosen_and_a_menu_closed_by_keyboard(tab: Watched) -> None:
    page = tab.open("/view/alerts")
    page.focus("summary:has-text('Last 24 hours')")
    page.keyboard.press("Enter")
    assert page.is_visible("text=Last 7 days")
    page.keyboard.press("Escape")
    assert not page.is_visible("text=Last 7 days")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    page.focus("a:has-text('Last 7 days')")
    page.keyboard.press("Enter")
    page.wait_for_url("**from=now-7d*")
    assert page.is_visible("summary:has-text('Last 7 days')")


def test_tables_are_sorted_and_curves_read_by_keyboard(tab: Watched) -> None:
    page = tab.open("/view/alerts")
    page.focus('[data-key="alerts"] th:has-text("flows") button')
    for direction, turned in (("descending", True), ("ascending", False)):
        page.keyboard.press("Enter")
        flows = [float(v) for v in values(page, "alerts", 5)]
        assert flows == sorted(flows, reverse=turned)
        assert page.get_attribute('[data-key="alerts"] th:has-text("flows")', "aria-sort") == direction
    page.focus('[data-key="severity_over_time"] .figure')
    page.keyboard.press("End")
    last = page.inner_text('[data-key="severity_over_time"] .readout')
    page.keyboard.press("ArrowLeft")
    assert "UTC:" in last
    assert page.inner_text('[data-key="severity_over_time"] .readout') != last


def test_what_is_new_appears_and_nothing_else_moves(tab: Watched, stores: Settings) -> None:
    from playwright.sync_api import expect

    page = tab.open("/view/alerts")
    page.evaluate("window.same = true")
    page.click('[data-key="alerts"] th:has-text("source") button')
    page.focus('[data-key="alerts"] th:has-text("source") button')
    before = int(page.inner_text('[data-key="open_alerts"] .figure-number'))
    dashdata.write(stores, [dashdata.attack("DNS_TUNNEL", "10.9.9.9", "8.8.4.4")], 1)
    expect(page.locator('[data-key="open_alerts"] .figure-number')).to_have_text(str(before + 1), timeout=15_000)
    expect(page.locator('[data-key="alerts"]')).to_contain_text("10.9.9.9", timeout=15_000)
    assert page.evaluate("window.same")
    assert page.evaluate("document.activeElement.textContent") == "source"
    sources = values(page, "alerts", 3)
    assert page.get_attribute('[data-key="alerts"] th:has-text("source")', "aria-sort") == "ascending"
    assert "10.9.9.9" in sources


def test_it_asks_only_while_somebody_looks(tab: Watched) -> None:
    tab.page.clock.install()
    page = tab.open("/view/alerts")
    asked = lambda: sum("/panels" in url for url in tab.requests)  # noqa: E731
    with page.expect_response("**/panels*"):
        page.clock.run_for(1100)
    page.click("#pause")
    assert page.get_attribute("#pause", "aria-pressed") == "true"
    before = asked()
    page.clock.run_for(60_000)
    assert asked() == before
    with page.expect_response("**/panels*"):
        page.click("#pause")
    page.evaluate(HIDE, True)
    before = asked()
    page.clock.run_for(60_000)
    assert asked() == before
    with page.expect_response("**/panels*"):
        page.evaluate(HIDE, False)
    assert asked() == before + 1


def test_a_past_range_is_not_asked_again(tab: Watched) -> None:
    page = tab.open("/view/alerts?from=2026-01-01&to=2026-01-02")
    assert page.inner_text("#pause") == "Resume"
    assert "Nothing in this range of time" in page.inner_text("main")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_by_the_rules_of_axe(browser: Browser, dash: str, stores: Settings, scheme: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    watched = Watched(browser, dash, color_scheme=scheme)
    ((incident, alert),) = run(
        stores.alerts, "SELECT incident_id::text, min(id::text) FROM alerts WHERE attack_type = 'EXFILTRATION' GROUP BY 1"
    )
    for path in ("/view/traffic", "/view/alerts", f"/incident/{incident}", f"/alert/{alert}"):
        page = watched.open(path)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path}\n{found.generate_report()}"
    watched.context.close()
