"""The model card in a real browser: nothing is fetched, nothing runs, it fits a telephone, and pictures are seen in light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobs.evaluation.card import card
from tests.unit.evaluation.planted import hostile_account

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.integration


def test_the_card_as_a_person_sees_it(browser: Browser, tmp_path: Path) -> None:
    model, evaluation, facts = hostile_account()
    file = tmp_path / "card.html"
    file.write_text(card(model, evaluation, [("flow_duration", 1.0)], facts), encoding="utf-8")
    page = browser.new_page(viewport={"width": 400, "height": 800})
    said: list[str] = []
    fetched: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("figure svg").count() == 5
    strokes = "[...document.querySelectorAll('figure svg path')].map((one) => getComputedStyle(one).stroke)"
    light = page.evaluate(strokes)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(strokes)
    assert len(light) == len(dark) > 20
    assert set(light) != set(dark)  # the page's colours reach into the pictures
    assert fetched == [file.as_uri()]
    assert said == []
    page.close()
