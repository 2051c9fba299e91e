"""A DNS server on loopback that tells names of addresses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.reversename
import dns.rrset

SILENT, BROKEN, GARBAGE = "(silent)", "(broken)", "(garbage)"


class DnsServer:
    """``names``: address -> its names; SILENT: no answer, BROKEN: SERVFAIL, GARBAGE: no DNS; what is not among them does not exist."""

    def __init__(self, names: Mapping[str, str | list[str]]) -> None:
        self.names = {dns.reversename.from_address(a): n for a, n in names.items()}
        self.asked: list[str] = []
        self.gate = threading.Event()  # closed: no question is answered
        self.gate.set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            raw, peer = self._socket.recvfrom(4096)
            if not raw:
                return
            self.gate.wait()
            query = dns.message.from_wire(raw)
            answer = self._answer(query)
            if self.names.get(query.question[0].name) == GARBAGE:
                self._socket.sendto(raw[:2] + b"\xff" * 40, peer)
            elif answer:
                self._socket.sendto(answer.to_wire(), peer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        name = query.question[0].name
        self.asked.append(str(dns.reversename.to_address(name)))
        said = self.names.get(name)
        if said in (SILENT, GARBAGE):
            return None
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if said is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif said == BROKEN:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif said:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "PTR", *([said] if isinstance(said, str) else said)))
        return answer

    def stop(self) -> None:
        self.gate.set()
        host, port = self.address.split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(b"", (host, int(port)))


@contextmanager
def dns_server(names: Mapping[str, str | list[str]]) -> Iterator[DnsServer]:
    server = DnsServer(names)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(5)
