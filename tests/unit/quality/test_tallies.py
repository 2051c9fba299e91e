"""What a nightly run says of an expectation that does not hold."""

from __future__ import annotations

import pandas as pd

from jobs.quality import nightly, suites
from jobs.quality.gxlib import gxe
from jobs.quality.rates import Rate


def test_what_was_counted_is_said_beside_what_was_expected() -> None:
    rates = (Rate("rows of the day", 11_756.0, 200.0, 1_334.0), Rate("rows at 03:00", 28.0, 14.0, 56.0))
    counted = {suites.twice("flow_id"): 3, suites.strays("start_time"): 1_200}
    found = nightly.validate(suites.summary_frame(rates, counted), suites.of_summary(rates, "flow_id", "start_time"))
    assert {one.rule: one.said for one in found if not one.success} == {
        "rate(rows of the day)": "11,756, expected 200 to 1,334",
        "unique(flow_id)": "3 identities",
        "strays(start_time)": "1,200 rows",
    }


def test_some_values_are_said_once_and_nulls_have_none() -> None:
    frame = pd.DataFrame({"kind": ["A", "ODD", "ODD", "NEW"], "bytes": [1.0, None, None, 4.0]})
    asked = [
        gxe.ExpectColumnValuesToBeInSet(column="kind", value_set=["A"], meta={suites.RULE: "one-of(kind)"}),
        gxe.ExpectColumnValuesToNotBeNull(column="bytes", meta={suites.RULE: "null(bytes)"}),
    ]
    assert [one.said for one in nightly.validate(frame, asked)] == ["3 rows, such as ODD; NEW", "2 rows"]
