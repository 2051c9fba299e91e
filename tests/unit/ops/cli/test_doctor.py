"""What ``flowlake doctor`` asks for."""

from __future__ import annotations

from collections.abc import Callable

from infra.config import Settings
from ops.cli.doctor import check_model, scored


def test_a_model_is_missed_only_where_its_query_runs(settings: Callable[..., Settings]) -> None:
    assert [record.name for record in scored(settings())] == ["flows"]
    on = settings(windows={"enabled": True})
    assert [record.name for record in scored(on)] == ["flows", "windows_5", "windows_30", "windows_180"]
    missed = [check_model(on, record) for record in scored(on)]
    assert {finding.state for finding in missed} == {"warning"}
    assert "flowlake windows train" in missed[-1].mend
