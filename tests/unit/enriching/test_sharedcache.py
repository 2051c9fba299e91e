"""Names that processes share through a real Redis."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.enriching.addresses import packed
from jobs.enriching.hostnames import HostNames
from jobs.enriching.resolving import DnsResolver
from jobs.enriching.settings import CacheSettings, DnsSettings
from jobs.enriching.sharedcache import LEFT_ALONE, NotShared, RedisNames, SharedName, shared_names
from tests.unit.enriching.dnsserver import DnsServer, dns_server
from tests.unit.enriching.endpoints import Clock, until

PASSWORD = "of the tests"


@dataclass
class RedisServer:
    program: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        given = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder), "--requirepass", PASSWORD)
        self.process = subprocess.Popen([self.program, *given], stdout=subprocess.DEVNULL)
        assert until(self._answers)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def settings(self, password: str = PASSWORD) -> CacheSettings:
        return CacheSettings(backend="redis", redis_url=f"redis://127.0.0.1:{self.port}/0", redis_password=SecretStr(password))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if not program:
        pytest.skip("no redis-server on PATH: apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = RedisServer(program, tmp_path, port)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with dns_server({"10.0.0.1": "web.example.org."}) as server:
        yield server


def test_a_name_that_one_process_found_is_known_to_others(redis: RedisServer, dns: DnsServer) -> None:
    wanted = [packed("10.0.0.1"), packed("10.0.0.2")]
    settings = DnsSettings(resolver=dns.address, wait_ms=20_000)
    first, second = (HostNames(settings, DnsResolver(settings), shared_names(redis.settings()), 100) for _ in range(2))
    assert first.find(wanted) == ["web.example.org", None]
    assert second.find(wanted) == ["web.example.org", None]
    assert second.counts.shared == 2
    assert sorted(dns.asked) == ["10.0.0.1", "10.0.0.2"]


def test_names_are_forgotten_with_their_time(redis: RedisServer) -> None:
    names = RedisNames(redis.settings())
    names.put("10.0.0.1", SharedName("web.example.org", 3600.0))
    names.put("10.0.0.2", SharedName("", 0.001))
    found = names.get("10.0.0.1")
    assert found
    assert found.text == "web.example.org"
    assert 3500 < found.seconds <= 3600
    assert until(lambda: names.get("10.0.0.2") is None)


def test_a_server_that_is_away_is_left_alone_and_used_again(
    redis: RedisServer, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    names = RedisNames(redis.settings(), clock)
    names.put("10.0.0.1", SharedName("web.example.org", 3600.0))
    redis.stop()
    assert names.get("10.0.0.1") is None
    clock.now += LEFT_ALONE + 1
    assert names.get("10.0.0.1") is None
    redis.start()
    names.put("10.0.0.1", SharedName("new.example.org", 3600.0))  # within the time that it is left alone
    assert names.get("10.0.0.1") is None
    clock.now += LEFT_ALONE + 1
    names.put("10.0.0.1", SharedName("new.example.org", 3600.0))
    found = names.get("10.0.0.1")
    assert found
    assert found.text == "new.example.org"
    said = capsys.readouterr()
    told = said.out + said.err + caplog.text
    assert told.count("names are not shared") == 1
    assert told.count("names are shared again") == 1
    assert PASSWORD not in told


def test_a_wrong_password_stops_nobody(redis: RedisServer) -> None:
    names = RedisNames(redis.settings("wrong"))
    names.put("10.0.0.1", SharedName("web.example.org", 3600.0))
    assert names.get("10.0.0.1") is None


def test_without_redis_each_process_is_for_itself() -> None:
    alone = shared_names(CacheSettings())
    assert isinstance(alone, NotShared)
    alone.put("10.0.0.1", SharedName("web.example.org", 3600.0))
    assert alone.get("10.0.0.1") is None
