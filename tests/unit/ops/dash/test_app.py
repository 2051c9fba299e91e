"""What is answered when something goes wrong that nobody expected; no database is asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from infra.config import Settings
from ops.dash import app, guard
from ops.dash.login import Logins
from ops.dash.site import Site

HTML = {"accept": "text/html"}


def client_of(site: Site) -> TestClient:
    made = app.build(site, guard.own_names("127.0.0.1", []), Logins("correct horse battery"), secure=False)
    return TestClient(made, base_url="http://127.0.0.1", follow_redirects=False)


def test_a_form_of_many_fields_is_refused(settings: Callable[..., Settings]) -> None:
    with client_of(Site(settings())) as client:
        answer = client.post("/login", data={f"field{i}": "x" for i in range(11)}, headers=HTML)
    assert answer.status_code == 400
    assert "more than 10 fields" in answer.text


def test_what_nobody_expected_is_a_page_and_a_line(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Logins, address: str) -> int:
        raise RuntimeError("\x1b[31mbroken\nin two lines")

    monkeypatch.setattr(Logins, "wait", fail)
    with client_of(Site(settings())) as client:
        answer = client.post("/login", data={"password": "hunter2hunter2"}, headers=HTML)
    assert answer.status_code == 500
    assert "this page failed" in answer.text
    assert answer.headers["x-frame-options"] == "DENY"
    said = "".join(capsys.readouterr())
    assert "hunter2" not in said
    assert "Traceback" not in said
