"""Model files that hold code: refused, and the code has not run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from infra.errors import ModelError
from jobs.scoring import artefact, loading
from jobs.scoring.registry import load_champion
from schemas.packets import FLOWS
from tests.integration.test_registry import at, put


class _Trap:
    """Unpickled, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.file),)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    put(at(folder))
    return folder


def describe(model: Path, **changes: object) -> None:
    """Change what ``MLmodel`` says of the classifier's file."""
    file = model / "MLmodel"
    said = yaml.safe_load(file.read_text())
    said["flavors"]["sklearn"] |= changes
    file.write_text(yaml.safe_dump(said))


def as_pickle(model: Path, sprung: Path) -> None:
    (model / "model.skops").write_bytes(pickle.dumps(_Trap(sprung)))


def said_to_be_pickle(model: Path, sprung: Path) -> None:
    as_pickle(model, sprung)
    describe(model, serialization_format="pickle")


def said_to_be_cloudpickle(model: Path, sprung: Path) -> None:
    as_pickle(model, sprung)
    describe(model, serialization_format="cloudpickle")


def pyfunc_alone(model: Path, sprung: Path) -> None:
    as_pickle(model, sprung)
    file = model / "MLmodel"
    said = yaml.safe_load(file.read_text())
    said["flavors"] = {"python_function": {"loader_module": "mlflow.pyfunc.model", "python_model": "model.skops"}}
    file.write_text(yaml.safe_dump(said))


def code_beside(model: Path, sprung: Path) -> None:
    (model / "code").mkdir()
    (model / "code" / "sklearn.py").write_text(f"import os; os.mkdir({str(sprung)!r})")
    describe(model, code="code")


def a_file_elsewhere(model: Path, sprung: Path) -> None:
    shutil.move(model / "model.skops", model.parent / "model.skops")
    describe(model, pickled_model="../model.skops")


def a_yaml_object(model: Path, sprung: Path) -> None:
    (model / "MLmodel").write_text(f"flavors: !!python/object/apply:os.mkdir [{str(sprung)!r}]\n")


def function_in_skops(model: Path, sprung: Path) -> None:
    """A type that the description claims to trust."""
    rewrite(model, lambda schema: {**schema, "__class__": "mkdir", "__module__": "os", "__loader__": "ObjectNode"})
    describe(model, skops_trusted_types=["os.mkdir", "sklearn.tree._tree.Tree"])


def rewrite(model: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    file = model / "model.skops"
    with zipfile.ZipFile(file) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    parts["schema.json"] = json.dumps(change(json.loads(parts["schema.json"]))).encode()
    with zipfile.ZipFile(file, "w") as new:
        for name, content in parts.items():
            new.writestr(name, content)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (as_pickle, "no skops file"),
        (said_to_be_pickle, "format 'pickle' runs code"),
        (said_to_be_cloudpickle, "format 'cloudpickle' runs code"),
        (pyfunc_alone, r"flavor sklearn is missing \(there is python_function\)"),
        (code_beside, "code of its own"),
        (a_file_elsewhere, "no file beside it"),
        (a_yaml_object, "MLmodel: could not determine a constructor"),
        (function_in_skops, "types that are not trusted, and could run code: os.mkdir"),
    ],
)
def test_a_file_that_holds_code_is_refused_and_runs_none(
    registered: Path, tmp_path: Path, spoil: Callable[[Path, Path], None], said: str
) -> None:
    folder, sprung = Path(shutil.copytree(registered, tmp_path / "copy")), tmp_path / "sprung"
    model = next((folder / "artifacts").glob("*/artifacts/model"))
    spoil(model, sprung)
    settings = at(folder)
    with pytest.raises(ModelError, match="not those that were registered"):
        load_champion(settings, FLOWS)
    # whoever can write the files may be able to write the registry as well
    MlflowClient(settings.scoring.tracking_uri).set_model_version_tag("flowlake-flows", "1", "sha256", artefact.digest(model))
    with pytest.raises(ModelError, match=f"corrupt artefact.*{said}"):
        load_champion(settings, FLOWS)
    assert not sprung.exists()


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").is_dir()


def test_arrays_that_are_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "parts.npz", **{"calibration.raw": np.array([_Trap(tmp_path / "sprung")], dtype=object)})
    with pytest.raises(loading.UnreadableError, match="allow_pickle=False"):
        artefact.load_parts(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_a_model_tells_its_columns_and_what_it_writes(registered: Path) -> None:
    model = next((registered / "artifacts").glob("*/artifacts/model"))
    signature = loading.describe(model)["signature"]
    assert [one["name"] for one in json.loads(signature["inputs"])] == list(load_champion(at(registered), FLOWS).columns)
    assert [one["name"] for one in json.loads(signature["outputs"])] == ["confidence_score", "predicted_label", "attack_type"]
