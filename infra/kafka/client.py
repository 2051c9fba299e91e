"""kafka-python clients from the settings: addresses, SASL and TLS. For sensors, tools and dead letters; Spark has its own connector."""

from __future__ import annotations

from typing import Any

from infra.errors import ConfigError
from infra.sections import KafkaSettings

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
