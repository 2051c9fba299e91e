"""S3A, by which Spark reaches a bucket: its properties, and what is handed to it past them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra import files
from infra.config import Settings
from jobs.runtime import s3

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def properties(settings: Settings) -> dict[str, str]:
    """S3A, keys left out: they are put into the Hadoop configuration of the running context (:func:`give`)."""
    conf = {
        "spark.hadoop.fs.s3a.path.style.access": str(settings.lake.s3_addressing == "path").lower(),
        # The default stream since Hadoop 3.5, of a library of its own, wants a second HTTP client; this one is in hadoop-aws.
        "spark.hadoop.fs.s3a.input.stream.type": "classic",
        # Attempts of the SDK and of S3A above it multiply: by default a store that is away is told after minutes. The queries wait for it
        # themselves, and say so.
        "spark.hadoop.fs.s3a.attempts.maximum": "3",
        "spark.hadoop.fs.s3a.retry.limit": "3",
        "spark.hadoop.fs.s3a.retry.interval": "300ms",
    }
    if endpoint := settings.lake.s3_endpoint:
        conf["spark.hadoop.fs.s3a.endpoint"] = endpoint
        conf["spark.hadoop.fs.s3a.connection.ssl.enabled"] = str(endpoint.startswith("https://")).lower()
        # Without one the SDK asks the machine's metadata service and waits.
        conf["spark.hadoop.fs.s3a.endpoint.region"] = s3.region(settings.lake)
    return conf


def give(settings: Settings, session: SparkSession) -> None:
    """Hand keys and a private authority to a running session.

    Raises
    ------
    StoreError
        The authority's file cannot be read, or holds none.
    """
    _give_keys(settings, session)
    _give_authority(settings, session)


def _give_keys(settings: Settings, session: SparkSession) -> None:
    """Hand the keys to S3A past every ``spark.*`` listing, log and command line: into the running context's Hadoop configuration."""
    access, secret = settings.lake.s3_access_key.get_secret_value(), settings.lake.s3_secret_key.get_secret_value()
    if not (access and secret):
        return
    hadoop: Any = session.sparkContext._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    # Only these: without it, keys of the environment and the machine's metadata service would be asked when they are refused.
    hadoop.set("fs.s3a.aws.credentials.provider", "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider")
    hadoop.set("fs.s3a.access.key", access)
    hadoop.set("fs.s3a.secret.key", secret)


def _give_authority(settings: Settings, session: SparkSession) -> None:
    """Let the driver's JVM trust a private authority (``lake.s3_ca``), before S3A connects. Executors elsewhere have theirs."""
    if not settings.lake.s3_ca:
        return
    store = settings.path(settings.paths.var) / "run" / "truststore.p12"
    store.parent.mkdir(parents=True, exist_ok=True)
    files.replace(store, s3.truststore(settings.lake))
    system: Any = session.sparkContext._jvm.java.lang.System  # type: ignore[union-attr]
    for name, value in (("", str(store)), ("Type", "PKCS12"), ("Password", s3.TRUSTSTORE_PASSWORD)):
        system.setProperty(f"javax.net.ssl.trustStore{name}", value)
