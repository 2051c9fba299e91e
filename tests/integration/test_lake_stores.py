"""A table of the lake in every kind of place: written, compacted, cleaned and read the same in a folder, on SeaweedFS and on MinIO.

MinIO's program is that of ``FLOWLAKE_MINIO``, or on PATH; without it its tests are skipped.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from pydantic import SecretStr

from infra.config import Settings
from infra.errors import ConfigError, StoreError
from infra.process import free_port
from infra.sections import LakeSettings
from infra.stack.s3 import ObjectStore
from jobs.runtime import bucketrules, s3
from jobs.runtime import lake as tables
from jobs.sinks import labels, parquet
from jobs.sinks.upkeep import Upkeep
from ops.cli.main import main
from schemas.packets import FLOWS
from tests.objectstores import DOMAIN, MINIO, Minio, Proxy, Request, SecureSeaweed, between, certificates
from tests.sinksdata import flow_id, table

pytestmark = pytest.mark.integration
Factory = Callable[..., Settings]
KINDS = ("seaweedfs", "minio")


def needs(kind: str) -> None:
    if kind == "minio" and not MINIO:
        pytest.skip("no program minio on PATH nor in FLOWLAKE_MINIO")


@contextmanager
def started(kind: str, folder: Path, secure: Path | None = None) -> Iterator[ObjectStore]:
    """A server that knows virtual hosts, behind a certificate where its folder is given."""
    needs(kind)
    store: ObjectStore = (Minio if kind == "minio" else SecureSeaweed)(folder, free_port(), certificates=secure)
    try:
        store.start()
        yield store
    finally:
        store.stop(timeout_s=1)


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with started(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


def bucket(store: ObjectStore) -> str:
    name = f"b{uuid.uuid4().hex[:12]}"
    client = s3.client(LakeSettings(**{**store.lake(name), "s3_ca": getattr(store, "authority", "")}))
    client.create_bucket(Bucket=name)
    return name


class Owned:
    """A table, as its owner has it."""

    def __init__(self, settings: LakeSettings) -> None:
        self.settings = settings
        self.root = s3.uri(settings.path)
        self.log = parquet.Log(self.root, settings)
        self.upkeep = Upkeep(FLOWS, self.root, settings, self.log)
        options = s3.storage_options(settings)
        counted = {"delta.dataSkippingStatsColumns": ",".join(parquet.statistics_of(FLOWS))}
        DeltaTable.create(
            self.root, parquet.lake_schema(FLOWS), partition_by=[parquet.PARTITION], storage_options=options, configuration=counted
        )

    def add(self, batch: int, rows: int = 2) -> None:
        made = parquet.lake_rows(table([{"name": f"{batch}/{n}", "at": batch} for n in range(rows)]), FLOWS)
        files = [f for told in parquet.write([made], self.root, self.settings, parquet.statistics_of(FLOWS)) for f in told.to_pylist()]
        self.log.commit([(f["path"], f["size"], f["date"], f["stats"]) for f in files], "test", batch)

    def ids(self) -> list[str]:
        return sorted(tables.dataset(self.settings.path, self.settings).to_table(columns=["flow_id"])["flow_id"].to_pylist())


def expected(batches: int) -> list[str]:
    return sorted(flow_id(f"{batch}/{n}") for batch in range(1, batches + 1) for n in range(2))


def lives(settings: LakeSettings) -> None:
    """A table's life: batches, a batch twice, compaction, checkpoint, removal; read by both readers."""
    owned = Owned(settings)
    for batch in (1, 2, 3, 3):
        if batch == 3 and owned.log.table().transaction_version("test") == 3:
            owned.log.commit([("event_date=2026-03-01/never.parquet", 1, table([{}])["start_time"][0].as_py().date(), "{}")], "test", 3)
        else:
            owned.add(batch)
    assert owned.ids() == expected(3)
    assert owned.upkeep.compact(60).made == 1
    owned.log.checkpoint()
    assert tables.last_checkpoint(settings.path, settings) == 4
    owned.upkeep.clean(full=True)
    assert owned.ids() == expected(3)
    seen = DeltaTable(owned.root, storage_options=s3.storage_options(settings))
    assert len(seen.file_uris()) == 1
    assert len(tables.dataset(settings.path, settings, version=2).files) == 2


def test_a_tables_life_in_a_folder(tmp_path: Path) -> None:
    lives(LakeSettings(path=str(tmp_path / "flows")))


def test_a_tables_life_on_s3(store: ObjectStore) -> None:
    lives(LakeSettings(**store.lake(bucket(store))))


def test_labels_on_s3(store: ObjectStore, settings: Factory, tmp_path: Path) -> None:
    made = settings(lake=store.lake(bucket(store)))
    file = tmp_path / "truth.csv"
    file.write_text("flow_id,label\na,SYN_SCAN\nb,0\n")
    for added in (2, 0):
        assert labels.import_file(made, file, FLOWS, {"source": "x"}).added == added
    assert {r["record_key"]: r["attack_type"] for r in labels.latest(made, FLOWS).to_pylist()} == {"a": "SYN_SCAN", "b": "BENIGN"}


@pytest.mark.parametrize("kind", KINDS)
def test_behind_a_certificate_of_a_private_authority(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    authority = certificates(tmp_path / "tls")
    with started(kind, tmp_path / "server", tmp_path / "tls") as server:
        trusted = LakeSettings(**server.lake("secured"), s3_ca=str(authority))
        unknown = trusted.model_copy(update={"s3_ca": ""})
        with pytest.raises(Exception, match=r"(?i)certificate"):
            s3.client(unknown).list_buckets()
        s3.client(trusted).create_bucket(Bucket="secured")
        lives(trusted)


def test_an_authority_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----")
    for name, told in (("key.pem", "holds no certificate"), ("nosuch.pem", "cannot be read")):
        wrong = LakeSettings(path="s3a://b/flows", s3_endpoint="https://127.0.0.1:1", s3_ca=str(tmp_path / name))
        for use in (s3.client, s3.storage_options, s3.truststore):
            with pytest.raises(StoreError, match=told):
                use(wrong)


def test_with_virtual_hosts(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is told every URL whole, and so which host each client asks."""
    name = bucket(store)
    with between(store.endpoint) as proxy, monkeypatch.context() as patch:
        for variable in ("http_proxy", "HTTP_PROXY"):
            patch.setenv(variable, proxy.url)
        patch.setenv("no_proxy", "")
        virtual = LakeSettings(**{**store.lake(name), "s3_endpoint": f"http://{DOMAIN}"}, s3_addressing="virtual")
        made = parquet.lake_rows(table([{"name": "a"}]), FLOWS)
        files = list(parquet.write([made], s3.uri(virtual.path), virtual, ()))
        DeltaTable.create(
            s3.uri(virtual.path), parquet.lake_schema(FLOWS), partition_by=[parquet.PARTITION], storage_options=s3.storage_options(virtual)
        )
        log = parquet.Log(s3.uri(virtual.path), virtual)
        log.commit([(f["path"], f["size"], f["date"], f["stats"]) for b in files for f in b.to_pylist()], "test", 1)
        assert {request.host for request, _ in proxy.seen} == {f"{name}.{DOMAIN}"}
    assert tables.dataset(f"s3a://{name}/flows", LakeSettings(**store.lake(name))).to_table(columns=["flow_id"]).num_rows == 1


def faulty(proxy: Proxy, fate: Callable[[Request], Any]) -> None:
    proxy.counts.clear()
    proxy.fate = fate


def test_requests_that_fail_lose_nothing_and_double_nothing(store: ObjectStore) -> None:
    """Each kind of failure at each PUT of a batch: whoever repeats the batch ends with each record once."""
    name = bucket(store)
    plain = LakeSettings(**store.lake(name))
    with between(store.endpoint) as proxy:
        owned = Owned(plain.model_copy(update={"s3_endpoint": proxy.url}))
        batch = 0
        for kind in (500, 503, "reset", "unheard", "slow"):
            for n in (1, 2):
                faulty(proxy, lambda r, kind=kind, n=n: kind if r.method == "PUT" and r.count == n else None)
                batch += 1
                for _ in range(4):
                    try:
                        owned.add(batch)
                        break
                    except Exception:
                        owned.log.forget()
                assert (kind, n) != (500, 1) or [fate for _, fate in proxy.seen if fate == 500], "the failure was met"
        faulty(proxy, lambda r: 503 if r.method == "PUT" and r.count == 2 else None)
        for _ in range(3):
            try:
                owned.upkeep.compact(60)
            except Exception:
                owned.log.forget()
        assert owned.ids() == expected(batch)
        faulty(proxy, lambda r: None)
    direct = tables.dataset(plain.path, plain)
    assert sorted(direct.to_table(columns=["flow_id"])["flow_id"].to_pylist()) == expected(batch)
    assert len(direct.files) == 1


def lake_command(conf: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["lake", "lifecycle", *words, "--conf-file", str(conf)])
    return int(end.value.code or 0)


def archived(store: ObjectStore, settings: Factory, name: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    import yaml

    monkeypatch.setenv("FLOWLAKE_LAKE__S3_ACCESS_KEY", store.access_key)
    monkeypatch.setenv("FLOWLAKE_LAKE__S3_SECRET_KEY", store.secret_key.get_secret_value())
    conf = folder / "conf.yaml"
    conf.write_text(
        yaml.safe_dump(
            {"lake": {"path": f"s3a://{name}/lake/flows", "s3_endpoint": store.endpoint}, "archive": {"path": f"s3a://{name}/lake/archive"}}
        )
    )
    return conf


FOREIGN = {"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}


def test_rules_of_the_bucket(
    store: ObjectStore, settings: Factory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = bucket(store)
    conf = archived(store, settings, name, monkeypatch, tmp_path)
    client = s3.client(LakeSettings(**store.lake(name)))
    client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [FOREIGN]})

    assert lake_command(conf, "apply", "--dry-run") == 0
    planned = json.loads(capsys.readouterr().out)["Rules"]
    assert [rule["ID"] for rule in planned] == ["mine", "flowlake-archive-glacier", "flowlake-archive-expiry"]
    assert {rule["Filter"]["Prefix"] for rule in planned[1:]} == {"lake/archive/"}
    assert planned[1]["Transitions"] == [{"Days": 365, "StorageClass": "GLACIER"}]
    assert planned[2]["Expiration"] == {"Days": 2555}

    code = lake_command(conf, "apply")
    said = capsys.readouterr().out
    # Neither server knows a storage class GLACIER: what can be kept is kept, and what was refused is said with the server's reason.
    assert code == 5
    assert "refused  flowlake-archive-glacier" in said
    assert "applied  flowlake-archive-expiry" in said
    rules = {rule["ID"]: rule for rule in client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]}
    assert set(rules) == {"mine", "flowlake-archive-expiry"}
    assert rules["mine"]["Expiration"]["Days"] == 3
    assert lake_command(conf, "apply", "--expire-days", "3000") == 5
    again = {rule["ID"]: rule for rule in client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]}
    assert again["flowlake-archive-expiry"]["Expiration"]["Days"] == 3000
    assert again["mine"] == rules["mine"]
    capsys.readouterr()
    assert lake_command(conf, "show") == 0
    shown = capsys.readouterr().out
    assert "not ours mine" in shown
    assert "ours     flowlake-archive-expiry" in shown


@pytest.mark.parametrize(
    ("archive", "change", "told"),
    [
        ("var/archive", {}, "is in no bucket"),
        ("s3a://b", {}, "is a whole bucket"),
        ("s3a://b/lake", {"path": "s3a://b/lake/flows"}, r"lake\.path .* lies below archive.path"),
        ("s3a://b/x", {"tables": {"labels": "s3a://b/x/labels"}}, r"lake\.tables: labels .* lies below archive.path"),
    ],
)
def test_what_must_not_expire(settings: Factory, archive: str, change: dict[str, Any], told: str) -> None:
    made = settings(lake={"path": "s3a://b/other/flows", **change}, archive={"path": archive})
    with pytest.raises(ConfigError, match=told):
        bucketrules.place(made)
    assert bucketrules.place(settings(lake={"path": "s3a://b/lake/flows"}, archive={"path": "s3a://b/lake/archive"})) == (
        "b",
        "lake/archive/",
    )
    with pytest.raises(ConfigError, match="no more than"):
        bucketrules.wanted("x/", 100, 100)


def test_a_store_that_is_away_is_one_line(settings: Factory) -> None:
    keys = {"s3_access_key": SecretStr("a"), "s3_secret_key": SecretStr("b")}
    away = settings(lake={"path": "s3a://b/flows", "s3_endpoint": "http://127.0.0.1:1", **keys}, archive={"path": "s3a://b/archive"})
    with pytest.raises(StoreError, match="does not answer") as told:
        bucketrules.current(away)
    assert "\n" not in str(told.value)
