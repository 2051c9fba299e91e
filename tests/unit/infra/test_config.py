"""Values that the configuration changes or refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import config
from infra.config import load
from infra.errors import ConfigError
from infra.sections import LakeSettings


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("var/lake/flows", "var/lake/flows"),
        ("/data/flows/", "/data/flows"),
        ("/", "/"),
        ("file:///data/my%20flows", "/data/my flows"),
        ("file:/data/flows", "/data/flows"),
        ("s3://bucket/flows/", "s3a://bucket/flows"),
        ("s3a://bucket/flows", "s3a://bucket/flows"),
        ("hdfs://name/flows", "hdfs://name/flows"),
    ],
)
def test_one_spelling_of_a_place(given: str, kept: str) -> None:
    assert LakeSettings(path=given).path == kept


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("FLOWLAKE_KAFKA__PARTITIONS", "notjson", "environment variable FLOWLAKE_KAFKA__PARTITIONS: not JSON"),
        ("FLOWLAKE_KAFKA__PARTITIONS", '{"a": "b"}', "environment variable FLOWLAKE_KAFKA__PARTITIONS: kafka.partitions.a: "),
        ("FLOWLAKE_METER__BUCKETS__X", "1", "environment variable FLOWLAKE_METER__BUCKETS__X: meter.buckets: "),
        ("flowlake_meter__buckets", "xx", "environment variable flowlake_meter__buckets: meter.buckets: "),
        ("flowlake_metr__buckets", "2", "environment variable flowlake_metr__buckets: unknown section 'metr'"),
        ("FLOWLAKE_METER__ACTIVE_TIMEOUT_S", "inf", "environment variable FLOWLAKE_METER__ACTIVE_TIMEOUT_S: meter.active_timeout_s: "),
        ("FLOWLAKE_METER__IDLE_TIMEOUT_S", "1e300", "environment variable FLOWLAKE_METER__IDLE_TIMEOUT_S: meter.idle_timeout_s: "),
    ],
)
def test_a_bad_value_is_told_with_where_it_came_from(name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as failure:
        load()
    assert str(failure.value).startswith(told)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\xd4\xc3\xb2\xa1", "is not YAML"), (b"1: 2\n", "unknown section 1"), (b"meter: {buckets: no}\n", "meter.buckets")],
)
def test_a_bad_file_is_told_by_name(content: bytes, told: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=told) as failure:
        load(file)
    assert str(file) in str(failure.value)


@pytest.mark.parametrize(
    ("scoring", "told"),
    [
        ({"alias": ""}, "is no name"),
        ({"alias": "v3"}, "stands for a version"),
        ({"challenger_alias": "Latest"}, "stands for a version"),
        ({"alias": "challenger"}, "are both 'challenger'"),
        ({"model_name": "a/b"}, "is no name"),
        ({"models": {"flows": "it's"}}, "is no name"),
    ],
)
def test_models_and_their_roles_have_names(scoring: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        config.build(scoring=scoring)
    assert config.build(scoring={"model_name": "site.flows v2", "alias": "live"}).scoring.alias == "live"
