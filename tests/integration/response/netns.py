"""Hosts of one machine: network namespaces joined by veth pairs. A client attacks a guard, and through it a host behind it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GUARD4, ATTACKER4 = "203.0.113.1", "203.0.113.7"
GUARD6, ATTACKER6 = "2001:db8::1", "2001:db8::7"
#: Behind the guard, which routes.
_INNER_GATEWAY, INNER4 = "192.0.2.1", "192.0.2.9"
_PORT = 9000
_ECHO = f"""
    import socket, threading
    listening = socket.create_server(("::", {_PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
    def serve(one):
        while data := one.recv(100):
            one.sendall(data)
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""
#: Reads lines: "open ADDRESS" makes a connection and keeps it, "ask" sends over it; answers "yes" or "no".
_CLIENT = f"""
    import socket, sys
    one = None
    for line in sys.stdin:
        words = line.split()
        try:
            if words[0] == "open":
                one = socket.create_connection((words[1], {_PORT}), timeout=float(words[2]))
            one.settimeout(float(words[-1]))
            one.sendall(b"x")
            print("yes" if one.recv(100) else "no", flush=True)
        except OSError:
            print("no", flush=True)
"""


class Hosts:
    """The guard, whose ``nft`` is :attr:`nft`, the attacker, and a host behind the guard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        self._clients: dict[str, subprocess.Popen[str]] = {}

    def start(self) -> None:
        """Make both, or skip: it needs the right to make network namespaces, and the programs nft and ip."""
        for program, package in (("nft", "nftables"), ("ip", "iproute2"), ("unshare", "util-linux"), ("nsenter", "util-linux")):
            if shutil.which(program) is None:
                pytest.skip(f"the program {program} is not there: apt install {package}")
        self.guard = self._namespace("unshare", "--user", "--map-root-user", "--net")
        # In the same user namespace: an end of the pair is to be given to it.
        self.attacker = self._namespace(*self._enter(self.guard), "unshare", "--net")
        for words in (
            ("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", str(self.attacker)),
            *self._addresses("v0", GUARD4, GUARD6),
        ):
            self.inside(self.guard, *words)
        for words in self._addresses("v1", ATTACKER4, ATTACKER6):
            self.inside(self.attacker, *words)
        # What a user would write with sudo.
        self.nft = self._folder / "nft"
        self.nft.write_text(f'#!/bin/sh\nexec {" ".join(self._enter(self.guard))} {shutil.which("nft")} "$@"\n')
        self.nft.chmod(0o755)
        self._behind()
        for host in (self.guard, self.inner):
            server = self._python(host, _ECHO)
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"

    def _behind(self) -> None:
        self.inner = self._namespace(*self._enter(self.guard), "unshare", "--net")
        self.inside(self.guard, "ip", "link", "add", "v2", "type", "veth", "peer", "name", "v3", "netns", str(self.inner))
        self.inside(self.guard, "ip", "address", "add", f"{_INNER_GATEWAY}/24", "dev", "v2")
        self.inside(self.guard, "ip", "link", "set", "v2", "up")
        self.inside(self.guard, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self.inside(self.inner, "ip", "address", "add", f"{INNER4}/24", "dev", "v3")
        self.inside(self.inner, "ip", "link", "set", "v3", "up")
        self.inside(self.inner, "ip", "route", "add", "default", "via", _INNER_GATEWAY)
        self.inside(self.attacker, "ip", "route", "add", "default", "via", GUARD4)

    def stop(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _namespace(self, *words: str) -> int:
        holder = self._popen([*words, "sh", "-c", "echo made; exec sleep 600"])
        if holder.stdout is None or holder.stdout.readline() != "made\n":
            pytest.skip("no network namespace can be made here: run the tests as root, or allow user namespaces (unshare -rn)")
        return holder.pid

    def _popen(self, words: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        self._processes.append(process)
        return process

    def _enter(self, pid: int) -> list[str]:
        return ["nsenter", "--preserve-credentials", "--user", "--net", "--target", str(pid)]

    def _python(self, pid: int, text: str) -> subprocess.Popen[str]:
        return self._popen([*self._enter(pid), sys.executable, "-c", textwrap.dedent(text)])

    @staticmethod
    def _addresses(device: str, v4: str, v6: str) -> list[tuple[str, ...]]:
        return [
            ("ip", "address", "add", f"{v4}/24", "dev", device),
            ("ip", "address", "add", f"{v6}/64", "dev", device, "nodad"),
            ("ip", "link", "set", device, "up"),
        ]

    def inside(self, pid: int, *words: str) -> str:
        """What a program prints in a namespace."""
        done = subprocess.run([*self._enter(pid), *words], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ruleset(self) -> str:
        return self.inside(self.guard, "nft", "list", "ruleset")

    def opens(self, address: str, patience_s: float = 5.0) -> bool:
        """Whether the attacker gets a connection to an address of the guard; it is kept for :meth:`answers`."""
        if address not in self._clients:
            self._clients[address] = self._python(self.attacker, _CLIENT)
        return self._ask(address, f"open {address} {patience_s}")

    def answers(self, address: str, patience_s: float = 5.0) -> bool:
        """Whether something comes back over the connection that was opened before."""
        return self._ask(address, f"ask {patience_s}")

    def _ask(self, address: str, line: str) -> bool:
        client = self._clients[address]
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(f"{line}\n")
        client.stdin.flush()
        return client.stdout.readline() == "yes\n"

    def comes_back(self, address: str) -> bool:
        """Whether a connection can be made within a generous time."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.opens(address, 0.5):
                return True
        return False


@contextmanager
def hosts_of(folder: Path) -> Iterator[Hosts]:
    made = Hosts(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
