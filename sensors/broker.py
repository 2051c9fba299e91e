"""Connection of a sensor to Kafka: client options from the settings, errors a person can act on."""

from __future__ import annotations

import time
from typing import Any

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from infra.config import KafkaSettings
from infra.errors import BrokerError, ConfigError
from sensors import crc32c

#: Kafka's client options -> kafka-python's. Those of the JVM alone are left to Spark.
_OPTIONS = {
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "ssl.ca.location": "ssl_cafile",
    "ssl.truststore.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.keystore.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.key.password": "ssl_password",
    "sasl.kerberos.service.name": "sasl_kerberos_service_name",
}
_JVM_ONLY = frozenset(
    {"sasl.jaas.config", "ssl.truststore.type", "ssl.truststore.password", "ssl.keystore.type", "ssl.keystore.password", "ssl.protocol"}
)
_FOREVER_MS = 2**31 - 1


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Options for any kafka-python client: addresses, SASL and TLS.

    Raises
    ------
    ConfigError
        An option of ``kafka.security`` that kafka-python cannot honour.
    """
    options: dict[str, Any] = {"bootstrap_servers": [s.strip() for s in kafka.bootstrap_servers.split(",") if s.strip()]}
    for name, value in kafka.security.items():
        if name in _OPTIONS:
            if name.endswith("store.location") and not value.lower().endswith((".pem", ".crt", ".cer")):
                raise ConfigError(
                    f"kafka.security.{name}: {value}: sensors read PEM files only", "export it: keytool -exportcert -rfc, or openssl pkcs12"
                )
            options[_OPTIONS[name]] = value
        elif name == "ssl.endpoint.identification.algorithm":
            options["ssl_check_hostname"] = bool(value)
        elif name not in _JVM_ONLY:
            raise ConfigError(f"kafka.security.{name}: not an option that sensors know", f"known: {', '.join(sorted(_OPTIONS))}")
    if kafka.sasl_username:
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = kafka.sasl_password.get_secret_value()
    return options


def connect(kafka: KafkaSettings, *, client_id: str, max_request_bytes: int, timeout_s: float = 5.0) -> KafkaProducer:
    """An idempotent producer that retries for ever and in order; whoever uses it bounds what it holds.

    Raises
    ------
    BrokerError
        No broker answers, or it refuses.
    """
    crc32c.install()
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
            # The topic is lz4 too: a broker that got anything else would compress every batch again itself.
            compression_type="lz4",
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
            raise BrokerError(f"topic {topic} is not on the broker {kafka.bootstrap_servers}", "flowlake topics create")
        time.sleep(0.1)


def refused(kafka: KafkaSettings, error: BaseException) -> BrokerError:
    """What to tell a person about a failed connection."""
    name = type(error).__name__
    address = kafka.bootstrap_servers
    if isinstance(error, kafka_errors.AuthorizationError) or "Authentication" in name or "Sasl" in name:
        return BrokerError(f"Kafka broker {address} refuses this client ({name})", "check kafka.security and kafka.sasl_username")
    if isinstance(error, ValueError | AssertionError):
        return BrokerError(f"Kafka broker {address}: {' '.join(str(error).split())}", "check kafka.bootstrap_servers and kafka.security")
    return BrokerError(f"no Kafka broker answers at {address} ({name})", "start one with flowlake up, or set kafka.bootstrap_servers")
