"""What is protected on a machine: read from files as the kernel and resolvers write them, and from the settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from infra.config import Settings
from jobs.response import machine
from jobs.response.addresses import target

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\tFE7100CB\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t007100CB\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
"""
ROUTES6 = """00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db80000000000000000000000fe 00000400 00000001 00000000 00450003     eth0
20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
"""  # noqa: E501


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    files = {
        "proc/net/route": ROUTES,
        "proc/net/ipv6_route": ROUTES6,
        "etc/resolv.conf": "# by hand\nsearch lan\nnameserver 198.51.100.53\nnameserver fe80::53%eth0\nnameserver\nnameserver nonsense\n",
        "run/systemd/resolve/resolv.conf": "nameserver 2001:db8::53\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", "loopback"),
        ("127.9.9.9", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("255.255.255.255", "broadcast"),
        ("224.0.0.251", "multicast"),
        ("ff02::1", "multicast"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("203.0.113.254", "a gateway of this machine (eth0)"),
        ("::ffff:203.0.113.254", "a gateway of this machine (eth0)"),
        ("2001:db8::fe", "a gateway of this machine (eth0)"),
        ("198.51.100.53", "a DNS server"),
        ("2001:db8::53", "a DNS server"),
        ("203.0.113.0/24", "it covers 203.0.113.254/32: a gateway"),
        ("0.0.0.0/0", "it covers"),
        ("::/0", "it covers"),
        ("192.0.2.77", "response.protected"),
        ("192.0.2.0/24", "it covers 192.0.2.64/26: response.protected"),
        ("192.0.2.99", "response.protected"),
    ],
)
def test_protected(root: Path, settings: Callable[..., Settings], address: str, words: str) -> None:
    around = machine.surroundings(settings(response={"protected": ["192.0.2.64/26"]}), root)
    assert words in around.why_not(target(address))


@pytest.mark.parametrize("address", ["203.0.113.7", "203.0.113.253", "2001:db8::7", "192.0.2.7", "10.9.9.9"])
def test_others_are_not(root: Path, settings: Callable[..., Settings], address: str) -> None:
    around = machine.surroundings(settings(response={"protected": ["192.0.2.64/26"]}), root)
    assert around.why_not(target(address)) == ""


def test_every_address_of_this_machine(settings: Callable[..., Settings]) -> None:
    around = machine.surroundings(settings())
    own = [one.address.partition("%")[0] for of in psutil.net_if_addrs().values() for one in of if one.family in (2, 10)]
    assert own
    assert all(around.why_not(target(address)) for address in own)


def test_our_servers_by_name_and_address(root: Path, settings: Callable[..., Settings]) -> None:
    made = settings(
        kafka={"bootstrap_servers": "198.51.100.1:9092,[2001:db8::92]:9092,no-such-host.invalid:9092"},
        hot={"host": "198.51.100.2"},
        alerts={"host": "/run/postgresql"},
        lake={"s3_endpoint": "https://198.51.100.4:8333"},
        response={"webhook_url": "https://198.51.100.5/block"},
    )
    around = machine.surroundings(made, root)
    told = {
        address: around.why_not(target(address))
        for address in ("198.51.100.1", "2001:db8::92", "198.51.100.2", "198.51.100.4", "198.51.100.5")
    }
    assert [why.partition(" (")[2] for why in told.values()] == [
        "kafka.bootstrap_servers)", "kafka.bootstrap_servers)", "hot.host)", "lake.s3_endpoint)", "response.webhook_url)"
    ]  # fmt: skip
    assert around.unresolved == ("no-such-host.invalid",)


def test_whoever_is_logged_in_does_not_lock_himself_out(
    root: Path, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "198.51.100.99 50000 203.0.113.1 22")
    assert "logged in here" in machine.surroundings(settings(), root).why_not(target("198.51.100.99"))


def test_a_machine_without_these_files(tmp_path: Path) -> None:
    assert [*machine.gateways(tmp_path), *machine.dns(tmp_path)] == []
