"""Promotion through gates, rollback, retirement; and two of them at once, on a file and on a real server."""

from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from infra import config
from infra.config import Settings
from infra.errors import ConfigError, ModelError
from jobs.models import gates, promotion, versions
from jobs.models.newcomer import Settled, settle
from jobs.models.promotion import GateError, promote, retire, rollback
from jobs.models.request import PromotionRequest
from jobs.scoring import aliases, registry, tracking, turns
from jobs.scoring.aliases import AliasChange, PromotionConflictError
from jobs.scoring.registry import ModelMissingError
from jobs.training import heldout
from schemas.packets import FLOWS
from tests.modelversions import labelled, local, put, server

NAME = "flowlake-flows"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Champion 1; version 2 as good; 3 blind to one attack; 4 with false alarms; 5 without held-out records."""
    folder = tmp_path_factory.mktemp("versions")
    settings, held_out = local(folder), labelled()
    put(settings, promote=True, held_out=held_out)
    put(settings, held_out=held_out, trees=20)
    put(settings, held_out=held_out, blind="UDP_FLOOD")
    put(settings, held_out=held_out, noise=0.6)
    put(settings)
    return folder


@pytest.fixture
def settings(origin: Path, tmp_path: Path) -> Settings:
    return local(Path(shutil.copytree(origin, tmp_path / "registry")))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A server with a champion and two versions more."""
    with server(tmp_path_factory.mktemp("server")) as address:
        settings = config.build(scoring={"tracking_uri": address})
        put(settings, promote=True, held_out=labelled(300))
        put(settings, held_out=labelled(300))
        put(settings)
        yield settings


def champion(settings: Settings) -> str | None:
    return aliases.version_of(settings, FLOWS, "champion")


def test_versions_tell_what_was_registered(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "_PAGE", 2)
    found = versions.versions(settings, FLOWS)
    assert [one.version for one in found] == ["5", "4", "3", "2", "1"]
    one = versions.version(settings, FLOWS, "champion")
    assert (one.version, one.aliases, one.threshold, one.metrics) == ("1", ("champion",), 0.5, {"held_out_recall": 0.5})
    facts = {name: one.fact(name) for name in ("data_version", "threshold_rule", "card", "training_data")}
    assert facts == {"data_version": "seed 5", "threshold_rule": "half", "card": "card.html", "training_data": "random records"}
    file = versions.artifact(settings, FLOWS, "1", one.fact("card"), tmp_path / "out.html")
    assert file.read_text() == "<html>a card</html>"
    with pytest.raises(tracking.ArtifactMissingError, match=r"no file nothing\.txt"):
        versions.artifact(settings, FLOWS, "1", "nothing.txt", tmp_path)
    with pytest.raises(ModelError, match="No such file"):
        versions.artifact(settings, FLOWS, "1", "card.html", tmp_path / "no" / "out.html")


@pytest.mark.parametrize("name", ["9", "0", "canary", "-1", "", "1 OR 1", "9" * 30, "\N{SUPERSCRIPT TWO}"])
def test_no_such_version_says_which_there_are(settings: Settings, name: str) -> None:
    for use in (promote, versions.version):
        with pytest.raises(ModelMissingError, match=r"no (version|model)") as e:
            use(settings, FLOWS, name)
        assert e.value.hint == "there are: champion, 1, 2, 3, 4, 5"


def test_a_record_type_without_versions_says_what_trains_one(settings: Settings) -> None:
    windows = next(one for one in settings.catalogue.records if one.name == "windows_5")
    with pytest.raises(ModelMissingError) as e:
        versions.version(settings, windows, "champion")
    assert "flowlake windows train" in e.value.hint


def test_a_model_as_good_passes_and_becomes_champion(settings: Settings) -> None:
    done = promote(settings, FLOWS, "2", reason="more trees")
    assert {gate.verdict for gate in done.gates} == {"open"}
    assert {"features", "latency", "false positives", "recall", "recall of SYN_SCAN", "recall of UDP_FLOOD", "calibration"} == {
        gate.name for gate in done.gates
    }
    assert registry.load_champion(settings, FLOWS).version == "2"
    last = versions.history(settings, FLOWS)[-1]
    assert (last.action, last.before, last.after, last.why, last.forced) == ("promote", "1", "2", "more trees", False)
    assert last.who
    assert last.gates["recall"] == "open"
    with pytest.raises(ModelError, match="version 2 is champion already"):
        promote(settings, FLOWS, "2")


@pytest.mark.parametrize(("version", "gate"), [("3", "recall of UDP_FLOOD"), ("4", "false positives")])
def test_a_worse_model_is_refused_and_forced_only_with_a_reason(settings: Settings, version: str, gate: str) -> None:
    with pytest.raises(GateError, match=f"version {version} is not promoted: .*{gate}") as e:
        promote(settings, FLOWS, version)
    assert gate in {one.name for one in e.value.gates if one.verdict == gates.CLOSED}
    assert champion(settings) == "1"
    for nothing in ("", "  "):
        with pytest.raises(ConfigError, match="--force without --reason"):
            promote(settings, FLOWS, version, force=True, reason=nothing)
    assert promote(settings, FLOWS, version, force=True, reason="a drill").change.forced
    assert champion(settings) == version
    assert '"why": "a drill"' in versions.version(settings, FLOWS, version).fact("forced")


def test_the_first_version_is_in_force_at_once_and_its_promotion_is_kept(tmp_path: Path) -> None:
    settings = local(tmp_path)
    put(settings)
    assert settle(settings, FLOWS, "1", PromotionRequest()) == Settled(True, "the first one")
    (first,) = versions.history(settings, FLOWS)
    assert (first.before, first.after, first.why, first.gates) == (None, "1", "the first one", {"features": "open", "latency": "open"})


def test_a_first_version_that_is_too_slow_scores_all_the_same(tmp_path: Path) -> None:
    """A program that scores nothing, as the machine is slow, would be no help; a second one has to be fast enough."""
    settings = local(tmp_path)
    put(settings)
    put(settings)
    slow = settings.model_copy(update={"scoring": settings.scoring.model_copy(update={"max_ms_per_1000": 1e-6})})
    assert settle(slow, FLOWS, "1", PromotionRequest()) == Settled(True, "the first one")
    (first,) = versions.history(settings, FLOWS)
    assert first.gates == {"features": "open", "latency": "undecided"}
    settled = settle(slow, FLOWS, "2", PromotionRequest(promote=True))
    assert (settled.promoted, champion(settings)) == (False, "1")
    assert "latency: " in settled.why


def test_a_training_promotes_through_the_gates(settings: Settings) -> None:
    assert settle(settings, FLOWS, "2", PromotionRequest()) == Settled(False, "champion 1 stays"), "nobody asked for it"
    settled = settle(settings, FLOWS, "3", PromotionRequest(promote=True))
    assert (settled.promoted, champion(settings)) == (False, "1")
    assert settled.refused is not None
    assert "recall of UDP_FLOOD" in settled.why
    assert settle(settings, FLOWS, "3", PromotionRequest(promote=True, force=True, reason="a drill")) == Settled(True, "a drill")
    assert '"why": "a drill"' in versions.version(settings, FLOWS, "3").fact("forced")
    assert settle(settings, FLOWS, "2", PromotionRequest(promote=True)).promoted
    assert champion(settings) == "2"


def test_a_promotion_that_another_one_came_before_is_refused_where_it_was_asked_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*_: object, **__: object) -> None:
        raise PromotionConflictError("champion is version 3 by now")

    monkeypatch.setattr(promotion, "promote", late)
    settled = settle(settings, FLOWS, "2", PromotionRequest(promote=True))
    assert (settled.promoted, settled.why) == (False, "champion is version 3 by now")
    assert isinstance(settled.refused, PromotionConflictError), "a script hears of it by the exit code"


def test_a_champion_of_other_features_is_replaced_and_a_damaged_one_is_not(settings: Settings) -> None:
    with tracking.opened(settings, create=False) as client:
        client.set_model_version_tag(NAME, "1", "sha256", "0")
    settled = settle(settings, FLOWS, "2", PromotionRequest())
    assert (settled.promoted, champion(settings)) == (False, "1")
    assert settled.why.startswith("the champion cannot be used: ")
    with tracking.opened(settings, create=False) as client:
        client.delete_model_version_tag(NAME, "1", "sha256")
        folder = settings.path(settings.scoring.artifact_root) / client.get_model_version(NAME, "1").tags["artifact_path"]
    about = yaml.safe_load((folder / "MLmodel").read_text())
    about["metadata"]["feature_version"] = "0"
    (folder / "MLmodel").write_text(yaml.safe_dump(about))
    assert settle(settings, FLOWS, "2", PromotionRequest()).promoted
    assert champion(settings) == "2"


@pytest.mark.parametrize(
    ("request_", "register", "said"),
    [
        (PromotionRequest(promote=True), False, "--promote with --no-register"),
        (PromotionRequest(force=True, reason="why"), True, "--force without --promote"),
        (PromotionRequest(promote=True, force=True, reason=" "), True, "--force without --reason"),
    ],
)
def test_requests_that_make_no_sense_are_refused_before_the_work(request_: PromotionRequest, register: bool, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        request_.check(register=register)


def test_few_records_close_no_gate(settings: Settings) -> None:
    held_out = labelled()
    few = np.concatenate([np.flatnonzero(held_out.y != "UDP_FLOOD"), np.flatnonzero(held_out.y == "UDP_FLOOD")[:2]])
    found = gates.check(settings, FLOWS, "3", "1", gates.HeldOut(held_out.where(few), "some"))
    verdicts = {gate.name: gate.verdict for gate in found}
    assert (verdicts["recall of UDP_FLOOD"], verdicts["recall of SYN_SCAN"]) == ("undecided", "open")


def test_a_slow_model_is_refused(origin: Path) -> None:
    slow = local(origin).model_copy(update={"scoring": local(origin).scoring.model_copy(update={"max_ms_per_1000": 1e-6})})
    for challenger in (False, True):
        with pytest.raises(GateError, match=r"latency: .* ms per 1,000 records, 1e-06 at most"):
            promote(slow, FLOWS, "2", challenger=challenger)


def test_a_challenger_needs_no_comparison_and_is_one_no_more_as_champion(settings: Settings) -> None:
    done = promote(settings, FLOWS, "3", challenger=True)
    assert {gate.name for gate in done.gates} == {"features", "latency"}
    with pytest.raises(ModelError, match="version 1 is champion: it cannot be compared with itself"):
        promote(settings, FLOWS, "champion", challenger=True)
    promote(settings, FLOWS, "2", challenger=True)
    assert versions.version(settings, FLOWS, "challenger").version == "2"
    promote(settings, FLOWS, "challenger")
    assert (champion(settings), aliases.version_of(settings, FLOWS, "challenger")) == ("2", None)


def test_rollback_goes_back_one_champion_after_the_other(settings: Settings) -> None:
    promote(settings, FLOWS, "2")
    promote(settings, FLOWS, "3", force=True, reason="a drill")
    assert rollback(settings, FLOWS, reason="misses floods").change.after == "2"
    promote(settings, FLOWS, "4", force=True, reason="a drill")
    assert [rollback(settings, FLOWS).change.after for _ in range(2)] == ["2", "1"]
    with pytest.raises(ModelError, match="no champion before version 1"):
        rollback(settings, FLOWS)
    assert [one.action for one in versions.history(settings, FLOWS)][-2:] == ["rollback", "rollback"]


def test_rollback_knows_a_champion_that_was_made_by_other_means(settings: Settings) -> None:
    promote(settings, FLOWS, "2")
    with tracking.opened(settings, create=False) as client:
        client.set_registered_model_alias(NAME, "champion", "3")
    assert rollback(settings, FLOWS).change.after == "2"


def test_a_promotion_that_was_killed_is_none(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(settings, FLOWS, "2")
    assert champion(settings) == "1"
    assert [(one.after, one.done) for one in versions.history(settings, FLOWS)] == [("1", True), ("2", False)]
    with pytest.raises(ModelError, match="no champion before version 1"):
        rollback(settings, FLOWS)
    assert promote(settings, FLOWS, "2").change.done
    assert rollback(settings, FLOWS).change.after == "1"


def test_a_challenger_that_becomes_champion_by_rollback_is_one_no_more(settings: Settings) -> None:
    promote(settings, FLOWS, "2")
    promote(settings, FLOWS, "1", challenger=True)
    assert rollback(settings, FLOWS).change.after == "1"
    assert (champion(settings), aliases.version_of(settings, FLOWS, "challenger")) == ("1", None)


def test_a_rollback_to_a_version_whose_files_are_gone_says_how_to_pass_it_over(settings: Settings, tmp_path: Path) -> None:
    promote(settings, FLOWS, "2")
    promote(settings, FLOWS, "3", force=True, reason="a drill")
    with tracking.opened(settings, create=False) as client:
        shutil.rmtree(tmp_path / "registry" / "artifacts" / client.get_model_version(NAME, "2").tags["artifact_path"])
    with pytest.raises(ModelError, match="version 2: artefact missing") as e:
        rollback(settings, FLOWS)
    assert "flowlake models retire 2 " in e.value.hint
    retire(settings, FLOWS, "2", reason="its files are gone")
    assert rollback(settings, FLOWS).change.after == "1"


def test_a_change_that_cannot_be_read_is_not_written_over(settings: Settings) -> None:
    promote(settings, FLOWS, "2")
    with tracking.opened(settings, create=False) as client:
        client.set_registered_model_tag(NAME, "promotion.000001", "{torn")
        promote(settings, FLOWS, "1")
        tags = client.get_registered_model(NAME).tags
    assert tags["promotion.000001"] == "{torn"
    assert [one.after for one in versions.history(settings, FLOWS)] == ["2", "1"]


def test_a_retired_version_is_passed_over_and_not_promoted(settings: Settings) -> None:
    promote(settings, FLOWS, "2")
    promote(settings, FLOWS, "3", force=True, reason="a drill")
    with pytest.raises(ModelError, match="version 3 is champion: it is not retired"):
        retire(settings, FLOWS, "champion", reason="bad")
    assert retire(settings, FLOWS, "2", reason="trained on the wrong site").retired == "trained on the wrong site"
    with pytest.raises(GateError, match="version 2 is retired: trained on the wrong site"):
        promote(settings, FLOWS, "2")
    assert rollback(settings, FLOWS).change.after == "1"
    assert retire(settings, FLOWS, "2", reason="", undo=True).retired is None
    assert promote(settings, FLOWS, "2").change.after == "2"
    promote(settings, FLOWS, "4", challenger=True)
    assert retire(settings, FLOWS, "challenger", reason="").aliases == ()


def test_a_version_that_is_retired_while_it_is_promoted_is_not_champion(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    check = gates.check

    def slowly(*given: Any, **more: Any) -> list[gates.Gate]:
        found = check(*given, **more)
        retire(settings, FLOWS, "2", reason="seen to be wrong")
        return found

    monkeypatch.setattr(gates, "check", slowly)
    with pytest.raises(PromotionConflictError, match="version 2 has just been retired"):
        promote(settings, FLOWS, "2")
    assert champion(settings) == "1"


def test_a_version_that_is_promoted_while_it_is_retired_is_not_retired(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    look, late = versions.version, ["2"]

    def looked(*given: Any) -> versions.Version:
        found = look(*given)
        if late:
            promote(settings, FLOWS, late.pop())
        return found

    monkeypatch.setattr(versions, "version", looked)
    with pytest.raises(ModelError, match="version 2 is champion: it is not retired"):
        retire(settings, FLOWS, "2", reason="seen to be wrong")
    assert (champion(settings), look(settings, FLOWS, "2").retired) == ("2", None)


def test_a_model_that_cannot_be_used_is_not_even_forced(settings: Settings, tmp_path: Path) -> None:
    for file in (tmp_path / "registry" / "artifacts").glob("*/artifacts/model/model.skops"):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="not those that were registered"):
        promote(settings, FLOWS, "2", force=True, reason="try")
    for folder in (tmp_path / "registry" / "artifacts").glob("*/artifacts/model"):
        shutil.rmtree(folder)
    with pytest.raises(ModelError, match="artefact missing"):
        promote(settings, FLOWS, "2", force=True, reason="try")
    assert champion(settings) == "1"


def test_a_registry_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="no model registry at"):
        versions.versions(local(tmp_path), FLOWS)
    assert aliases.version_of(local(tmp_path), FLOWS, "champion") is None
    (tmp_path / "mlflow.db").write_text("nothing that a database would say" * 50)
    with pytest.raises(ModelError, match="file is not a database"):
        versions.versions(local(tmp_path), FLOWS)


def test_a_database_that_is_empty_or_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    settings, file = local(tmp_path), tmp_path / "mlflow.db"
    file.write_bytes(b"")
    with pytest.raises(ModelMissingError, match="the database is empty") as missing:
        versions.versions(settings, FLOWS)
    assert "flowlake train" in missing.value.hint
    assert file.stat().st_size == 0
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE invoices (number)")
        connection.commit()
    before = file.read_bytes()
    for create in (False, True):
        with pytest.raises(ModelError, match="a database of something else, with invoices"), tracking.opened(settings, create=create):
            pass
    assert file.read_bytes() == before


def test_a_registry_that_is_locked_or_cannot_be_written_is_told_in_a_line(
    settings: Settings, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "registry" / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON registered_model_tags BEGIN SELECT RAISE(ABORT, 'readonly database'); END")
        connection.commit()
    with pytest.raises(ModelError, match="readonly database") as e:
        promote(settings, FLOWS, "2")
    assert "SQL" not in str(e.value)
    assert "writable" in e.value.hint
    assert "Traceback" not in capfd.readouterr().err
    assert champion(settings) == "1"
    monkeypatch.setattr(tracking, "_WAIT_S", 0.05)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ModelError, match="database is locked") as e:
            versions.versions(settings, FLOWS)
    assert "in a moment" in e.value.hint


def test_held_out_records_that_say_nothing_close_the_gate(settings: Settings, tmp_path: Path) -> None:
    none = gates.HeldOut(labelled().where(np.zeros(3000, bool)), "none")
    with pytest.raises(GateError, match="held-out records: "):
        promote(settings, FLOWS, "2", held_out=none)
    with tracking.opened(settings, create=False) as client:
        file = tmp_path / "registry" / "artifacts" / client.get_model_version(NAME, "2").run_id / "artifacts" / heldout.FILE
    table = pq.read_table(file)
    pq.write_table(table.set_column(0, table.column_names[0], pa.array([float("nan")] * len(table))), file)
    with pytest.raises(ModelError, match="values of 3,000 records are no numbers") as e:
        promote(settings, FLOWS, "2")
    assert "--records" in e.value.hint
    file.unlink()
    file.mkdir()
    with pytest.raises(ModelError, match="is no file"):
        promote(settings, FLOWS, "2")
    assert champion(settings) == "1"


def test_a_threshold_that_is_no_number_is_not_shown(settings: Settings) -> None:
    with tracking.opened(settings, create=False) as client:
        client.set_model_version_tag(NAME, "2", "threshold", "nan")
    assert versions.version(settings, FLOWS, "2").plain()["threshold"] is None


def test_a_registry_has_a_place() -> None:
    with pytest.raises(ValueError, match="empty: name a file"):
        config.build(scoring={"tracking_uri": " "})


def change_at_once(settings: Settings, after: str, outcomes: multiprocessing.Queue[str] | list[str]) -> None:
    """Give champion to ``after`` on the ground that version 1 has it."""
    say = outcomes.append if isinstance(outcomes, list) else outcomes.put
    try:
        with tracking.opened(settings, create=False) as client:
            aliases.change(client, settings, FLOWS, AliasChange("promote", "champion", "1", after))
        say(f"won {after}")
    except PromotionConflictError as e:
        say(str(e))


def in_threads(settings: Settings) -> list[str]:
    outcomes: list[str] = []
    threads = [threading.Thread(target=change_at_once, args=(settings, after, outcomes)) for after in ("2", "3")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return outcomes


def in_processes(settings: Settings) -> list[str]:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[str] = context.Queue()
    processes = [context.Process(target=change_at_once, args=(settings, after, queue)) for after in ("2", "3")]
    for one in processes:
        one.start()
    outcomes = [queue.get(timeout=120) for _ in processes]
    for one in processes:
        one.join()
    return outcomes


@pytest.mark.parametrize(("where", "at_once"), [("file", in_threads), ("file", in_processes), ("server", in_processes)])
def test_of_two_promotions_at_once_one_wins_and_the_other_says_so(request: pytest.FixtureRequest, at_once: object, where: str) -> None:
    settings: Settings = request.getfixturevalue("settings" if where == "file" else "served")
    with tracking.opened(settings, create=False) as client:
        client.set_registered_model_alias(NAME, "champion", "1")
        before = len(aliases.history(client, NAME))
    outcomes = at_once(settings)  # type: ignore[operator]
    now = champion(settings)
    assert sorted(outcomes)[1] == f"won {now}"
    assert f"champion is version {now} by now, it was 1" in sorted(outcomes)[0]
    with tracking.opened(settings, create=False) as client:
        assert len(aliases.history(client, NAME)) == before + 1
        assert not [key for key in client.get_registered_model(NAME).tags if key.startswith("turn.")]


def test_a_turn_that_was_abandoned_is_taken_and_its_owner_hears_of_it(served: Settings) -> None:
    with tracking.opened(served, create=False) as client:
        client.set_registered_model_tag(NAME, "turn.dead", "1")
        client.set_registered_model_tag(NAME, "turn.dead2", "choosing")
        begin = time.monotonic()
        with turns.turn(client, NAME, abandoned_s=0.5) as check:
            assert time.monotonic() - begin >= 0.5
            check()
            (own,) = [key for key in client.get_registered_model(NAME).tags if key.startswith("turn.")]
            client.delete_registered_model_tag(NAME, own)
            with pytest.raises(turns.TurnLostError, match="took too long"):
                check()


def test_the_life_of_a_model_on_a_server(served: Settings, tmp_path: Path) -> None:
    with tracking.opened(served, create=False) as client:
        client.set_registered_model_alias(NAME, "champion", "1")
    assert promote(served, FLOWS, "2").change.after == "2"
    assert registry.load_champion(served, FLOWS).version == "2"
    assert rollback(served, FLOWS).change.after == "1"
    assert versions.artifact(served, FLOWS, "1", "card.html", tmp_path / "card.html").is_file()
    with pytest.raises(tracking.ArtifactMissingError, match=r"no file nothing\.txt"):
        versions.artifact(served, FLOWS, "1", "nothing.txt", tmp_path)


def test_a_server_that_is_away_is_said_so() -> None:
    away = config.build(scoring={"tracking_uri": "http://127.0.0.1:9"})
    with pytest.raises(ModelError, match=r"model registry http://127\.0\.0\.1:9"):
        promote(away, FLOWS, "1")


def test_champions_before_are_a_pile() -> None:
    def made(action: str, before: str | None, after: str | None) -> AliasChange:
        return AliasChange(action, "champion", before, after, who="ann")

    one = [made("promote", None, "1"), made("promote", "1", "2"), made("promote", "2", "1")]
    assert promotion.before(one, "champion", "1") == ["2"]
    assert promotion.before([*one, made("rollback", "1", "2")], "champion", "2") == ["1"]
    assert promotion.before([], "champion", "1") == []
    begun = replace(made("promote", "1", "3"), done=False)
    assert promotion.before([*one, begun], "champion", "1") == ["2"], "killed before it was in force"
    assert promotion.before([*one, begun], "champion", "3") == ["1", "2", "1"], "killed behind that"
    assert promotion.before([*one, begun, made("promote", "1", "4")], "champion", "4") == ["1", "2", "1"]
    assert promotion.before([*one, begun, made("promote", "3", "4")], "champion", "4") == ["1", "2", "1", "3"]
    assert promotion.before([AliasChange("promote", "challenger", None, "5", who="ann")], "champion", "1") == []
