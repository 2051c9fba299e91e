"""Pages of the nightly run hold values of strangers as text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from infra.config import Settings
from jobs.quality import daytables, nightly, site
from jobs.runtime import lake
from jobs.sinks import parquet
from schemas.packets import FLOWS
from tests.sinksdata import T0, table

pytestmark = pytest.mark.integration

HOSTILE = (
    "<script>alert('planted')</script>",
    "<img src=planted onerror=alert(1)>",
    "</body><b id=planted>",
    '"><i title=planted>',
    "$planted ${planted} %s {planted}",
    "<a href=//planted>x</a>",
    "&lt;script&gt;planted",
)


class Elements(HTMLParser):
    """What a browser makes of a page: elements and scripts that speak of what was planted, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text = ""
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.found += [tag for name, _ in attrs if name.startswith("on") and "planted" in str(attrs)]
        if tag in ("script", "img", "b", "i", "a") and any("planted" in str(value) for name, value in attrs if name != "content"):
            self.found.append(tag)

    def handle_data(self, data: str) -> None:
        if self._open == "script" and "planted" in data:
            self.found.append("script")
        self.text += data


def test_values_of_strangers_are_text_on_the_pages(settings: Callable[..., Settings]) -> None:
    from deltalake import write_deltalake

    made = settings()
    rows = table([{"name": str(n), "attack_type": value} for n, value in enumerate(HOSTILE)])
    write_deltalake(lake.location(made, FLOWS), parquet.dated(rows, FLOWS), partition_by=[parquet.PARTITION])
    found = daytables.open_table(made, FLOWS, "lake")
    assert found is not None
    assert found.exists()
    now = datetime(2026, 3, 2, 1, tzinfo=UTC)
    done = nightly.run(made, FLOWS, "lake", found, T0.date(), now=now, say=lambda _: None)
    assert set(HOSTILE) <= {value for one in done.failed for value in one.values}
    first = site.store(made, [done], now)
    pages = [page for page in first.parent.rglob("*.html") if "planted" in page.read_text(encoding="utf-8")]
    assert pages, "the values are shown"
    for page in pages:
        seen = Elements(page.read_text(encoding="utf-8"))
        assert not seen.found, page
        assert HOSTILE[0] in seen.text
