"""Passwords, sessions, and how often one may try."""

from __future__ import annotations

import pytest

from infra.errors import ConfigError
from ops.dash import login
from ops.dash.login import Logins

PASSWORD = "correct horse battery"


class HandSetClock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_nobody_logs_in_on_loopback_unless_there_is_a_password() -> None:
    assert not login.required("127.0.0.1", "", loopback=True)
    assert login.required("127.0.0.1", PASSWORD, loopback=True)
    assert login.required("0.0.0.0", PASSWORD, loopback=False)


@pytest.mark.parametrize(("password", "loopback"), [("", False), ("short", False), ("elevenchars", True)])
def test_no_or_a_weak_password_is_no_start(password: str, loopback: bool) -> None:
    with pytest.raises(ConfigError, match="FLOWLAKE_DASH__PASSWORD") as refused:
        login.required("0.0.0.0", password, loopback=loopback)
    assert not password or password not in f"{refused.value} {refused.value.hint}"


def test_only_the_password_is_the_password() -> None:
    logins = Logins(PASSWORD)
    assert logins.right("a", PASSWORD)
    for wrong in ("", PASSWORD[:-1], PASSWORD + " ", PASSWORD.upper(), "\udcff", "x" * 5000):
        assert not logins.right("a", wrong)


def test_after_five_wrong_ones_an_address_waits_and_others_do_not() -> None:
    clock = HandSetClock()
    logins = Logins(PASSWORD, clock)
    for _ in range(login.TRIES):
        assert logins.wait("a") == 0
        logins.right("a", "wrong")
        clock.now += 1
    assert logins.wait("a") > login.WINDOW_S - 10
    assert logins.wait("b") == 0
    clock.now += login.WINDOW_S
    assert logins.wait("a") == 0


def test_many_addresses_together_wait_too() -> None:
    logins = Logins(PASSWORD, HandSetClock())
    for i in range(login.ALL_TRIES):
        logins.right(f"a{i}", "wrong")
    assert logins.wait("never seen") > 0


def test_a_session_ends_by_itself_and_by_its_person() -> None:
    clock = HandSetClock()
    logins = Logins(PASSWORD, clock)
    one, two = logins.begin(), logins.begin()
    assert one != two
    assert logins.known(one)
    logins.end(one)
    assert not logins.known(one)
    assert logins.known(two)
    clock.now += login.SESSION_S + 1
    assert not logins.known(two)
    assert not logins.known("")


def test_memory_is_bounded() -> None:
    logins = Logins(PASSWORD)
    first = logins.begin()
    for _ in range(1000):
        logins.begin()
    assert not logins.known(first)
    for i in range(10_050):
        logins.right(f"10.{i}", "wrong")
    assert len(logins._failures) <= 10_000
