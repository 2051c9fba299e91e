"""What S3A and delta-rs say when an object store fails, as they were heard, and what is made of it."""

from __future__ import annotations

import pytest

from infra.sections import LakeSettings
from jobs.runtime import s3

LAKE = LakeSettings(path="s3a://flows/table", s3_endpoint="http://minio:9000")
MISSING = (
    ": org.apache.hadoop.fs.s3a.UnknownStoreException: `s3a://flows/table': getFileStatus on s3a://flows/table: "
    "software.amazon.awssdk.services.s3.model.NoSuchBucketException: The specified bucket does not exist (Service: S3, Status Code: 404)"
)
FORBIDDEN = (
    ": java.nio.file.AccessDeniedException: s3a://flows/table: getFileStatus on s3a://flows/table: "
    "software.amazon.awssdk.services.s3.model.S3Exception: Forbidden (Service: S3, Status Code: 403, Request ID: 18EA):null"
)
REFUSED = (
    ": java.net.ConnectException: getFileStatus on s3a://flows/table: software.amazon.awssdk.core.exception.SdkClientException: "
    "Unable to execute HTTP request: Connect to minio:9000 [/10.0.0.1] failed: Connection refused (SDK Attempt Count: 4)"
)
NO_NAME = ": java.net.UnknownHostException: getFileStatus on s3a://flows/table: software.amazon.awssdk.core.exception.SdkClientException"
DELTA_RS_MISSING = (
    "Kernel error -> Generic S3 error\n\x1b[31m↳\x1b[0m Error performing list request\n\x1b[31m↳\x1b[0m Error performing GET "
    "http://minio:9000/flows?list-type=2 in 1ms - Server returned non-2xx status code\n\x1b[31m↳\x1b[0m 404 Not Found"
)
DELTA_RS_NO_KEYS = "Generic S3 error: Error performing PUT http://169.254.169.254/latest/api/token in 797us - 403 Forbidden"


@pytest.mark.parametrize(
    ("text", "told", "passing"),
    [
        (MISSING, "there is no bucket 'flows' at http://minio:9000", False),
        (DELTA_RS_MISSING, "there is no bucket 'flows' at http://minio:9000", False),
        (FORBIDDEN, "http://minio:9000 refuses access to bucket 'flows'", False),
        (DELTA_RS_NO_KEYS, "no keys for http://minio:9000", False),
        (REFUSED, "http://minio:9000 does not answer (connection refused)", True),
        (NO_NAME, "http://minio:9000 does not answer (its name cannot be resolved)", True),
        ("S3Exception: Please reduce your request rate. (Service: S3, Status Code: 503) SlowDown", "does not answer", True),
    ],
)
def test_said_in_one_line(text: str, told: str, passing: bool) -> None:
    found = s3.trouble(text, LAKE.path, LAKE)
    assert found is not None
    assert told in found.message
    assert "\n" not in found.message
    assert found.hint
    assert found.passing is passing


def test_other_failures_are_left_alone() -> None:
    assert s3.trouble("AnalysisException: no such column", LAKE.path, LAKE) is None
    assert s3.trouble(REFUSED, "/data/lake", LAKE) is None


def test_amazon_is_named_where_no_endpoint_is_set() -> None:
    found = s3.trouble(MISSING, "s3a://flows/table", LakeSettings(path="s3a://flows/table"))
    assert found is not None
    assert "Amazon S3" in found.message
