"""The pages over HTTP: their figures are the database's, who may ask, what is refused, what happens while the database is away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient

from infra.config import Settings
from jobs.incidents import page, people
from ops.cli import alertpage
from ops.dash import app, guard
from ops.dash.login import COOKIE, TRIES, Logins
from ops.dash.site import Site
from tests import dashdata
from tests.integration.dash.conftest import Door
from tests.integration.sinkbench import run

pytestmark = pytest.mark.integration
HTML = {"accept": "text/html"}
PASSWORD = "correct horse battery"


def client_of(settings: Settings, logins: Logins | None = None, *, secure: bool = False) -> Iterator[TestClient]:
    site = Site(settings)
    made = app.build(site, guard.own_names("127.0.0.1", ["dash.example"]), logins, secure)
    with TestClient(made, base_url=f"http{'s' if secure else ''}://127.0.0.1", follow_redirects=False) as client:
        yield client
    site.close()


@pytest.fixture(scope="module")
def client(stores: Settings) -> Iterator[TestClient]:
    yield from client_of(stores)


@pytest.fixture
def guarded(stores: Settings) -> Iterator[TestClient]:
    """Of a server that wants a password and speaks TLS."""
    yield from client_of(stores, Logins(PASSWORD), secure=True)


def panels(client: TestClient, view: str, query: str = "") -> dict[str, dict[str, Any]]:
    answer = client.get(f"/api/view/{view}?{query}")
    assert answer.status_code == 200, answer.text
    return {panel["key"]: panel for panel in answer.json()["panels"]}


def test_figures_are_those_of_the_database(client: TestClient, stores: Settings) -> None:
    found = panels(client, "alerts")
    assert found["open_alerts"]["rows"] == [[run(stores.alerts, "SELECT count(*) FROM alerts WHERE resolved_at IS NULL")[0][0]]]
    kinds = run(stores.alerts, "SELECT attack_type, count(*) FROM alerts GROUP BY 1")
    assert {tuple(row) for row in found["kinds"]["rows"]} == set(kinds)
    titles = {row[0] for row in run(stores.alerts, "SELECT title FROM incidents")}
    incidents = found["incidents"]
    assert {row[incidents["columns"].index("title")] for row in incidents["rows"]} == titles
    attacks = panels(client, "attacks")["flows_kinds"]["rows"]
    assert {tuple(row) for row in attacks} == set(
        run(stores.hot, "SELECT attack_type, count(*) FROM network_flows WHERE predicted_label = 1 GROUP BY 1")
    )


def test_a_sensor_and_a_range_are_what_is_counted(client: TestClient, stores: Settings) -> None:
    for sensor in dashdata.SENSORS:
        row = panels(client, "flows", f"from=now-2h&sensor={sensor}")["flows_found"]["rows"]
        assert row == [[run(stores.hot, "SELECT count(*) FROM network_flows WHERE sensor_id = %s", sensor)[0][0]]]
    assert panels(client, "flows", "from=2020-01-01&to=2020-01-02")["flows_found"]["rows"] == [[0]]
    both = panels(client, "flows", "from=now-2h&sensor=edge-1&sensor=edge-2")["flows_found"]["rows"]
    assert both == [[run(stores.hot, "SELECT count(*) FROM network_flows WHERE sensor_id LIKE 'edge-_'")[0][0]]]


def test_every_view_is_a_page_whose_panels_are_answered(client: TestClient) -> None:
    views = client.get("/api/views").json()
    assert len(views) >= 7
    for view in views:
        page = client.get(f"/view/{view['name']}", headers=HTML)
        assert (page.status_code, "Traceback" in page.text) == (200, False)
        for key, panel in panels(client, view["name"]).items():
            off = ("window_features yet", "flow_exports yet", "hourly_flow_exports yet", "interface_counters yet")
            absent = ("Prometheus", "archive_months", *off)
            assert "error" not in panel or any(said in panel["error"] for said in absent), (key, panel)
            assert "turns them on" in panel.get("hint", "") or not any(said in panel.get("error", "") for said in off), (key, panel)
            assert f'data-key="{key}"' in page.text


def test_from_an_incident_to_its_alerts_to_their_flows(client: TestClient, stores: Settings) -> None:
    ((incident, alerts),) = run(
        stores.alerts, "SELECT incident_id::text, array_agg(id::text) FROM alerts WHERE attack_type = 'SSH_BRUTE_FORCE' GROUP BY 1"
    )
    listed = client.get("/view/alerts", headers=HTML).text
    assert f'href="/incident/{incident}"' in listed
    page = client.get(f"/incident/{incident[:8]}", headers=HTML).text
    assert f'href="/alert/{alerts[0]}"' in page
    assert "T1110.001" in page
    flows = client.get(f"/alert/{alerts[0]}", headers=HTML).text
    assert flows.count('<tr role="row">') == 1 + 25
    assert f'href="/incident/{incident}"' in flows


def test_the_page_of_an_alert_says_what_the_command_says(client: TestClient, stores: Settings) -> None:
    ((alert,),) = run(stores.alerts, "SELECT id::text FROM alerts WHERE attack_type = 'SSH_BRUTE_FORCE'")
    with people.acting(stores.alerts, "anna") as cursor:
        known = page.read(cursor, alert, people.labels_of(stores))
    text = unescape(client.get(f"/alert/{alert[:8]}", headers=HTML).text)
    assert known["check"]
    assert f"Check {known['check']}" in text
    assert f'href="{known["technique"]["url"]}"' in text
    assert f"{known['technique']['id']} {known['technique']['name']}" in text
    assert [f"<code>{command}</code>" in text for command in alertpage.commands(known)] == [True] * 4
    told = {name: words for name, words in alertpage.facts(known) if name in ("who", "how many", "how sure", "state", "evidence")}
    assert [name for name, words in told.items() if words not in text] == []
    assert len(told) == 5
    run(stores.alerts, "UPDATE alerts SET resolved_at = now(), resolved_by = 'anna', action_taken = 'locked' WHERE id = %s", alert)
    text = unescape(client.get(f"/alert/{alert}", headers=HTML).text)
    assert "resolved by anna at " in text
    assert text.count("resolved by anna") == 2  # its state, and its history
    assert "flowlake alerts resolve" not in text
    run(stores.alerts, "UPDATE alerts SET resolved_at = NULL, resolved_by = NULL, action_taken = 'none' WHERE id = %s", alert)


def test_a_crowd_is_a_number_and_not_nothing(client: TestClient, stores: Settings) -> None:
    alerts = panels(client, "alerts")["alerts"]
    rows = [dict(zip(alerts["columns"], row, strict=True)) for row in alerts["rows"]]
    ends = {row["attack_type"]: (row["source"], row["target"]) for row in rows}
    assert ends["SYN_FLOOD"] == ("600 sources", "10.0.2.1")
    assert ends["SYN_SCAN"] == ("6.6.6.6", "39 targets")
    ((alert, incident),) = run(stores.alerts, "SELECT id::text, incident_id::text FROM alerts WHERE attack_type = 'SYN_SCAN'")
    assert "<h1>SYN_SCAN: 6.6.6.6 to 39 targets</h1>" in client.get(f"/alert/{alert}", headers=HTML).text
    assert "39 targets" in client.get(f"/incident/{incident}", headers=HTML).text


def test_an_incident_says_what_can_be_done_as_it_stands(client: TestClient, stores: Settings) -> None:
    ((incident,),) = run(stores.alerts, "SELECT id::text FROM incidents WHERE title LIKE 'Botnet%%'")

    def said() -> list[bool]:
        text = client.get(f"/incident/{incident}", headers=HTML).text
        assert incident in text
        return [f"flowlake incidents {act} {incident[:8]}" in text for act in ("assign", "resolve", "false-positive", "pcap", "reopen")]

    assert said() == [True, True, True, True, False]
    run(stores.alerts, "UPDATE incidents SET status = 'FALSE_POSITIVE', closed_at = now(), closed_by = 'anna' WHERE id = %s", incident)
    assert said() == [False, False, False, False, True]
    run(stores.alerts, "UPDATE incidents SET status = 'OPEN', closed_at = NULL, closed_by = NULL WHERE id = %s", incident)


def test_what_is_urgent_is_red(client: TestClient) -> None:
    drawn = client.get("/view/alerts/panels").json()["panels"]
    legend = re.findall(r'<i class="([^"]+)"></i>([^<]+)<', drawn["severity_over_time"])
    assert {name: colour for colour, name in legend}.items() <= {
        "1 low": "c-blue", "2 minor": "c-light-blue", "3 medium": "c-yellow", "4 high": "c-orange", "5 critical": "c-red",
        "suppressed": "c-gray",
    }.items()  # fmt: skip
    assert len(legend) >= 2
    assert [name for _, name in legend] == sorted(name for _, name in legend)
    assert 'class="c-orange"' in drawn["by_priority"] or 'class="c-red"' in drawn["by_priority"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/incident/zzzz", 404), ("/incident/00000000-0000-0000-0000-000000000000", 404), ("/alert/1", 404), ("/view/nothing", 404),
        ("/alert/00000000-0000-0000-0000-000000000000", 404), ("/nothing", 404), ("/static/../app.py", 404), ("/static/app.py", 404),
        ("/view/alerts?from=yesterday", 400), ("/view/alerts?from=now&to=now-1h", 400), ("/api/view/flows?sensor=%00", 400),
        (f"/view/alerts?sensor={'x' * 300}", 400), (f"/view/alerts?from={'x' * 9000}", 414), ("/view/flows?var-source=%00", 400),
        ("/api/view/<script>alert(1)</script>", 404),
    ],
)  # fmt: skip
def test_what_is_not_there_or_no_question_is_said(client: TestClient, path: str, status: int) -> None:
    for accept in ("text/html", "application/json"):
        answer = client.get(path, headers={"accept": accept})
        assert answer.status_code == status, answer.text[:300]
        assert "<script>alert" not in answer.text or accept == "application/json"


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/", "/view/traffic"), ("/view/alerts/", "/view/alerts"), ("/view/alerts/?from=now-6h", "/view/alerts?from=now-6h"),
        ("//view/alerts//", "/view/alerts"), ("/health/", "/health"),
    ],
)  # fmt: skip
def test_a_page_elsewhere_is_named_by_its_path(client: TestClient, path: str, to: str) -> None:
    """Not with http:// before it: in front of this server there may be another, which speaks TLS."""
    assert client.get(f"http://127.0.0.1{path}").headers["location"] == to


@pytest.mark.parametrize("path", ["//evil.example/", "/nothing/", "/logout/"])
def test_what_is_nowhere_leads_nowhere(client: TestClient, path: str) -> None:
    answer = client.get(f"http://127.0.0.1{path}")
    assert (answer.status_code, "location" in answer.headers) == (404, False)


def test_an_address_that_is_none_is_said_in_its_panel(client: TestClient) -> None:
    found = panels(client, "flows", "var-source=nonsense")
    assert "nonsense" in found["flows_rows"]["error"]
    assert client.get("/view/flows?var-source=nonsense", headers=HTML).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_can_be_done(client: TestClient, method: str) -> None:
    for path in ("/", "/view/alerts", "/api/view/alerts"):
        answer = client.request(method, path, headers={"origin": "http://127.0.0.1"})
        assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (405, False)


def test_the_database_itself_would_refuse_to_write(stores: Settings) -> None:
    site = Site(stores)
    for statement in (
        "DELETE FROM alerts",
        "CREATE TABLE t (x int)",
        "SELECT set_config('transaction_read_only', 'off', false); DELETE FROM alerts",
    ):
        with pytest.raises(Exception, match=r"read-only|must be set before any query"):
            site.answers.pools.alerts.run(lambda cursor, sql=statement: cursor.execute(sql))
    site.close()
    assert run(stores.alerts, "SELECT count(*) > 0 FROM alerts") == [(True,)]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", ""])
def test_a_name_that_is_not_ours_gets_nothing(client: TestClient, host: str) -> None:
    answer = client.get("/api/view/alerts", headers={"host": host})
    assert (answer.status_code, "panels" in answer.text) == (421, False)
    assert client.get("/health", headers={"host": "dash.example:8000"}).status_code == 200


def test_headers_that_keep_others_out(client: TestClient) -> None:
    for path in ("/view/alerts", "/nothing", "/api/view/alerts", "/static/dash.css"):
        headers = client.get(path, headers=HTML).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert (headers["x-frame-options"], headers["x-content-type-options"], headers["referrer-policy"]) == (
            "DENY",
            "nosniff",
            "same-origin",
        )
        assert "server" not in headers
    assert client.get("/view/alerts", headers=HTML).headers["cache-control"] == "no-store"
    assert "immutable" in client.get("/static/dash.css").headers["cache-control"]


def test_a_login_is_wanted_and_gives_a_cookie_that_scripts_do_not_see(guarded: TestClient) -> None:
    assert guarded.get("/api/view/alerts").status_code == 401
    assert guarded.get("/static/dash.css").status_code == 200
    there = guarded.get("/view/alerts?from=now-6h", headers=HTML)
    assert there.headers["location"] == "/login?next=%2Fview%2Falerts%3Ffrom%3Dnow-6h"
    assert 'value="/view/alerts?from=now-6h"' in guarded.get(there.headers["location"]).text
    wrong = guarded.post("/login", data={"password": "wrong"})
    assert (wrong.status_code, "set-cookie" in wrong.headers, "not the password" in wrong.text) == (401, False, True)
    right = guarded.post("/login", data={"password": PASSWORD, "next": "/view/alerts?from=now-6h"})
    assert (right.status_code, right.headers["location"]) == (303, "/view/alerts?from=now-6h")
    cookie = right.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Secure", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "max-age" in right.headers["strict-transport-security"]
    assert guarded.get("/api/view/alerts").status_code == 200
    kept = guarded.cookies[COOKIE]
    assert guarded.post("/logout").status_code == 303
    guarded.cookies.set(COOKIE, kept, domain="127.0.0.1")
    assert guarded.get("/api/view/alerts").status_code == 401


def test_who_guesses_waits_even_with_the_right_password(guarded: TestClient) -> None:
    for _ in range(TRIES):
        assert guarded.post("/login", data={"password": "wrong"}).status_code == 401
    late = guarded.post("/login", data={"password": PASSWORD})
    assert (late.status_code, int(late.headers["retry-after"]) > 0, "set-cookie" in late.headers) == (429, True, False)


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/\tx", ""])
def test_a_login_leads_nowhere_else(guarded: TestClient, to: str) -> None:
    assert guarded.post("/login", data={"password": PASSWORD, "next": to}).headers["location"] == "/"


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}]
)
def test_another_page_cannot_send_the_form(guarded: TestClient, headers: dict[str, str]) -> None:
    assert guarded.post("/login", data={"password": PASSWORD}, headers=headers).status_code == 403


def test_a_form_that_is_too_long_is_refused(guarded: TestClient) -> None:
    assert guarded.post("/login", content=b"password=" + b"x" * 10_000).status_code == 400


def test_the_password_is_in_no_page(guarded: TestClient) -> None:
    guarded.post("/login", data={"password": PASSWORD})
    for path in ("/login", "/view/alerts", "/api/view/alerts"):
        assert PASSWORD not in guarded.get(path, headers=HTML).text


def test_a_database_that_is_away_is_said_and_found_again(stores: Settings, door: Door) -> None:
    where = {"host": "127.0.0.1", "port": door.port}
    settings = stores.model_copy(update={name: getattr(stores, name).model_copy(update=where) for name in ("hot", "alerts")})
    for client in client_of(settings):
        assert panels(client, "alerts")["open_alerts"]["rows"]
        door.shut()
        assert _until(client, lambda errors, problem: f"127.0.0.1:{door.port}" in problem and len(errors) == 1)
        page = client.get("/view/alerts", headers=HTML)
        assert (page.status_code, page.text.count("this page goes on by itself") > 5) == (200, True)
        assert client.get("/incident/0000", headers=HTML).status_code == 503
        door.open()
        assert _until(client, lambda errors, problem: errors == {None} and not problem)
        assert panels(client, "alerts")["open_alerts"]["rows"]


def _until(client: TestClient, holds: Callable[[set[str | None], str], bool]) -> bool:
    """Whether what panels and page say is wrong becomes so: answers are kept for a second, what is away is left alone for two."""
    for _ in range(100):
        errors = {panel.get("error") for panel in panels(client, "alerts").values()}
        if holds(errors, client.get("/view/alerts/panels").json()["problem"]):
            return True
        assert client.portal is not None
        client.portal.call(_pause)
    return False


async def _pause() -> None:
    import anyio

    await anyio.sleep(0.1)


def test_an_analyst_sees_all_but_notes_and_audit(stores: Settings) -> None:
    role = {"user": "dash_analyst"}
    run(
        stores.alerts,
        "DO $$ BEGIN CREATE ROLE dash_analyst LOGIN IN ROLE flowlake_analyst; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    settings = stores.model_copy(update={name: getattr(stores, name).model_copy(update=role) for name in ("hot", "alerts")})
    ((incident,),) = run(stores.alerts, "SELECT id::text FROM incidents WHERE title LIKE 'Botnet%%'")
    for client in client_of(settings):
        assert "error" not in panels(client, "alerts")["incidents"]
        page = client.get(f"/incident/{incident}", headers=HTML)
        assert (page.status_code, page.text.count("may not see this")) == (200, 2)
        assert "BOTNET_BEACON" in page.text
