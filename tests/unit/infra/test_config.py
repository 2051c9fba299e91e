"""Values that the configuration changes or refuses."""

from __future__ import annotations

import pytest

from infra.config import LakeSettings


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
