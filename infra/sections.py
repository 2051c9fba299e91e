"""The platform's sections of the settings: every key, its type, its default and what it means.

:mod:`infra.config` reads them from the file and the environment. A source brings sections of its own (:class:`Section`).
"""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from infra import paths
from schemas.incidents import Priority

#: What a registered model and an alias of its versions may be called: MLflow's own rules, and no quotes, which would end a search.
_NAME = re.compile(r"\w[\w .-]*")
#: Aliases that MLflow keeps for versions.
_VERSION = re.compile("latest|v[0-9]+", re.IGNORECASE)


class Section(BaseModel):
    """A section of the settings: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SourcesSettings(Section):
    """Which sources there are."""

    packages: tuple[str, ...] = Field(("jobs.sources",), description="Python packages that sources are looked for in")


class KafkaSettings(Section):
    """Broker and topics."""

    bootstrap_servers: str = Field("127.0.0.1:19092", description="host:port of one or more brokers, comma-separated")
    partitions: dict[str, int] = Field(default_factory=dict, description="topic -> partitions, where fewer than declared")
    replication_factor: int = Field(3, ge=1, le=7, description="of topics that are created")
    topic_prefix: str = Field("", description="put before every topic name, so that runs do not meet")
    security: dict[str, str] = Field(default_factory=dict, description="Kafka client options by Kafka's names, e.g. security.protocol")
    sasl_username: str = Field("", description="user for SASL; empty: none")
    sasl_password: SecretStr = Field(SecretStr(""), description="its password")


class ScoringSettings(Section):
    """Model registry and scoring."""

    tracking_uri: str = Field("sqlite:///var/mlflow/mlflow.db", description="MLflow tracking and registry")
    artifact_root: str = Field("var/mlflow/artifacts", description="folder of the model files")
    model_name: str = Field("flowlake-flows", description="registered model of flows")
    models: dict[str, str] = Field(default_factory=dict, description="record type -> registered model, where another than it declares")
    alias: str = Field("champion", description="which of its versions is served")
    challenger_alias: str = Field("challenger", description="which of its versions scores beside it, unseen")
    max_ms_per_1000: float = Field(7.0, gt=0, description="milliseconds that a model may take for 1,000 records, on one core")
    max_mb: float = Field(256.0, gt=0, description="megabytes that a model may take in a worker's memory")
    poll_s: float = Field(20.0, gt=0, le=3600, description="seconds between two looks for a newly promoted model")
    port: int = Field(0, ge=0, le=65535, description="port of the driver from which workers get models; 0: any that is free")

    @field_validator("model_name", "alias", "challenger_alias")
    @classmethod
    def _named(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name: write letters, digits, '.', '_' and '-'")
        return name

    @field_validator("models")
    @classmethod
    def _models_named(cls, models: dict[str, str]) -> dict[str, str]:
        return {record: cls._named(name) for record, name in models.items()}

    @field_validator("alias", "challenger_alias")
    @classmethod
    def _no_version(cls, name: str) -> str:
        if _VERSION.fullmatch(name):
            raise ValueError(f"{name!r} stands for a version in MLflow: name another, such as champion")
        return name

    @model_validator(mode="after")
    def _two_roles(self) -> ScoringSettings:
        if self.alias == self.challenger_alias:
            raise ValueError(f"alias and challenger_alias are both {self.alias!r}: one scores, the other stands beside it")
        return self

    @field_validator("artifact_root")
    @classmethod
    def _local(cls, path: str) -> str:
        return paths.local(path)

    @field_validator("tracking_uri")
    @classmethod
    def _unambiguous(cls, uri: str) -> str:
        return paths.registry(uri)


class EvaluationSettings(Section):
    """What a model is judged for: the traffic it will see, and what its errors cost there."""

    attack_share: float = Field(0.01, gt=0, lt=1, description="share of flows that are attacks; 0.25 in CIC-IDS2017 as it was captured")
    flows_per_s: float = Field(100.0, gt=0, description="records a second; false alarms an hour follow from it")
    miss_cost: float = Field(100.0, ge=0, description="cost of an attack's flow that is not found, in any unit")
    false_alarm_cost: float = Field(1.0, ge=0, description="cost of a benign flow taken for an attack, in the same unit")


class GateSettings(Section):
    """What a model must show, beside the champion on the same held-out records, before it is promoted."""

    recall_margin: float = Field(0.02, ge=0, le=1, description="share of an attack's records of which it may find less than the champion")
    max_fpr: float = Field(0.005, ge=0, le=1, description="false-positive rate on them at most")
    ece_margin: float = Field(0.02, ge=0, le=1, description="by which its expected calibration error may exceed the champion's")


class RetrainSettings(Section):
    """Training anew, on a schedule (flowlake models retrain)."""

    family: str = Field("boosted", description="classifiers (flowlake train --family); auto: the cheapest of the best")
    max_fpr: float = Field(0.001, ge=0, le=0.5, description="false-positive rate that the threshold is to keep (flowlake train --max-fpr)")
    splits: list[Literal["day", "host", "attack"]] = Field(
        ["day", "host", "attack"], description="further ways to judge, each left out in turn, a training each (flowlake train --splits)"
    )
    auto_promote: bool = Field(False, description="promote what passes the gates; else a person does")
    shadow_rows: int = Field(10_000, ge=0, description="records that champion and challenger must both have scored in the lake ...")
    shadow_hours: float = Field(24.0, ge=0, description="... over at least so many hours of event time")
    poll_s: float = Field(30.0, gt=0, le=3600, description="seconds between two looks at the lake meanwhile")


class LakeSettings(Section):
    """Delta table of flow records."""

    path: str = Field("var/lake/flows", description="folder, s3a:// URI (s3:// is the same), or another that Spark can write")
    tables: dict[str, str] = Field(
        default_factory=dict,
        description="record type or side table (labels, quarantine, model_drift, model_references) -> place of its table; "
        "default: beside lake.path",
    )
    trigger_ms: int = Field(5000, ge=0, description="milliseconds between batches; 0: as fast as possible")
    compact_every: int = Field(50, ge=1, description="batches between compactions")
    maintain_s: float = Field(5.0, gt=0, le=600, description="seconds after which a compaction begins no further step")
    file_rows: int = Field(200_000, ge=2, le=2_000_000, description="rows of a compacted file (about a kB of memory each)")
    checkpoint_every: int = Field(25, ge=1, description="commits between checkpoints of a table's log")
    history_days: int = Field(7, ge=1, description="days whose versions of a table can still be read; older files are removed")
    s3_endpoint: str = Field("", description="URL of the S3 service; empty: AWS")
    s3_addressing: Literal["path", "virtual"] = Field("path", description="bucket in the path of the URL, or in its host's name")
    s3_ca: str = Field("", description="PEM file of a private authority that signs the S3 service's certificate (absolute path)")
    s3_access_key: SecretStr = Field(SecretStr(""), description="key of the bucket")
    s3_secret_key: SecretStr = Field(SecretStr(""), description="its secret")

    @field_validator("path")
    @classmethod
    def _one_spelling(cls, path: str) -> str:
        return paths.lake(path)

    @field_validator("s3_ca")
    @classmethod
    def _absolute(cls, path: str) -> str:
        if path and not path.startswith("/"):
            raise ValueError(f"{path!r} is no absolute path: the tasks of a stream have other working folders")
        return path

    @field_validator("tables")
    @classmethod
    def _one_spelling_each(cls, tables: dict[str, str]) -> dict[str, str]:
        return {name: paths.lake(path) for name, path in tables.items()}


class PostgresSettings(Section):
    """One PostgreSQL database."""

    host: str = Field("127.0.0.1", description="address of the server")
    port: int = Field(15432, ge=1, le=65535, description="its port")
    database: str = Field("flowlake", description="name of the database")
    user: str = Field("postgres", description="role to log in as")
    password: SecretStr = Field(SecretStr(""), description="its password")
    connect_timeout_s: int = Field(5, ge=1, le=120, description="seconds to wait for a connection")
    trigger_ms: int = Field(1000, ge=0, description="milliseconds between batches; 0: as fast as possible")


class HotSettings(PostgresSettings):
    """Hot store: the database, and how long its rows live."""

    compress_after_days: int = Field(7, ge=1, description="age of a day that is compressed, where the server has TimescaleDB")
    retention_days: int = Field(90, ge=1, description="age of a day that is dropped")
    keep_until_archived: bool = Field(False, description="drop only what a verified archive holds (flowlake archive)")
    partitions_ahead_days: int = Field(
        7, ge=1, le=366, description="days from today on that have their partition made ahead, where the server has no TimescaleDB"
    )
    maintain_s: int = Field(3600, ge=0, description="seconds between two maintenances by the stream (flowlake db maintain); 0: none")


class ArchiveSettings(Section):
    """Archive of the hot store: Parquet by month."""

    path: str = Field("var/lake/archive", description="folder, or s3a:// URI (s3:// is the same) with the keys of the lake")
    after_days: int = Field(90, ge=1, description="age of the rows that leave the hot store, whole months at a time")
    compression: Literal["zstd", "snappy"] = Field("zstd", description="of the Parquet files")
    file_rows: int = Field(1_000_000, ge=1000, description="rows of one file at most")
    restored_days: int = Field(30, ge=1, description="days that a restored month stays in the hot store")

    @field_validator("path")
    @classmethod
    def _one_spelling(cls, path: str) -> str:
        return paths.lake(path)


class TrinoSettings(Section):
    """A Trino server that asks the stores: flowlake trino."""

    url: str = Field("http://127.0.0.1:8080", description="http:// or https:// address of the server")
    user: str = Field("flowlake", min_length=1, description="user that registers tables; all others read")
    password: SecretStr = Field(SecretStr(""), description="its password, where the server wants one (https only)")
    metastore: str = Field("file", description="where Trino notes its tables: file (beside the lake), glue, or thrift://host:9083")

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        return paths.server(url)

    @field_validator("metastore")
    @classmethod
    def _known(cls, metastore: str) -> str:
        if metastore not in ("file", "glue") and not metastore.startswith("thrift://"):
            raise ValueError(f"{metastore!r} is none of: file, glue, thrift://host:port")
        return metastore


class QualitySettings(Section):
    """Checks of the records on their way and at night."""

    batch_checks: bool = Field(True, description="cheap checks on each batch of a store; rows that fail go to the quarantine")
    earliest: date = Field(date(1970, 1, 1), description="times before this day are faults; later: also those of clocks never set")
    ahead_s: int = Field(86_400, ge=0, description="seconds that a time may be ahead of the clock of whoever published the record")
    labels: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="record type -> labels that its model may give beyond those it declares"
    )
    history_days: int = Field(7, ge=1, le=60, description="days before, with which the rates of a day are compared")
    least_days: int = Field(3, ge=2, le=60, description="of them must have rows, else there is too little history to compare with")
    ratio: float = Field(2.0, gt=1, description="a rate is odd when it is so many times as large as it was on average, or so small ...")
    deviations: float = Field(3.0, gt=0, description="... and so many standard deviations from it as well")
    share: float = Field(0.05, gt=0, lt=1, description="a share (of attacks, of nulls) is odd when it also differs by so much")
    copies: int = Field(10_000, ge=0, description="rows that a nightly run copies to the quarantine at most, of each store")
    piece_rows: int = Field(200_000, ge=1000, description="rows that a nightly run holds in memory at once")


class DriftSettings(Section):
    """Watching a model: when what it is served is no longer what it knows."""

    hours: int = Field(24, ge=6, le=24 * 31, description="last whole hours that a run looks at")
    settle_s: float = Field(
        900.0, ge=0, description="seconds after its end at which an hour is whole: flows are stored when they have ended"
    )
    baseline_days: int = Field(7, ge=1, le=60, description="days served that are the reference of a model without a profile")
    least_rows: int = Field(100, ge=1, description="hours with fewer rows are counted and not judged")
    false_alarms: float = Field(0.01, gt=0, lt=1, description="probability of a false alarm in a week, for one model and sensor")
    odd: float = Field(0.001, gt=0, lt=1, description="probability with which one measure of one hour is odd without any change")
    several: float = Field(
        0.6, gt=0, le=1, description="share of the features, three at least, that is an alarm when they are odd in one hour"
    )
    sustained: int = Field(3, ge=2, le=6, description="hours of the last six in which a measure is odd are an alarm")
    least_psi: float = Field(0.1, ge=0, description="smaller shifts of a feature or score are never odd, however many rows show them")
    least_psi_share: float = Field(0.02, ge=0, description="the same of a share: of alerts, of missing or undefined values")
    priority: Priority = Field("MEDIUM", description="priority of an alarm for the channels of the notifications")


class AlertSettings(PostgresSettings):
    """Alerts: the database, and when an alert is raised."""

    trigger_ms: int = Field(0, ge=0, description="milliseconds between batches; 0: as fast as possible")
    min_severity: int = Field(1, ge=1, le=5, description="attacks below are no alert")
    episode_s: float = Field(3600.0, gt=0, description="event time: scans and floods of one kind are one alert for so long")
    min_looks: int = Field(
        2,
        ge=1,
        le=8,
        description="looks at open TCP connections that make what one flow is an alert of (a beacon); a closed record suffices",
    )
    min_flows: int = Field(5, ge=1, description="flows that make a scan, a flood or brute force an alert; fewer are kept as candidates")
    incident_window_s: float = Field(1800.0, gt=0, description="event time: related alerts that are no further apart are one incident")
    storm_alerts: int = Field(
        1000, ge=1, description="alerts of one attack type in one episode; what is more is counted in one alert, of kind storm"
    )
    explained_per_batch: int = Field(500, ge=0, description="alerts of a batch whose score is explained, at most; 0: none is")
    most_suppressed: float = Field(
        0.5, gt=0, le=1, description="a whitelist entry that fits more of the alerts of the last 7 days is refused"
    )
    widest_ipv4: int = Field(8, ge=1, le=32, description="shortest IPv4 prefix that may be silenced")
    widest_ipv6: int = Field(32, ge=1, le=128, description="shortest IPv6 prefix that may be silenced")
    everything_h: float = Field(24.0, gt=0, description="hours for which an entry that silences nearly everything may be made")
    escalations: bool = Field(False, description="topic alerts: a second message of the same id when the severity rises")


class BlockRule(Section):
    """When a source is blocked by itself (flowlake respond)."""

    name: str = Field(min_length=1, max_length=60, pattern=r"^[\w .-]+$", description="what it is called in the table blocks")
    kinds: tuple[str, ...] = Field(min_length=1, description="kinds of alerts (scan, brute-force ...) or attack types (SSH_BRUTE_FORCE)")
    min_severity: int = Field(4, ge=1, le=5, description="of the alert, at least")
    min_confidence: float = Field(0.9, ge=0, le=1, description="of the alert, at least")
    for_s: float = Field(3600.0, ge=1, description="seconds that the source is blocked")


class ResponseSettings(Section):
    """Blocks of addresses: who carries them out, what can never be blocked, and which rules block by themselves."""

    responder: Literal["dry-run", "nftables", "webhook"] = Field("dry-run", description="who carries out a block; dry-run: only noted")
    for_s: float = Field(3600.0, ge=1, description="seconds that a block holds where nobody says how long")
    max_for_s: float = Field(2_592_000.0, ge=1, le=31_536_000, description="seconds that a block may hold at most")
    protected: tuple[str, ...] = Field(
        (), description="addresses and networks that are never blocked, beside those of this machine, its gateways, DNS and our servers"
    )
    inside: tuple[str, ...] = Field(
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
        description="our networks: no rule blocks an address of them, a person may",
    )
    confirm_hosts: int = Field(
        20, ge=0, description="hosts that exchanged data with an address lately: more need a confirmation, and no rule blocks it"
    )
    confirm_addresses: int = Field(1, ge=1, description="addresses (IPv6: networks of 64 bits) of a block: more need a confirmation")
    max_addresses: int = Field(65_536, ge=1, le=16_777_216, description="addresses of a block: more are refused, confirmed or not")
    max_active: int = Field(10_000, ge=1, le=100_000, description="blocks that hold at once: more are refused")
    reach_hours: float = Field(24.0, gt=0, le=168, description="hours back that the hot store is asked what an address was part of")
    reach_s: float = Field(5.0, gt=0, le=60, description="seconds that this question may take; then it counts as not known")
    nft: str = Field("nft", min_length=1, description="program nft, or one that calls it with its arguments")
    webhook_url: str = Field("", description="http:// or https:// address that blocks are sent to")
    webhook_secret: SecretStr = Field(SecretStr(""), description="with it they are signed (HMAC-SHA-256)")
    webhook_ca: str = Field("", description="PEM file of a private authority that signs its certificate")
    webhook_timeout_s: float = Field(5.0, gt=0, le=60, description="seconds that one attempt may take")
    webhook_attempts: int = Field(3, ge=1, le=10, description="attempts at most")
    rules: tuple[BlockRule, ...] = Field((), description="sources that are blocked without a person (flowlake respond); none: off")
    auto_per_minute: int = Field(10, ge=1, le=1000, description="blocks by rules in a minute at most; what is above is refused")
    auto_max_active: int = Field(100, ge=1, le=100_000, description="blocks by rules that hold at once; what is above is refused")
    auto_max_age_s: float = Field(900.0, gt=0, description="seconds since an alert last changed; rules refuse to act on older ones")
    poll_s: float = Field(1.0, ge=0.05, le=60, description="seconds between two looks of flowlake respond at the alerts")
    sync_s: float = Field(30.0, ge=1, le=3600, description="seconds after which it compares the blocks with the responder")

    @field_validator("protected", "inside")
    @classmethod
    def _networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            try:
                ipaddress.ip_network(one)
            except ValueError as e:
                raise ValueError(f"{one!r} is no address or network: {e}") from e
        return given

    @field_validator("webhook_url")
    @classmethod
    def _address(cls, url: str) -> str:
        return paths.endpoint(url) if url else url


class SinkSettings(Section):
    """What the sinks (lake, hot, alerts) have in common."""

    max_messages: int = Field(2000, ge=1, description="messages of predictions in one batch of a sink at most")
    fail_on_data_loss: bool = Field(False, description="stop when messages were gone before they were read; else count them and go on")


class SparkSettings(Section):
    """Spark session."""

    master: str = Field("local[2]", description="Spark master URL")
    driver_memory: str = Field("1536m", description="heap of the driver's JVM")
    shuffle_partitions: int = Field(2, ge=1, le=10_000, description="tasks of the stateful step; frozen into the checkpoint")
    conf: dict[str, str] = Field(default_factory=dict, description="any further Spark property")


class PathSettings(Section):
    """Where things lie on this machine (relative: to the project's folder)."""

    var: str = Field("var", description="data, logs and jars of the local stack")
    checkpoints: str = Field("var/checkpoints", description="folder or URI of the queries' checkpoints")

    @field_validator("var", "checkpoints")
    @classmethod
    def _local(cls, path: str) -> str:
        return paths.local(path)


class MetricsSettings(Section):
    """Prometheus exposition; port 0 turns it off."""

    host: str = Field("127.0.0.1", description="address to serve metrics on")
    stream_port: int = Field(9108, ge=0, le=65535, description="port of the stream's metrics")
    sensor_port: int = Field(0, ge=0, le=65535, description="port of a sensor's metrics")
    respond_port: int = Field(0, ge=0, le=65535, description="port of the metrics of flowlake respond")
    notify_port: int = Field(0, ge=0, le=65535, description="port of the metrics of `flowlake notify run`")


class DashSettings(Section):
    """The dashboard without Grafana: flowlake dash, flowlake report."""

    host: str = Field("127.0.0.1", min_length=1, description="address to serve the page on; any other than loopback wants a password")
    port: int = Field(8000, ge=0, le=65535, description="its port; 0: a free one")
    password: SecretStr = Field(SecretStr(""), description="what people log in with, at least 12 characters; empty: no login")
    hosts: tuple[str, ...] = Field((), description="names by which browsers call it, beside localhost and its addresses")
    refresh_s: float = Field(5.0, ge=1, le=3600, description="seconds after which an open page asks anew")
    timeout_s: float = Field(10.0, gt=0, le=600, description="seconds that a panel may wait for its answer")
    prometheus: str = Field("", description="http:// or https:// address of a Prometheus that scrapes flowlake; empty: none")

    @field_validator("prometheus")
    @classmethod
    def _address(cls, url: str) -> str:
        return paths.server(url) if url else url


class LogSettings(Section):
    """What is logged, and for whom."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severe line that is written")
    format: Literal["console", "json"] = Field("console", description="console for people, json for programs")
