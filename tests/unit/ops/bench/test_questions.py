"""Questions are found on the page that shows them."""

from __future__ import annotations

import pytest

from ops.bench.dashboards import AnswerTimes
from ops.bench.questions import TimedQuery, cookbook, dashboards

PAGE = """
# Query the stores

```sql
SELECT 'no engine is named';
```

### 1. Attack rate

Some words.

<!-- run: postgresql, duckdb -->
```sql
SELECT 1
FROM flows;
```

<!-- run: trino -->
```sql
SELECT 2;
```

### 2. Another

<!-- run: postgresql -->
words between

```sql
SELECT 'the comment was of the words';
```

<!-- run: postgresql -->
```sql
SELECT '50 %';
```
"""


def test_the_blocks_of_an_engine_are_named_by_their_headings() -> None:
    assert list(cookbook(PAGE)) == [TimedQuery("1. Attack rate", "SELECT 1\nFROM flows"), TimedQuery("2. Another", "SELECT '50 %'")]
    assert [question.sql for question in cookbook(PAGE, "trino")] == ["SELECT 2"]


def test_an_export_says_so_in_its_heading() -> None:
    assert TimedQuery("21. Export: which flows?", "SELECT 1").export
    assert not TimedQuery("7. How much does each service carry?", "SELECT 1").export


def test_questions_about_addresses_are_asked_about_those_in_the_store() -> None:
    page = TimedQuery("8.", "SELECT 5 % 3 FROM f WHERE dst_ip = '10.0.2.22' AND (src_ip = '::1' OR a.src_ip = b.src_ip)")
    asked = page.about(["1.2.3.4"], ["5.6.7.8"])
    assert asked.sql == "SELECT 5 %% 3 FROM f WHERE dst_ip = %(dst_ip)s AND (src_ip = %(src_ip)s OR a.src_ip = b.src_ip)"
    assert asked.choices == {"src_ip": ["1.2.3.4"], "dst_ip": ["5.6.7.8"]}
    assert TimedQuery("1.", "SELECT 5 % 3").about(["1.2.3.4"], []).sql == "SELECT 5 % 3"


def test_every_parameter_of_a_panel_has_values() -> None:
    found = dashboards(["10.0.0.1"], ["10.0.0.2"])
    assert len({question.name for question in found}) == len(found)
    for question in found:
        assert question.sql.count("%(") == len(question.choices)
        assert all(f"%({name})s" in question.sql for name in question.choices)


@pytest.mark.parametrize(("percent", "ms"), [(50, 3.0), (99, 9.0)])
def test_a_percentile_is_a_time_that_was_measured(percent: float, ms: float) -> None:
    assert AnswerTimes([9.0, 1.0, 3.0, 2.0, 3.0], 7).p(percent) == ms
