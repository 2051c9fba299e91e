"""Spark's Kafka connector: options from the settings, and how a query reads a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.config import Settings
from infra.sections import KafkaSettings
from schemas.records import HEADER_SNAPSHOTS, RecordType
from schemas.topics import TopicSpec

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def kafka_options(kafka: KafkaSettings) -> dict[str, str]:
    """Options of Spark's Kafka source: broker and security."""
    options = {"kafka.bootstrap.servers": kafka.bootstrap_servers}
    options.update({f"kafka.{name}": value for name, value in kafka.security.items()})
    if kafka.sasl_username:
        scram = kafka.security.get("sasl.mechanism", "PLAIN").startswith("SCRAM")
        module = "scram.ScramLoginModule" if scram else "plain.PlainLoginModule"
        user, password = (_quoted(text) for text in (kafka.sasl_username, kafka.sasl_password.get_secret_value()))
        options["kafka.sasl.jaas.config"] = f"org.apache.kafka.common.security.{module} required username={user} password={password};"
    return options


def reader_options(kafka: KafkaSettings) -> dict[str, str]:
    """Options of Spark's Kafka source for reading."""
    # Spark asks for the ends of a partition before each reading, on a connection that holds back its answer while the fetch that the
    # consumer sent ahead waits for new messages: by default 500 ms in every task that comes to the end of its partition.
    return {**kafka_options(kafka), "kafka.fetch.max.wait.ms": "5"}


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def read_topic(
    spark: SparkSession, settings: Settings, topic: TopicSpec, *, starting: str = "earliest", most: int = 0, fail_on_data_loss: bool = False
) -> DataFrame:
    """Stream of the Kafka rows of a topic, headers included.

    Parameters
    ----------
    spark, settings
        Session, and where the broker is.
    topic
        As it is declared.
    starting
        ``earliest`` or ``latest``: where to begin without a checkpoint.
    most
        Messages a batch; 0: no bound.
    fail_on_data_loss
        Stop when messages were gone before they were read.
    """
    reader = (
        spark.readStream.format("kafka")
        .options(**reader_options(settings.kafka))
        .option("subscribe", settings.topic(topic.name))
        .option("startingOffsets", starting)
        .option("includeHeaders", "true")
        .option("failOnDataLoss", str(fail_on_data_loss).lower())
    )
    if most:
        reader = reader.option("maxOffsetsPerTrigger", str(most))
    return reader.load()


def header(name: str) -> Column:
    """Value of a header of Kafka rows, the last of that name; null where there is none."""
    from pyspark.sql import functions as F

    return F.element_at(F.filter("headers", lambda one: one["key"] == name), -1)["value"]


def read_records(spark: SparkSession, settings: Settings, record: RecordType, *, final: bool) -> DataFrame:
    """Stream of the Kafka rows of a record type, from the earliest message that the checkpoint does not cover.

    ``final``: without the messages that hold no final record; of flows those are more than half of what a busy meter writes.
    """
    from pyspark.sql import functions as F

    stream = read_topic(spark, settings, record.topic, most=settings.sinks.max_messages, fail_on_data_loss=settings.sinks.fail_on_data_loss)
    if final and record.final:
        stream = stream.where(~F.coalesce(F.exists("headers", lambda header: header["key"] == HEADER_SNAPSHOTS), F.lit(False)))
    return stream  # all columns: choosing some would copy every row, and a row is up to a MB
