"""The one configuration model: ``conf/*.yaml``, overridden by ``FLOWLAKE_*`` environment variables.

Nested keys are joined by two underscores (``FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS=broker:9092``). An unknown key, in the file or in the
environment, is an error. Secrets have no default in any file: they come from the environment only and are masked when shown.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from infra import paths
from infra.errors import ConfigError, one_line


def _root() -> Path:
    """The project's folder. Code shipped to a cluster is imported from a zip, which is no folder: the working directory then."""
    above = Path(__file__).resolve().parent.parent
    return above if above.is_dir() else Path.cwd()


ROOT = _root()
PREFIX = "FLOWLAKE_"
#: Environment variables with the prefix that are not settings.
NOT_SETTINGS = frozenset(
    {"FLOWLAKE_CONF", "FLOWLAKE_DATA", "FLOWLAKE_DEBUG", "FLOWLAKE_HOME", "FLOWLAKE_JARS", "FLOWLAKE_PYTHON", "FLOWLAKE_VENV"}
)


#: Bound of the meter's times (years), so that sums of them and capture times fit 64 bits of nanoseconds.
MOST_SECONDS = 1e9


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class KafkaSettings(_Section):
    """Broker and topics."""

    bootstrap_servers: str = Field("127.0.0.1:19092", description="host:port of one or more brokers, comma-separated")
    partitions: dict[str, int] = Field(default_factory=dict, description="topic -> partitions, where fewer than declared")
    replication_factor: int = Field(3, ge=1, le=7, description="of topics that are created")
    topic_prefix: str = Field("", description="put before every topic name, so that runs do not meet")
    security: dict[str, str] = Field(default_factory=dict, description="Kafka client options by Kafka's names, e.g. security.protocol")
    sasl_username: str = Field("", description="user for SASL; empty: none")
    sasl_password: SecretStr = Field(SecretStr(""), description="its password")


class SensorSettings(_Section):
    """Sensors: capture, buffering, flushing."""

    id: str = Field("", max_length=128, description="name of this sensor in records and metrics; empty: the host's name")
    domain: str = Field("", description="observation domain; the sensor id when empty")
    snaplen: int = Field(192, ge=64, le=262144, description="frames are cut to this many bytes")
    flush_ms: int = Field(100, ge=5, le=10_000, description="at most this long between capture and sending")
    batch_packets: int = Field(16_384, ge=1, le=1_000_000, description="packets per flush, over all partitions")
    heartbeat_ms: int = Field(1000, ge=50, le=60_000, description="at most this long without telling the clock to every partition")
    reorder_ms: int = Field(1000, ge=0, le=60_000, description="replay: packets this far out of order are put right by the sensor")
    live_reorder_ms: int = Field(20, ge=0, le=5_000, description="live: the same, costs this much latency")
    buffer_mb: int = Field(64, ge=1, le=8192, description="bound of what waits for the broker")
    socket_buffer_mb: int = Field(32, ge=1, le=1024, description="live: the kernel's buffer of the packet socket")

    @property
    def name(self) -> str:
        """The sensor's id: as configured, else the host's name, so that sensors on two hosts are two sensors."""
        return self.id or socket.gethostname()[:128] or "sensor"


class MeterSettings(_Section):
    """Flow metering. Times are seconds of event time unless said otherwise."""

    buckets: int = Field(8, ge=1, le=1024, description="hash buckets of the open-flow state")
    active_timeout_s: float = Field(120.0, gt=0, le=MOST_SECONDS, description="a flow this old is closed and goes on as its next part")
    idle_timeout_s: float = Field(60.0, gt=0, le=MOST_SECONDS, description="a flow without a packet for so long is closed")
    tcp_linger_s: float = Field(3.0, ge=0, le=MOST_SECONDS, description="what comes this long after FIN or RST still belongs to the flow")
    fragment_timeout_s: float = Field(30.0, gt=0, le=MOST_SECONDS, description="how far fragments may be from their first one")
    max_waiting_fragments: int = Field(
        16_384, ge=1, description="fragments of a domain that wait in a bucket for their first one; older ones are orphans"
    )
    interim_first_s: float = Field(
        0.2, ge=0, le=MOST_SECONDS, description="age at which an open flow is first emitted as an interim snapshot"
    )
    interim_first_packets: int = Field(8, ge=1, description="or its packet count; both double from there")
    interim: bool = Field(True, description="emit interim snapshots of open flows, to be scored too")
    community_id_seed: int = Field(0, ge=0, le=65535, description="seed of the community ids; the same in every tool that joins by them")
    max_open_flows: int = Field(2_000_000, ge=1, description="bound over all buckets; the oldest are evicted beyond it")
    json_lateness_s: float = Field(2.0, ge=0, le=MOST_SECONDS, description="JSON packets carry no clock: this much disorder is waited for")
    domain_join_s: float = Field(
        5.0, ge=0, le=MOST_SECONDS, description="wall clock: a configured domain waits so long for its sensors before its time runs"
    )
    sensor_timeout_s: float = Field(120.0, gt=0, le=MOST_SECONDS, description="wall clock: a sensor silent for so long is taken as ended")
    trigger_ms: int = Field(0, ge=0, description="0: as fast as possible")
    max_offsets_per_trigger: int = Field(2000, ge=0, description="messages a batch at most; 0: no bound")
    starting_offsets: Literal["earliest", "latest"] = Field("earliest", description="where to begin without a checkpoint")
    fail_on_data_loss: bool = Field(False, description="stop when messages were gone before they were read; else count them and go on")


class ScoringSettings(_Section):
    """Model registry and scoring."""

    tracking_uri: str = Field("sqlite:///var/mlflow/mlflow.db", description="MLflow tracking and registry")
    artifact_root: str = Field("var/mlflow/artifacts", description="folder of the model files")
    model_name: str = Field("flowlake-flows", description="registered model")
    alias: str = Field("champion", description="which of its versions is served")

    @field_validator("artifact_root")
    @classmethod
    def _local(cls, path: str) -> str:
        return paths.local(path)

    @field_validator("tracking_uri")
    @classmethod
    def _unambiguous(cls, uri: str) -> str:
        return paths.registry(uri)


class LakeSettings(_Section):
    """Delta table of flow records."""

    path: str = Field("var/lake/flows", description="folder, s3a:// URI (s3:// is the same), or another that Spark can write")
    trigger_ms: int = Field(5000, ge=0, description="milliseconds between batches; 0: as fast as possible")
    compact_every: int = Field(50, ge=1, description="batches between compactions of recent partitions")
    s3_endpoint: str = Field("", description="URL of the S3 service; empty: AWS")
    s3_access_key: SecretStr = Field(SecretStr(""), description="key of the bucket")
    s3_secret_key: SecretStr = Field(SecretStr(""), description="its secret")

    @field_validator("path")
    @classmethod
    def _one_spelling(cls, path: str) -> str:
        """The same place is told in the same way: Spark, delta-rs and we compare it as text."""
        path = paths.local(path)
        if path.startswith("s3://"):
            path = "s3a://" + path.removeprefix("s3://")
        return path.rstrip("/") or path


class PostgresSettings(_Section):
    """One PostgreSQL database."""

    host: str = Field("127.0.0.1", description="address of the server")
    port: int = Field(15432, ge=1, le=65535, description="its port")
    database: str = Field("flowlake", description="name of the database")
    user: str = Field("postgres", description="role to log in as")
    password: SecretStr = Field(SecretStr(""), description="its password")
    connect_timeout_s: int = Field(5, ge=1, le=120, description="seconds to wait for a connection")
    trigger_ms: int = Field(1000, ge=0, description="milliseconds between batches; 0: as fast as possible")


class AlertSettings(PostgresSettings):
    """Alerts: the database, and when an alert is raised."""

    trigger_ms: int = Field(0, ge=0, description="milliseconds between batches; 0: as fast as possible")
    min_severity: int = Field(1, ge=1, le=5, description="attacks below are no alert")
    episode_s: float = Field(3600.0, gt=0, description="event time: scans and floods of one kind are one alert for so long")
    min_flows: int = Field(5, ge=1, description="flows that make a scan, a flood or brute force an alert; fewer are kept as candidates")
    escalations: bool = Field(False, description="topic alerts: a second message of the same id when the severity rises")


class SinkSettings(_Section):
    """What the sinks (lake, hot, alerts) have in common."""

    max_messages: int = Field(2000, ge=1, description="messages of predictions in one batch of a sink at most")
    fail_on_data_loss: bool = Field(False, description="stop when messages were gone before they were read; else count them and go on")


class SparkSettings(_Section):
    """Spark session."""

    master: str = Field("local[2]", description="Spark master URL")
    driver_memory: str = Field("1536m", description="heap of the driver's JVM")
    shuffle_partitions: int = Field(2, ge=1, le=10_000, description="tasks of the stateful step; frozen into the checkpoint")
    conf: dict[str, str] = Field(default_factory=dict, description="any further Spark property")


class PathSettings(_Section):
    """Where things lie on this machine (relative: to the project's folder)."""

    var: str = Field("var", description="data, logs and jars of the local stack")
    checkpoints: str = Field("var/checkpoints", description="folder or URI of the queries' checkpoints")

    @field_validator("var", "checkpoints")
    @classmethod
    def _local(cls, path: str) -> str:
        return paths.local(path)


class MetricsSettings(_Section):
    """Prometheus exposition; port 0 turns it off."""

    host: str = Field("127.0.0.1", description="address to serve metrics on")
    stream_port: int = Field(9108, ge=0, le=65535, description="port of the stream's metrics")
    sensor_port: int = Field(0, ge=0, le=65535, description="port of a sensor's metrics")


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line that is written")
    format: Literal["console", "json"] = Field("console", description="console for people, json for programs")


class Settings(BaseSettings):
    """All settings. Build with :func:`load`, which reads the YAML file first and the environment over it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    kafka: KafkaSettings = KafkaSettings()
    sensor: SensorSettings = SensorSettings()
    meter: MeterSettings = MeterSettings()
    scoring: ScoringSettings = ScoringSettings()
    lake: LakeSettings = LakeSettings()
    hot: PostgresSettings = PostgresSettings()
    alerts: AlertSettings = AlertSettings()
    sinks: SinkSettings = SinkSettings()
    spark: SparkSettings = SparkSettings()
    paths: PathSettings = PathSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what the file gave."""
        return env_settings, init_settings

    def topic(self, name: str) -> str:
        """Name of a topic as it is on the broker."""
        return self.kafka.topic_prefix + name

    def path(self, value: str) -> Path:
        """A configured path made absolute (relative ones lie under the project's folder, or ``FLOWLAKE_HOME``)."""
        base = Path(os.environ.get("FLOWLAKE_HOME", ROOT))
        return (base / value).resolve()


def load(file: str | Path | None = None) -> Settings:
    """Read and validate the configuration.

    ``file`` defaults to ``FLOWLAKE_CONF``, else ``conf/local.yaml``; a relative one that is not there is looked for under the project too.

    Raises:
        ConfigError: the file cannot be read, a key is unknown or a value is out of range; names the key and its origin.
    """
    path = Path(file or os.environ.get("FLOWLAKE_CONF") or ROOT / "conf" / "local.yaml")
    if not path.exists() and (beside := Path(os.environ.get("FLOWLAKE_HOME", ROOT)) / path).exists():
        path = beside  # var/demo/conf.yaml, from whatever folder
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as e:
        raise ConfigError(f"configuration file {path}: {e.strerror}", "name one with --conf-file or FLOWLAKE_CONF") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"configuration file {path} is not YAML: {one_line(e, 500)}") from e
    if not isinstance(raw, dict):
        raise ConfigError(f"configuration file {path}: expected sections, found {type(raw).__name__}")
    if odd := [key for key in raw if not isinstance(key, str)]:
        raise ConfigError(
            f"configuration file {path}: unknown section {odd[0]!r}", f"known sections: {', '.join(sorted(Settings.model_fields))}"
        )
    _check_environment()
    try:
        return Settings(**raw)
    except SettingsError as e:
        raise ConfigError(_unreadable(e), 'tables are JSON: {"name": "value"}') from e
    except ValidationError as e:
        raise ConfigError(_first_problem(e, path, raw), "flowlake config show prints what is in force") from e


def _unreadable(error: SettingsError) -> str:
    """Which variable holds no JSON where a table is expected."""
    text = getattr(error.__cause__, "doc", None)
    names = [name for name, value in os.environ.items() if name.upper().startswith(PREFIX) and value == text]
    return f"environment variable {names[0]}: not JSON: {error.__cause__}" if names else one_line(error)


def _check_environment() -> None:
    """Nested names that fit no section are errors too (pydantic-settings ignores unknown top-level variables)."""
    for name in os.environ:
        if not name.upper().startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        section = name[len(PREFIX) :].split("__")[0].lower()
        if section not in Settings.model_fields:
            known = ", ".join(sorted(Settings.model_fields))
            raise ConfigError(f"environment variable {name}: unknown section {section!r}", f"known sections: {known}")


def _first_problem(error: ValidationError, path: Path, raw: dict[str, Any]) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(str(p) for p in problem["loc"])
    origin = _variable([str(p) for p in problem["loc"]]) or f"{path}"
    what = "unknown key" if problem["type"] == "extra_forbidden" else problem["msg"].removeprefix("Value error, ")
    return f"{origin}: {key}: {what}"


def _variable(place: list[str]) -> str:
    """The environment variable that gave the value at ``place``, or a table that holds it, or something below it; empty: none did."""
    wanted = [part.upper() for part in place]
    for name in os.environ:
        if name.upper().startswith(PREFIX):
            parts = name.upper()[len(PREFIX) :].split("__")
            shared = min(len(parts), len(wanted))
            if shared > 1 and parts[:shared] == wanted[:shared]:
                return f"environment variable {name}"
    return ""


@cache
def secret_fields() -> tuple[str, ...]:
    """Dotted names of every secret setting."""
    return tuple(
        f"{section}.{name}"
        for section, info in Settings.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
        for name, field in info.annotation.model_fields.items()
        if field.annotation is SecretStr
    )
