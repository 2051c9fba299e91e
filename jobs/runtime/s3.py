"""What a failure of an object store means, as S3A, delta-rs or boto3 tell it: which can be mended by a person, said in one line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from infra.sections import LakeSettings
from jobs.runtime import meanings
from jobs.runtime.meanings import About


@dataclass(frozen=True)
class Trouble:
    """``message`` in one line; ``passing`` when waiting is right."""

    message: str
    hint: str
    passing: bool


def trouble(text: str, path: str, lake: LakeSettings) -> Trouble | None:
    """What a failure's text (message and stack trace) says about the object store; None when it is about something else.

    Parameters
    ----------
    text
        All that the exception says.
    path
        ``s3a://bucket/...`` that was used.
    lake
        Settings of the endpoint and keys (only whether there are any is looked at).
    """
    if not path.startswith(("s3a://", "s3://")):
        return None
    bucket = urlsplit(path).netloc
    where = lake.s3_endpoint or "Amazon S3"
    found = meanings.find(text, About.OBJECT_STORE)
    if found is None:
        return None
    message = found.message(text, path=path, bucket=bucket, where=where, why=meanings.why_no_answer(text))
    return Trouble(message, found.hint, found.passing)


def client(lake: LakeSettings) -> Any:
    """boto3's client for a lake on S3, made once a process: that takes some 100 ms."""
    return _client(lake.s3_endpoint, lake.s3_access_key, lake.s3_secret_key, region(lake))


@lru_cache(maxsize=4)
def _client(endpoint: str, access_key: SecretStr, secret_key: SecretStr, where: str) -> Any:
    import boto3
    from botocore.config import Config

    patience = Config(
        retries={"max_attempts": 2},  # the query itself tries again, and says so
        connect_timeout=5,
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",  # servers that are not Amazon's need not know those of later years
    )
    return boto3.client(
        "s3",
        config=patience,
        endpoint_url=endpoint or None,
        aws_access_key_id=access_key.get_secret_value() or None,
        aws_secret_access_key=secret_key.get_secret_value() or None,
        region_name=where or None,
    )


def region(lake: LakeSettings) -> str:
    """Region of the store; empty where the libraries are to find it. Any will do for a server that is not Amazon's."""
    return os.environ.get("AWS_REGION", "us-east-1" if lake.s3_endpoint else "")


def uri(path: str) -> str:
    """A lake's place as delta-rs spells it."""
    return path.replace("s3a://", "s3://")


def storage_options(lake: LakeSettings, path: str = "") -> dict[str, str]:
    """Options of delta-rs for a table on S3 (``lake.path`` when none is named); none for a folder. Holds the keys."""
    if "://" not in (path or lake.path):
        return {}
    options = {
        "AWS_ACCESS_KEY_ID": lake.s3_access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": lake.s3_secret_key.get_secret_value(),
        "AWS_ENDPOINT_URL": lake.s3_endpoint,
        "AWS_REGION": region(lake),
        "AWS_ALLOW_HTTP": "true" if lake.s3_endpoint.startswith("http://") else "",
        # A commit must not replace another one's.
        "AWS_CONDITIONAL_PUT": "etag",
        # Somebody waits for the answer, or a query that tries again by itself: no minutes of attempts.
        "max_retries": "2",
    }
    return {name: value for name, value in options.items() if value}
