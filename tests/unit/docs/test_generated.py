"""The generated pages of the reference are what the code says now, and say something about everything."""

from __future__ import annotations

import pytest

from docs import generate
from schemas.features import ALL_FEATURES
from schemas.flows import IDENTITY_FIELDS
from schemas.records import PREDICTION_FIELDS
from schemas.wire import Header


@pytest.mark.parametrize("name", generate.PAGES)
def test_page_is_current(name: str) -> None:
    written = (generate.REFERENCE / name).read_text(encoding="utf-8")
    assert written == generate.PAGES[name](), f"docs/reference/{name} is not current: python docs/generate.py"


def test_every_setting_is_described() -> None:
    page = generate.configuration()
    for section, info in generate._settings().model_fields.items():
        assert info.annotation is not None
        for name, (*_, description) in generate._keys(info.annotation).items():
            assert description, f"{section}.{name} has no description"
            assert f"`FLOWLAKE_{section}__{'__'.join(name.split('.'))}`".upper() in page


def test_secrets_show_no_value() -> None:
    rows = [line for line in generate.configuration().splitlines() if "| secret |" in line]
    assert len(rows) == 16
    assert all(line.split(" | ")[2] == "" for line in rows)


def test_every_feature_has_its_row_with_unit_and_formula() -> None:
    rows = {line.split(" | ")[2].split(" ")[0].strip("`"): line for line in generate.features().splitlines() if line.startswith("| ")}
    for f in ALL_FEATURES:
        assert f.formula.replace("|", "\\|") in rows[f.name]
        assert f" | {f.cic} | " in rows[f.name]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fin_flag_count", "RST"),
        ("cwr_flag_count", "URG"),
        ("ack_flag_count", ""),
        ("fwd_psh_flags", "first packet only"),
        ("fwd_packet_bulk_avg", "always backward"),
        ("bwd_header_length", "65,536"),
        ("subflow_bwd_bytes", "totals"),
        ("flow_iat_mean", ""),
    ],
)
def test_repaired_defects_stand_at_their_feature(name: str, says: str) -> None:
    text = generate.difference(name)
    assert says in text if says else text == ""


def test_patterns_of_defects_match_features() -> None:
    import re

    for pattern, _ in generate.DIFFERENCES:
        assert any(re.fullmatch(pattern, f.name) for f in ALL_FEATURES), pattern


def test_every_column_and_header_has_a_meaning() -> None:
    pattern = r'\s+pa\.field\("(\w+)"'
    columns = generate.comments("schemas/flows.py", pattern) | generate.comments("schemas/records.py", pattern)
    assert [f.name for f in (*IDENTITY_FIELDS, *PREDICTION_FIELDS) if not columns.get(f.name)] == []
    headers = generate.comments("schemas/wire.py", r"    ([A-Z_]+) = ")
    assert [n for n in vars(Header) if n.isupper() and not headers.get(n)] == []


def test_a_stale_page_is_told(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(generate, "REFERENCE", tmp_path)
    monkeypatch.setattr(generate, "PAGES", {"topics.md": generate.topics, "wire-format.md": generate.wire})
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "topics.md").write_text("old", encoding="utf-8")
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "not current: docs/reference/topics.md"


def test_every_table_of_every_migration_is_shown() -> None:
    from schemas import alerts, hot
    from schemas.migrations import LEDGER
    from schemas.network_flows import NETWORK_FLOWS

    page = (generate.REFERENCE / "tables.md").read_text(encoding="utf-8")
    for name in (NETWORK_FLOWS.name, hot.LEDGER, alerts.TABLE, alerts.STATE, alerts.FLOWS, alerts.OUTBOX, alerts.CANDIDATES, LEDGER):
        assert f"CREATE TABLE IF NOT EXISTS {name} (\n" in page
    for versions in (NETWORK_FLOWS.migrations, alerts.MIGRATIONS):
        assert all(f"\n-- version {number}\n" in page for number in versions)


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("CREATE INDEX a ON b (c, d)", "CREATE INDEX a ON b (c, d);"),
        (
            "CREATE TABLE a (b numeric(9, 2), CHECK ((b > 1) IN (true, (b < 3))))",
            "CREATE TABLE a (\n  b numeric(9, 2),\n  CHECK ((b > 1) IN (true, (b < 3)))\n);",
        ),
        ("CREATE TABLE a (b int,\n  c int) PARTITION BY RANGE (b, c)", "CREATE TABLE a (\n  b int,\n  c int\n) PARTITION BY RANGE (b, c);"),
    ],
)
def test_columns_of_a_table_are_shown_one_a_line(sql: str, shown: str) -> None:
    assert generate._statement(sql) == shown
