"""nftables: blocked addresses as elements of two sets of a table of our own, ``inet flowlake``; no other table is touched.

Each element has a timeout of the kernel's, so that a block ends whether anybody runs or not. Packets from and to a blocked address are
dropped on their way in, out and through, those of connections that were there before, too.

The program ``nft`` is spoken to in JSON (libnftables-json(5)), without a shell. What is to be changed is worked out from what the kernel
holds now, and applied in one transaction: all of it or nothing (of thousands of addresses at once: in several).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from infra.errors import ResponseError, one_line
from jobs.response import addresses
from jobs.response.addresses import Network
from jobs.response.responder import NFTABLES, BlockOrder, Drift

FAMILY, TABLE = "inet", "flowlake"
SETS: dict[int, str] = {4: "blocked4", 6: "blocked6"}
_TYPES = {4: ("ipv4_addr", "ip"), 6: ("ipv6_addr", "ip6")}
#: Chain (and hook) -> the ends of a packet that are looked at. Before the filters of others: what they accept is dropped all the same.
_CHAINS: dict[str, tuple[str, ...]] = {"input": ("saddr",), "output": ("daddr",), "forward": ("saddr", "daddr")}
_PRIORITY = -10
_FLAGS = {"timeout", "interval"}
#: Seconds that nft may take.
_PATIENCE_S = 20
#: Seconds by which the kernel's time may differ: it is told and tells whole ones.
_TOLERANCE_S = 2.0
#: Elements of one transaction: more do not fit into the socket's buffer where nft may not make it larger (a container). Even.
_AT_ONCE = 1000
#: If more elements go, all go, and those that stay are put in again: nft compares each with all, 6 s for 1000 of 10,000.
_MANY_GO = 300
#: An element may expire between looking and changing; then all of it is done again.
_TRIES = 4
_INSTALL = "install nftables (apt install nftables), or set response.nft to the program"
_RIGHTS = "run it as root or with CAP_NET_ADMIN, or set response.nft to a program that calls nft with these rights (sudo -n nft)"


@dataclass(frozen=True)
class _KernelState:
    """What the kernel holds: chains and sets that are as they should be, and elements with the seconds they have left."""

    structure: tuple[str, ...]  # what is not as it should be
    elements: Mapping[Network, float]


class _Changed(Exception):
    """The kernel's state was another than the one that was read."""


class Nftables:
    """Blocks by the kernel of this machine."""

    name = NFTABLES
    whole = True

    def __init__(self, program: str = "nft") -> None:
        self._program = program

    def carry_out(self, order: BlockOrder, holding: Mapping[Network, float]) -> None:
        """Bring the sets into the state ``holding``; the order is part of it."""
        self.mend(holding)

    def mend(self, holding: Mapping[Network, float], *, only_look: bool = False) -> Drift:
        """Compare the kernel's sets with ``holding``, and change what differs, in one transaction."""
        wanted = addresses.disjoint(holding)
        for attempt in range(_TRIES):
            held = self._held()
            found = _differences(held, wanted)
            if only_look or not found:
                return found
            try:
                for commands in _transactions(held, wanted, found):
                    self._change(commands)
            except _Changed as e:
                if attempt + 1 == _TRIES:
                    raise ResponseError(f"nft: table {FAMILY} {TABLE} is changed by somebody else again and again: {e}") from e
                continue
            return found
        raise AssertionError("unreachable")

    def _held(self) -> _KernelState:
        done = self._run("--json", "list", "table", FAMILY, TABLE)
        if done.returncode:
            if "No such file or directory" in done.stderr:
                return _KernelState(("table",), {})
            raise self._failed(done)
        try:
            return _read(json.loads(done.stdout)["nftables"])
        except (ValueError, KeyError, TypeError) as e:
            raise ResponseError(f"nft: what it says of table inet flowlake is not understood: {one_line(e)}", _OTHER) from e

    def _change(self, commands: list[dict[str, Any]]) -> None:
        done = self._run("--json", "--file", "-", given=json.dumps({"nftables": commands}))
        if done.returncode:
            if any(words in done.stderr for words in ("does not exist", "No such file", "File exists", "conflicting intervals")):
                raise _Changed(one_line(done.stderr))
            raise self._failed(done)

    def _run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        # LC_ALL: what it says of a failure is read, here and by people, in one language.
        try:
            return subprocess.run(
                [_found(self._program), *arguments],
                input=given, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False,
                env={**os.environ, "LC_ALL": "C"},
            )  # fmt: skip
        except FileNotFoundError as e:
            raise ResponseError(f"there is no program {self._program!r}: nothing was blocked or unblocked", _INSTALL) from e
        except PermissionError as e:
            raise ResponseError(f"program {self._program!r} cannot be run: {e.strerror}", _INSTALL) from e
        except subprocess.TimeoutExpired as e:
            raise ResponseError(f"{self._program} did not end within {_PATIENCE_S} s", "look at what nft list ruleset does") from e
        except OSError as e:
            raise ResponseError(f"program {self._program!r} cannot be run: {e.strerror}", _INSTALL) from e

    def _failed(self, done: subprocess.CompletedProcess[str]) -> ResponseError:
        said = one_line(done.stderr or done.stdout or f"exit code {done.returncode}")
        rights = "not permitted" in said or "must be root" in said or "ermission denied" in said or "password is required" in said
        return ResponseError(f"{self._program}: {said}", _RIGHTS if rights else _OTHER)


_OTHER = (
    f"nft list table {FAMILY} {TABLE} shows it; nft delete table {FAMILY} {TABLE} lifts every block, and flowlake blocks sync makes anew"
)


def _found(program: str) -> str:
    """Where a program is; of users that are not root, the search path often leaves out where nft lies."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or program


def _differences(held: _KernelState, wanted: Mapping[Network, float]) -> Drift:
    there = held.elements
    return Drift(
        missing=tuple(network for network in wanted if network not in there),
        extra=tuple(network for network in there if network not in wanted),
        other_time=tuple(n for n in wanted if n in there and abs(there[n] - wanted[n]) > _TOLERANCE_S),
        structure=held.structure,
    )


def _transactions(held: _KernelState, wanted: Mapping[Network, float], found: Drift) -> Iterator[list[dict[str, Any]]]:
    """The change as few transactions, mostly one: what goes, what gets another time, what comes, in the order that the kernel takes.

    A time that is to change: gone and put in again at once; kernels before 6.12 would keep the former one.
    """
    first: list[dict[str, Any]] = []
    if held.structure:
        first = list(_structure(anew="table" not in held.structure))
    elif len(found.extra) + len(found.other_time) > _MANY_GO:
        first = [{"flush": {"set": {"family": FAMILY, "table": TABLE, "name": name}}} for name in SETS.values()]
    if first:
        found = Drift(missing=tuple(wanted))
    steps = [("delete", network) for network in found.extra]
    steps += [(verb, network) for network in found.other_time for verb in ("delete", "add")]
    steps += [("add", network) for network in found.missing]
    for start in range(0, max(1, len(steps)), _AT_ONCE):
        yield first + list(_commands(steps[start : start + _AT_ONCE], wanted))
        first = []


def _commands(steps: Sequence[tuple[str, Network]], wanted: Mapping[Network, float]) -> Iterator[dict[str, Any]]:
    for version, name in SETS.items():
        gone = [_value(network) for verb, network in steps if verb == "delete" and network.version == version]
        come = [
            {"elem": {"val": _value(network), "timeout": max(1, math.ceil(wanted[network]))}}
            for verb, network in steps
            if verb == "add" and network.version == version
        ]
        for verb, elements in (("delete", gone), ("add", come)):
            if elements:
                yield {verb: {"element": {"family": FAMILY, "table": TABLE, "name": name, "elem": elements}}}


def _structure(*, anew: bool) -> Iterator[dict[str, Any]]:
    """The table as it should be. One that is otherwise is made anew in the same transaction: no packet sees it missing."""
    table = {"family": FAMILY, "name": TABLE}
    if anew:
        yield {"delete": {"table": table}}
    yield {"add": {"table": table}}
    for version, name in SETS.items():
        kind = {"type": _TYPES[version][0], "flags": sorted(_FLAGS)}
        yield {"add": {"set": {"family": FAMILY, "table": TABLE, "name": name, **kind}}}
    for chain in _CHAINS:
        hook = {"type": "filter", "hook": chain, "prio": _PRIORITY, "policy": "accept"}
        yield {"add": {"chain": {"family": FAMILY, "table": TABLE, "name": chain, **hook}}}
    for chain, ends in _CHAINS.items():
        for version, name in SETS.items():
            for end in ends:
                match = {"op": "==", "left": {"payload": {"protocol": _TYPES[version][1], "field": end}}, "right": f"@{name}"}
                rule = [{"match": match}, {"counter": None}, {"drop": None}]
                yield {"add": {"rule": {"family": FAMILY, "table": TABLE, "chain": chain, "expr": rule}}}


def _read(said: list[dict[str, Any]]) -> _KernelState:
    sets = {body["name"]: body for entry in said if (body := entry.get("set"))}
    chains = {body["name"]: body for entry in said if (body := entry.get("chain"))}
    rules: dict[str, list[tuple[str, ...]]] = {}
    for entry in said:
        if body := entry.get("rule"):
            rules.setdefault(body["chain"], []).append(_told(body["expr"]))
    faults = list(_faults(sets, chains, rules))
    elements: dict[Network, float] = {}
    for name in SETS.values():
        for value, seconds in _elements(sets.get(name, {})):
            if (network := _network(value)) is None:
                faults.append(f"an element of set {name} that is no network")
            else:
                elements[network] = seconds
    return _KernelState(tuple(faults), elements)


def _faults(sets: Mapping[str, Any], chains: Mapping[str, Any], rules: Mapping[str, list[tuple[str, ...]]]) -> Iterator[str]:
    for version, name in SETS.items():
        there = sets.get(name, {})
        if there.get("type") != _TYPES[version][0] or not set(there.get("flags", ())) >= _FLAGS:
            yield f"set {name}"
    for chain, ends in _CHAINS.items():
        there = chains.get(chain, {})
        if [there.get(key) for key in ("type", "hook", "prio", "policy")] != ["filter", chain, _PRIORITY, "accept"]:
            yield f"chain {chain}"
        wanted = [(_TYPES[version][1], end, f"@{name}", "drop") for version, name in SETS.items() for end in ends]
        if rules.get(chain, []) != wanted:
            yield f"rules of chain {chain}"
    yield from (f"chain {name}" for name in chains if name not in _CHAINS)


def _told(expr: list[dict[str, Any]]) -> tuple[str, ...]:
    """A rule as (protocol, field, set, verdict); what counts packets is left out, another rule comes out otherwise."""
    found: tuple[str, ...] = ()
    for one in expr:
        if match := one.get("match"):
            payload = match["left"].get("payload", {})
            found += (payload.get("protocol", ""), payload.get("field", ""), str(match["right"]))
        elif "counter" not in one:
            found += (next(iter(one)),)
    return found


def _elements(body: Mapping[str, Any]) -> Iterator[tuple[Any, float]]:
    for entry in body.get("elem", ()):
        about = entry["elem"] if isinstance(entry, dict) and "elem" in entry else {"val": entry}
        # What has no time was put there by somebody else, and would stay for ever.
        yield about["val"], float(about.get("expires", about.get("timeout", math.inf)))


def _network(value: Any) -> Network | None:
    if isinstance(value, str):
        return ip_network(value)
    prefix = value.get("prefix")
    return ip_network(f"{prefix['addr']}/{prefix['len']}") if prefix else None


def _value(network: Network) -> Any:
    """As nft takes it. Made of numbers by :mod:`ipaddress`, so nothing that somebody typed gets there."""
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
