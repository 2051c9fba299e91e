"""What a failure of an object store means, as S3A, delta-rs or boto3 tell it: which can be mended by a person, said in one line."""

from __future__ import annotations

import atexit
import os
import ssl
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from infra.errors import StoreError, one_line
from infra.sections import LakeSettings
from jobs.runtime import meanings
from jobs.runtime.meanings import About

#: Java's own for what it trusts.
TRUSTSTORE_PASSWORD = "changeit"
_BUNDLE = "flowlake-ca-"


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
    return _client(lake.s3_endpoint, lake.s3_access_key, lake.s3_secret_key, region(lake), lake.s3_addressing, lake.s3_ca)


@lru_cache(maxsize=4)
def _client(endpoint: str, access_key: SecretStr, secret_key: SecretStr, where: str, addressing: str, authority: str) -> Any:
    import boto3
    from botocore.config import Config

    patience = Config(
        retries={"max_attempts": 2},  # the query itself tries again, and says so
        connect_timeout=5,
        s3={"addressing_style": addressing},
        request_checksum_calculation="when_required",  # servers that are not Amazon's need not know those of later years
    )
    return boto3.client(
        "s3",
        config=patience,
        endpoint_url=endpoint or None,
        aws_access_key_id=access_key.get_secret_value() or None,
        aws_secret_access_key=secret_key.get_secret_value() or None,
        region_name=where or None,
        verify=_authority(authority) if authority else None,
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
    if lake.s3_ca:
        trust(lake)
    options = {
        "AWS_ACCESS_KEY_ID": lake.s3_access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": lake.s3_secret_key.get_secret_value(),
        "AWS_ENDPOINT_URL": _endpoint(lake, urlsplit(path or lake.path).netloc),
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true" if lake.s3_addressing == "virtual" else "",
        "AWS_REGION": region(lake),
        "AWS_ALLOW_HTTP": "true" if lake.s3_endpoint.startswith("http://") else "",
        # A commit must not replace another one's.
        "AWS_CONDITIONAL_PUT": "etag",
        # Somebody waits for the answer, or a query that tries again by itself: no minutes of attempts.
        "max_retries": "2",
    }
    return {name: value for name, value in options.items() if value}


def _endpoint(lake: LakeSettings, bucket: str) -> str:
    """URL of the service as delta-rs wants it: with virtual hosts the bucket is part of it."""
    if not lake.s3_endpoint or lake.s3_addressing == "path":
        return lake.s3_endpoint
    scheme, mark, rest = lake.s3_endpoint.partition("://")
    return f"{scheme}{mark}{bucket}.{rest}"


def _authority(file: str) -> str:
    """The file of the private authority, looked at.

    Raises
    ------
    StoreError
        It is not there, or holds no certificate.
    """
    try:
        held = "-----BEGIN CERTIFICATE-----" in Path(file).read_text(encoding="ascii", errors="replace")
    except OSError as e:
        raise StoreError(f"lake.s3_ca: {file} cannot be read: {e.strerror}", "name a file of certificates in PEM") from e
    if not held:
        raise StoreError(f"lake.s3_ca: {file} holds no certificate in PEM", "name the authority's certificate, not its key")
    return file


def trust(lake: LakeSettings) -> None:
    """Let delta-rs in this process trust the private authority too: it reads ``SSL_CERT_FILE``, as OpenSSL does, and knows no option.

    What it names must hold the authorities of the system as well, so both are put into one file of this user's.

    Raises
    ------
    StoreError
        The authority's file cannot be read, or holds none.
    """
    own = Path(_authority(lake.s3_ca)).read_text(encoding="ascii", errors="replace")
    system = os.environ.get("SSL_CERT_FILE", "")
    if system == lake.s3_ca or Path(system).name.startswith(_BUNDLE):
        return
    known = ssl.get_default_verify_paths().cafile
    others = Path(known).read_text(encoding="ascii", errors="replace") if known and Path(known).is_file() else ""
    descriptor, bundle = tempfile.mkstemp(prefix=_BUNDLE, suffix=".pem")
    with os.fdopen(descriptor, "w", encoding="ascii", errors="replace") as file:
        file.write(f"{own}\n{others}")
    atexit.register(Path(bundle).unlink, missing_ok=True)
    os.environ["SSL_CERT_FILE"] = bundle


def truststore(lake: LakeSettings) -> bytes:
    """The same authorities for a JVM: PKCS 12, with password :data:`TRUSTSTORE_PASSWORD` (they are no secret).

    Raises
    ------
    StoreError
        As of :func:`trust`.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import pkcs12

    try:
        own = x509.load_pem_x509_certificates(Path(_authority(lake.s3_ca)).read_bytes())
    except ValueError as e:
        raise StoreError(f"lake.s3_ca: {lake.s3_ca}: {one_line(e)}", "name a file of certificates in PEM") from e
    system = [x509.load_der_x509_certificate(der) for der in ssl.create_default_context().get_ca_certs(binary_form=True)]
    named = [pkcs12.PKCS12Certificate(certificate, f"authority-{n}".encode()) for n, certificate in enumerate([*own, *system])]
    return pkcs12.serialize_java_truststore(named, serialization.BestAvailableEncryption(TRUSTSTORE_PASSWORD.encode()))
