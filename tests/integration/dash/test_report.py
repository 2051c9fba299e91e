"""``flowlake report`` and what ``flowlake dash`` refuses: as a person calls them, and the file as a browser opens it."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from infra.config import Settings
from ops.cli.main import main
from ops.dash import report
from tests import dashdata
from tests.integration.dash.conftest import Certificate, served
from tests.integration.sinkbench import run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.integration
PASSWORD = "correct horse battery"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(conf: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def called(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--conf-file", str(conf)])
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err

    return called


def test_a_report_needs_nothing_else(call: Call, stores: Settings, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    code, out, err = call("report", "--out", str(file), "--since", "3h")
    assert (code, err, str(file) in out) == (0, "", True)
    text = file.read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    context = browser.new_context(offline=True, viewport={"width": 360, "height": 740})
    page = context.new_page()
    asked, said = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    assert (asked, said) == ([file.as_uri()], [])
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("main img, main script").count() == 0
    ids = {row[0] for row in run(stores.alerts, "SELECT id::text FROM incidents")}
    assert {
        one.removeprefix("incident-") for one in page.eval_on_selector_all("h3[id]", "all => all.map((e) => e.id)") if "incident-" in one
    } == ids
    flood = page.locator('[data-key="attacks-flows_kinds"] tr:has-text("SYN_FLOOD") td.num')
    assert flood.get_attribute("data-v") == "600.0"
    page.set_viewport_size({"width": 1200, "height": 800})
    page.click('[data-key="alerts-alerts"] th:has-text("flows") button')
    flows = page.eval_on_selector_all('[data-key="alerts-alerts"] tbody tr', "all => all.map((e) => Number(e.cells[5].dataset.v))")
    assert flows == sorted(flows, reverse=True)
    context.close()


def test_a_report_is_bounded_and_says_what_it_leaves_out(call: Call, stores: Settings, tmp_path: Path) -> None:
    sizes = []
    for rows in (2, 1000):
        file = tmp_path / f"{rows}.html"
        assert call("report", "--out", str(file), "--since", "3h", "--rows", str(rows))[0] == 0
        sizes.append(file.stat().st_size)
    text = (tmp_path / "2.html").read_text()
    for table in ("alerts", "incidents"):
        ((there,),) = run(stores.alerts, f"SELECT count(*) FROM {table}")
        assert there > 2
        assert f"the first 2 of {there} rows" in text
        assert f"of {there} rows" not in (tmp_path / "1000.html").read_text()
    assert "needs a Prometheus that scrapes flowlake" in text
    assert sizes[0] < sizes[1]


def test_a_report_says_how_many_incidents_it_does_not_tell(
    call: Call, stores: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_INCIDENTS", 2)
    assert call("report", "--out", str(tmp_path / "few.html"), "--since", "3h")[0] == 0
    ((there,),) = run(stores.alerts, "SELECT count(*) FROM incidents")
    text = (tmp_path / "few.html").read_text()
    assert (text.count('<h3 class="part" id="incident-'), f"2 of {there} incidents" in text) == (2, True)


def test_a_report_shows_every_row_and_why_an_alert_was_raised(call: Call, browser: Browser, stores: Settings, tmp_path: Path) -> None:
    why = {
        "flow_id": "f1", "score": 0.93, "base": 0.01,
        "features": [{"feature": "syn_flag_count", "value": 3, "contribution": 0.5, "usual": [0, 2], "median": 1}],
    }  # fmt: skip
    with_why = "UPDATE alerts SET details = details || %s::jsonb WHERE attack_type = 'EXFILTRATION' RETURNING left(id::text, 8)"
    ((alert,),) = run(stores.alerts, with_why, json.dumps({"why": why}))
    file = tmp_path / "report.html"
    assert call("report", "--out", str(file), "--since", "3h", "--rows", "500")[0] == 0
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    cut = "all => all.filter((one) => one.scrollHeight > one.clientHeight + 1).map((one) => one.getAttribute('aria-label'))"
    assert page.locator("tbody tr").count() > 100
    named = page.eval_on_selector_all("[id]", "all => all.map((one) => one.id)")
    assert len(set(named)) == len(named)
    assert page.eval_on_selector_all(".scroll", cut) == []
    page.emulate_media(media="print")
    assert page.eval_on_selector_all(".scroll", "all => all.filter((one) => getComputedStyle(one).overflowX !== 'visible').length") == 0
    page.emulate_media(media="screen")
    said = page.inner_text(f'[data-key="whys"]:has-text("{alert}")')
    assert "SYN Flag Count 3 packets, usually 0 to 2 packets, median 1 packets" in said
    assert "is 93 %; 1 % for any flow" in said
    context.close()


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_a_report_to_standard_output(call: Call, name: str) -> None:
    code, out, err = call("report", "--out", name, "--since", "3h")
    assert (code, out.lower().startswith("<!doctype html>"), out.rstrip().endswith("</html>")) == (0, True, True)
    assert re.fullmatch(rf"{name}  [0-9.]+ MB\n", err)


def test_a_report_of_one_sensor_and_of_a_time_without_any_rows(call: Call, stores: Settings, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert call("report", "--out", str(file), "--since", "3h", "--sensor", dashdata.SENSORS[1])[0] == 0
    assert f"sensors {dashdata.SENSORS[1]}" in file.read_text()
    attacks = re.search(r'id="attacks".*?id="alerts"', file.read_text(), re.DOTALL)  # incidents are of all sensors
    assert attacks
    assert "SYN_FLOOD" not in attacks[0]
    assert call("report", "--out", str(file), "--since", "2020-01-01", "--until", "2020-01-02")[0] == 0
    assert "Nothing in this range of time" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "yesterday"), "--since 'yesterday' is no time"), (("--since", "1h", "--until", "2h"), "is not before --until"),
        (("--out", "/nowhere/report.html"), "--out /nowhere/report.html: No such file"), (("--rows", "0"), "--rows"),
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_is_refused(call: Call, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = call("report", *arguments)
    assert (code, words in err, "Traceback" in err) == (2, True, False)


def test_a_report_without_a_database_is_none(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOT", "ALERTS"):
        monkeypatch.setenv(f"FLOWLAKE_{name}__PORT", "1")
    file = tmp_path / "report.html"
    file.write_text("the old one")
    code, _, err = call("report", "--out", str(file))
    assert (code, "flowlake up" in err, file.read_text()) == (5, True, "the old one")


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6_is_one_with_brackets_or_without(conf: Path, host: str) -> None:
    with served(conf, "--host", host) as address:
        assert re.fullmatch(r"http://\[::1\]:\d+", address)
        assert httpx2.get(f"{address}/health").text == "ok\n"
        assert httpx2.get(address).headers["location"] == "/view/traffic"


@pytest.mark.parametrize("host", ["[::1]:8000", "[::1", "::1]", "[localhost]", "http://127.0.0.1"])
def test_what_is_no_address_is_said_with_what_is(call: Call, host: str) -> None:
    code, out, err = call("dash", "--host", host, "--port", "0")
    assert (code, out, "is no address" in err, "the port is --port" in err) == (2, "", True, True)


@pytest.mark.parametrize("host", [f"{'a' * 70}.example", "no..name"])
def test_a_name_that_cannot_be_one_is_no_trace(call: Call, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWLAKE_DASH__PASSWORD", PASSWORD)
    code, _, err = call("dash", "--host", host, "--port", "0")
    assert (code, f"--host {host}: " in err, "Traceback" in err) == (7, True, False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "192.0.2.1"])
def test_others_are_not_let_in_without_a_password(call: Call, host: str) -> None:
    code, out, err = call("dash", "--host", host, "--port", "0")
    assert (code, out, "FLOWLAKE_DASH__PASSWORD holds no password" in err, "openssl rand" in err) == (2, "", True, True)


def test_what_is_no_certificate_and_a_port_that_is_taken(call: Call, certificate: Certificate) -> None:
    cert, key = certificate
    assert "belong together" in call("dash", "--port", "0", "--cert", cert)[2]
    code, _, err = call("dash", "--port", "0", "--cert", key, "--key", cert)
    assert (code, "two PEM files" in err) == (2, True)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        code, _, err = call("dash", "--port", str(taken.getsockname()[1]))
    assert (code, "cannot be served on 127.0.0.1" in err, "another --port" in err) == (7, True, True)


def test_with_password_and_tls_it_is_a_page_for_those_who_know_it(conf: Path, certificate: Certificate) -> None:
    cert, key = certificate
    with served(conf, "--host", "0.0.0.0", "--cert", cert, "--key", key, FLOWLAKE_DASH__PASSWORD=PASSWORD) as address:
        assert address.startswith("https://127.0.0.1:")
        with httpx2.Client(base_url=address, verify=False) as client:
            assert client.get("/api/view/alerts").status_code == 401
            assert client.post("/login", data={"password": PASSWORD}).status_code == 303
            assert client.get("/api/view/alerts").json()["view"] == "alerts"
            assert client.get("/api/view/alerts", headers={"host": "evil.example"}).status_code == 421
