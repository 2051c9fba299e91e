"""The one configuration model: ``conf/*.yaml``, overridden by ``FLOWLAKE_*`` environment variables.

Nested keys are joined by two underscores (``FLOWLAKE_KAFKA__BOOTSTRAP_SERVERS=broker:9092``). An unknown key, in the file or in the
environment, is an error. Secrets have no default in any file: they come from the environment only and are masked when shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import yaml
from pydantic import BaseModel, SecretStr, ValidationError, create_model
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from infra.channels import NotifySettings
from infra.errors import ConfigError, one_line
from infra.sections import (
    AlertSettings,
    ArchiveSettings,
    DashSettings,
    DriftSettings,
    EvaluationSettings,
    GateSettings,
    HotSettings,
    KafkaSettings,
    LakeSettings,
    LogSettings,
    MetricsSettings,
    PathSettings,
    QualitySettings,
    ResponseSettings,
    RetrainSettings,
    ScoringSettings,
    Section,
    SinkSettings,
    SourcesSettings,
    SparkSettings,
    TrinoSettings,
)
from infra.sources import Catalogue, discover


def _root() -> Path:
    """The project's folder. Code shipped to a cluster is imported from a zip, which is no folder: the working directory then."""
    above = Path(__file__).resolve().parent.parent
    return above if above.is_dir() else Path.cwd()


ROOT = _root()
PREFIX = "FLOWLAKE_"
#: Environment variables with the prefix that are not settings.
NOT_SETTINGS = frozenset(
    f"FLOWLAKE_{name}"
    for name in (
        *("CONF", "DATA", "DEBUG", "HOME", "JARS", "PYTHON", "TIMESCALE_DSN", "VENV", "WARM"),
        # read by Grafana in the files that flowlake writes for it, and by its tests
        *("GRAFANA_DASHBOARDS", "GRAFANA_PASSWORD", "GRAFANA_SSLMODE", "GRAFANA_TOKEN", "GRAFANA_URL", "GRAFANA_USER", "PROMETHEUS_URL"),
    )
)


S = TypeVar("S", bound=BaseModel)


class Settings(BaseSettings):
    """The platform's settings, and those of the sources.

    Build with :func:`load`, which reads the YAML file first and the environment over it. The sections of the sources are fields as well;
    :meth:`section` gives one by its type.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    sources: SourcesSettings = SourcesSettings()
    kafka: KafkaSettings = KafkaSettings()
    scoring: ScoringSettings = ScoringSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    gates: GateSettings = GateSettings()
    retrain: RetrainSettings = RetrainSettings()
    lake: LakeSettings = LakeSettings()
    hot: HotSettings = HotSettings()
    alerts: AlertSettings = AlertSettings()
    response: ResponseSettings = ResponseSettings()
    archive: ArchiveSettings = ArchiveSettings()
    notify: NotifySettings = NotifySettings()
    quality: QualitySettings = QualitySettings()
    drift: DriftSettings = DriftSettings()
    trino: TrinoSettings = TrinoSettings()
    sinks: SinkSettings = SinkSettings()
    spark: SparkSettings = SparkSettings()
    paths: PathSettings = PathSettings()
    metrics: MetricsSettings = MetricsSettings()
    dash: DashSettings = DashSettings()
    log: LogSettings = LogSettings()

    #: The sources that this class has the sections of.
    catalogue: ClassVar[Catalogue] = Catalogue((), ())

    def section(self, model: type[S]) -> S:
        """The section of a source that ``model`` declares.

        Raises
        ------
        LookupError
            No source of these settings brings it.
        """
        for name, declared in self.catalogue.sections.items():
            if declared is model:
                return cast(S, getattr(self, name))
        raise LookupError(f"no source brings a section {model.__name__}: sources.packages is {list(self.catalogue.packages)}")

    def __reduce__(self) -> tuple[Any, ...]:
        # The class of these settings is made from the sources: another process finds it by their packages.
        return _revived, (self.catalogue.packages, self.__getstate__())

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
        return Path(os.path.realpath(base / value))  # not resolve(), which raises at a link that leads to itself


def composed(packages: Sequence[str]) -> type[Settings]:
    """The settings' class for the sources of some packages: the platform's sections and theirs.

    Raises
    ------
    ConfigError
        See :func:`infra.sources.discover`; or a source's section has the name of one of the platform.
    """
    return _composed(tuple(packages))


@cache
def _composed(packages: tuple[str, ...]) -> type[Settings]:
    catalogue = discover(packages)
    for name, model in catalogue.sections.items():
        if hasattr(Settings, name) or name in Settings.model_fields or "__" in name or f"{PREFIX}{name}".upper() in NOT_SETTINGS:
            raise ConfigError(
                f"a source declares section {name!r} of the settings, which is a name of the platform's", "give it another name"
            )
        if not (isinstance(model, type) and issubclass(model, Section)):
            raise ConfigError(
                f"a source declares section {name!r} of the settings as {model!r}", "a class derived from infra.sections.Section"
            )
    fields: dict[str, Any] = {name: (model, model()) for name, model in catalogue.sections.items()}
    made: type[Settings] = create_model("Settings", __base__=Settings, **fields)
    made.catalogue = catalogue
    return made


def _revived(packages: tuple[str, ...], state: dict[str, Any]) -> Settings:
    made = _composed(packages)
    settings = made.__new__(made)
    settings.__setstate__(state)
    return settings


class _Packages(BaseSettings):
    """Only where sources are looked for: what the other sections are follows from it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore")

    sources: SourcesSettings = SourcesSettings()

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, env_settings: PydanticBaseSettingsSource, **_: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def build(**values: Any) -> Settings:
    """Settings from values instead of a file: section -> keys, or a section itself; the environment wins.

    Raises
    ------
    pydantic.ValidationError
        A key is unknown or a value is out of range.
    ConfigError
        A source cannot be found.
    """
    given = {"sources": values["sources"]} if "sources" in values else {}
    return composed(_Packages(**given).sources.packages)(**values)


def load(file: str | Path | None = None) -> Settings:
    """Read and validate the configuration.

    ``file`` defaults to ``FLOWLAKE_CONF``, else ``conf/local.yaml``; a relative one that is not there is looked for under the project too.

    Raises
    ------
    ConfigError
        The file cannot be read, a key is unknown or a value is out of range; names the key and its origin. Or a source that
        ``sources.packages`` promises is not there.
    """
    path = _file(file)
    raw = _read(path)
    try:
        known = composed(_packages(raw))
        if odd := [key for key in raw if not isinstance(key, str)]:
            raise ConfigError(
                f"configuration file {path}: unknown section {odd[0]!r}", f"known sections: {', '.join(sorted(known.model_fields))}"
            )
        _check_environment(known)
        _no_secret_of_a_channel(raw, path)
        return known(**raw)
    except SettingsError as e:
        raise ConfigError(_unreadable(e), 'tables are JSON: {"name": "value"}') from e
    except ValidationError as e:
        raise ConfigError(_first_problem(e, path, raw), "flowlake config show prints what is in force") from e


def catalogue(file: str | Path | None = None) -> Catalogue:
    """The sources alone, for who needs no settings yet: the rest of the file is not looked at.

    Raises
    ------
    ConfigError
        ``sources.packages`` is unreadable, or promises a source that is not there.
    """
    path = _file(file)
    raw = _read(path) if file or path.exists() else {}
    try:
        return discover(_packages(raw))
    except SettingsError as e:
        raise ConfigError(_unreadable(e), 'a list is JSON: ["jobs.sources"]') from e
    except ValidationError as e:
        raise ConfigError(_first_problem(e, path, raw), "flowlake config show prints what is in force") from e


def _packages(raw: dict[Any, Any]) -> tuple[str, ...]:
    return _Packages(**{"sources": raw["sources"]} if "sources" in raw else {}).sources.packages


def _file(file: str | Path | None) -> Path:
    path = Path(file or os.environ.get("FLOWLAKE_CONF") or ROOT / "conf" / "local.yaml")
    if not path.exists() and (beside := Path(os.environ.get("FLOWLAKE_HOME", ROOT)) / path).exists():
        path = beside  # var/demo/conf.yaml, from whatever folder
    return path


def demo(other_than: str) -> Path | None:
    """The settings of a demo that has run here, with another database than this: what it wrote is read with them. None: there are none."""
    var = os.environ.get(f"{PREFIX}PATHS__VAR", PathSettings().var)
    beside = Path(os.environ.get("FLOWLAKE_HOME", ROOT))
    path = Path(var) / "demo" / "conf.yaml"
    try:
        databases = {_read(beside / path).get(name, {}).get("database") for name in ("hot", "alerts")}
    except (ConfigError, AttributeError):  # none, or not as the demo writes it
        return None
    return None if other_than in databases else path


def _read(path: Path) -> dict[Any, Any]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as e:
        raise ConfigError(f"configuration file {path}: {e.strerror}", "name one with --conf-file or FLOWLAKE_CONF") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"configuration file {path} is not YAML: {one_line(e, 500)}") from e
    if not isinstance(raw, dict):
        raise ConfigError(f"configuration file {path}: expected sections, found {type(raw).__name__}")
    return raw


def _unreadable(error: SettingsError) -> str:
    """Which variable holds no JSON where a table is expected."""
    text = getattr(error.__cause__, "doc", None)
    names = [name for name, value in os.environ.items() if name.upper().startswith(PREFIX) and value == text]
    return f"environment variable {names[0]}: not JSON: {error.__cause__}" if names else one_line(error)


def _check_environment(known: type[Settings]) -> None:
    """Nested names that fit no section are errors too (pydantic-settings ignores unknown top-level variables)."""
    for name in os.environ:
        if not name.upper().startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        section = name[len(PREFIX) :].split("__")[0].lower()
        if section not in known.model_fields:
            sections = ", ".join(sorted(known.model_fields))
            raise ConfigError(f"environment variable {name}: unknown section {section!r}", f"known sections: {sections}")


def _no_secret_of_a_channel(raw: dict[Any, Any], path: Path) -> None:
    """Their names are the user's, so it is said in so many words where a secret belongs."""
    notify = raw.get("notify")
    channels = notify.get("channels") if isinstance(notify, dict) else None
    for name, channel in (channels if isinstance(channels, dict) else {}).items():
        if isinstance(channel, dict) and "secret" in channel:
            raise ConfigError(
                f"{path}: notify.channels.{name}.secret: secrets come from the environment only",
                f"take it out of the file and set {PREFIX}NOTIFY__CHANNELS__{str(name).upper()}__SECRET",
            )


def _first_problem(error: ValidationError, path: Path, raw: dict[str, Any]) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    place = _place(problem["loc"])
    key = ".".join(place)
    origin = _variable(place) or f"{path}"
    what = "unknown key" if problem["type"] == "extra_forbidden" else problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "union_tag_not_found":  # such as a secret in the environment of a channel that no file declares
        what = "its kind is not said, here nor in the configuration file"
    return f"{origin}: {key}: {what}"


def _place(loc: tuple[int | str, ...]) -> list[str]:
    """Where a value stands in the settings; pydantic puts the kind of a channel behind its name."""
    place = [str(part) for part in loc]
    return [*place[:3], *place[4:]] if place[:2] == ["notify", "channels"] and len(place) > 3 else place


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
def secret_fields(settings: type[Settings]) -> tuple[str, ...]:
    """Dotted names of every secret setting of a settings' class."""
    return tuple(_secrets(settings, ()))


def _secrets(model: type[BaseModel], place: tuple[str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if field.annotation is SecretStr:
            yield ".".join((*place, name))
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _secrets(field.annotation, (*place, name))
