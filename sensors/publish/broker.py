"""Connection of a sensor to Kafka: client options from the settings, errors a person can act on."""

from __future__ import annotations

import time

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from infra.errors import BrokerError, one_line
from infra.kafka.client import client_options
from infra.sections import KafkaSettings

_FOREVER_MS = 2**31 - 1


def connect(kafka: KafkaSettings, *, client_id: str, max_request_bytes: int, timeout_s: float = 5.0) -> KafkaProducer:
    """An idempotent producer that retries for ever and in order; whoever uses it bounds what it holds.

    Raises
    ------
    BrokerError
        No broker answers, or it refuses.
    """
    try:
        return KafkaProducer(
            **client_options(kafka),
            client_id=client_id,
            enable_idempotence=True,
            acks="all",
            retries=float("inf"),
            # Never let a batch expire inside the client: the batches behind it would overtake it.
            delivery_timeout_ms=_FOREVER_MS,
            request_timeout_ms=15_000,
            reconnect_backoff_max_ms=1_000,
            max_in_flight_requests_per_connection=5,
            max_request_size=max_request_bytes,
            compression_type=None,  # the values' Arrow buffers are lz4 already
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=int(timeout_s * 1000),
            metrics_enabled=False,
        )
    except (kafka_errors.KafkaError, OSError, ValueError, AssertionError) as e:
        raise refused(kafka, e) from e


def partition_count(producer: KafkaProducer, kafka: KafkaSettings, topic: str, timeout_s: float = 10.0) -> int:
    """Partitions of ``topic`` on the broker.

    Raises
    ------
    BrokerError
        The topic does not exist or may not be read.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            producer.config["max_block_ms"] = max(1, int((deadline - time.monotonic()) * 1000))
            found = producer.partitions_for(topic)
        except kafka_errors.KafkaTimeoutError:
            found = None
        except kafka_errors.UnknownTopicOrPartitionError:
            found = None
        except (kafka_errors.KafkaError, ValueError) as e:
            raise refused(kafka, e) from e
        if found:
            return len(found)
        if time.monotonic() >= deadline:
            raise BrokerError(f"topic {topic} is not on the broker {kafka.bootstrap_servers}", "make it: flowlake topics --create")
        time.sleep(0.1)


def refused(kafka: KafkaSettings, error: BaseException) -> BrokerError:
    """What to tell a person about a failed connection."""
    name = type(error).__name__
    address = kafka.bootstrap_servers
    if isinstance(error, kafka_errors.AuthorizationError) or "Authentication" in name or "Sasl" in name:
        return BrokerError(f"Kafka broker {address} refuses this client ({name})", "check kafka.security and kafka.sasl_username")
    if isinstance(error, ValueError | AssertionError):
        return BrokerError(f"Kafka broker {address}: {one_line(error)}", "check kafka.bootstrap_servers and kafka.security")
    return BrokerError(f"no Kafka broker answers at {address} ({name})", "start one with flowlake up, or set kafka.bootstrap_servers")
