"""A demo's settings: everything of its own, nothing of the user's, secrets nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra import config
from infra.config import Settings
from infra.errors import ConfigError, StackError
from ops.harness import link, place


@pytest.fixture
def where(home: Path) -> place.Place:
    return place.place(config.load())


def test_topics_tables_and_folders_are_the_demos_own(settings: Callable[..., Settings], where: place.Place):
    base = settings()
    own = place.own(base, where)
    assert own.kafka.topic_prefix.startswith(base.kafka.topic_prefix)
    assert own.kafka.topic_prefix != base.kafka.topic_prefix
    assert (own.hot.database, own.alerts.database) == (place.DATABASE, place.DATABASE)
    assert base.hot.database != place.DATABASE
    for path in (own.lake.path, own.paths.checkpoints):
        assert own.path(path).is_relative_to(where.base)
    assert own.scoring == base.scoring
    assert place.own(base, where).kafka.topic_prefix != own.kafka.topic_prefix


@pytest.mark.parametrize(("section", "values"), [("kafka", {"bootstrap_servers": "broker:9092"}), ("hot", {"host": "db.example"})])
def test_a_stack_elsewhere_is_refused(settings: Callable[..., Settings], where: place.Place, section: str, values: dict[str, str]):
    with pytest.raises(ConfigError, match=next(iter(values.values()))[:6]):
        place.own(settings(**{section: values}), where)


def test_only_topics_of_demos_under_the_same_prefix_are_taken_for_ours(settings: Callable[..., Settings], where: place.Place):
    own = place.own(settings(kafka={"topic_prefix": "mine."}), where)
    assert place.is_demo_topic(own, own.topic("predictions"))
    assert place.is_demo_topic(own, "mine.demo-0123abcd.raw-packets")
    for other in (
        "predictions",
        "mine.predictions",
        "demo-0123abcd.predictions",
        "mine.demo-x.predictions",
        "mine.demo-0123abcd",
        "mine.demo-notahexa.p",
    ):
        assert not place.is_demo_topic(own, other)


def test_the_written_configuration_is_read_back_without_secrets(
    settings: Callable[..., Settings], where: place.Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    own = place.own(settings(hot={"password": "hunter2"}), where)
    file = tmp_path / "conf.yaml"
    place.write_conf(own, file)
    assert "hunter2" not in file.read_text()
    monkeypatch.setenv("FLOWLAKE_HOT__PASSWORD", "hunter2")
    assert config.load(file).model_dump() == own.model_dump()


def test_the_environment_passes_secrets_and_no_other_setting(where: place.Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOWLAKE_HOT__PASSWORD", "hunter2")
    monkeypatch.setenv("FLOWLAKE_HOT__PORT", "1234")
    monkeypatch.setenv("FLOWLAKE_KAFKA__TOPIC_PREFIX", "x.")
    found = place.environment(where)
    assert found["FLOWLAKE_HOT__PASSWORD"] == "hunter2"
    assert found["FLOWLAKE_CONF"] == str(where.conf)
    assert "FLOWLAKE_HOT__PORT" not in found
    assert "FLOWLAKE_KAFKA__TOPIC_PREFIX" not in found
    assert "FLOWLAKE_HOME" in found


def test_two_demos_do_not_run_in_one_place(where: place.Place):
    with where.lock(), pytest.raises(StackError, match="a demo runs already"):
        where.lock()
    with where.lock():
        pass


def test_clear_removes_what_a_run_left_but_not_the_list_of_its_servers(where: place.Place):
    with where.lock():
        where.remember_started({"kafka"})
        (where.base / "lake" / "_delta_log").mkdir(parents=True)
        (where.base / "checkpoints" / "meter-v1").mkdir(parents=True)
        where.report.write_text("{}")
        where.clear()
        assert not (where.base / "lake").exists()
        assert not (where.base / "checkpoints").exists()
        assert not where.report.exists()
        assert where.was_started() == {"kafka"}


def test_state_files_are_read_whole_or_empty(tmp_path: Path):
    file = tmp_path / "state.json"
    assert link.read(file) == {}
    link.write(file, {"a": 1})
    assert link.read(file) == {"a": 1}
    file.write_text('{"a":')
    assert link.read(file) == {}
    assert [f.name for f in tmp_path.iterdir()] == ["state.json"]
