"""By which names a browser may call the server."""

from __future__ import annotations

import pytest

from ops.dash import guard

NAMES = guard.own_names("soc.example.org", ["dash.example.org."])


@pytest.mark.parametrize(
    "header",
    [
        "localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000", "10.1.2.3:443", "soc.example.org",
        "Dash.Example.Org:8443", "dash.example.org.",
    ],
)  # fmt: skip
def test_own_names_and_addresses(header: str) -> None:
    assert guard.may_be_called(header, NAMES)


@pytest.mark.parametrize(
    "header",
    [
        "", "evil.example", "localhost.evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost:8000@evil.example", "[::1",
        "127.0.0.1:999999", "a b", "localhost, evil.example", "localhost\r\nX: y", "example.org", "http://localhost", "[evil.example]",
    ],
)  # fmt: skip
def test_others_are_refused(header: str) -> None:
    assert not guard.may_be_called(header, NAMES)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
        ("10.0.0.1", False), ("soc.example.org", False), ("::ffff:127.0.0.1", False), ("localhost.example.org", False),
    ],
)  # fmt: skip
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert guard.is_loopback(host) == loopback
