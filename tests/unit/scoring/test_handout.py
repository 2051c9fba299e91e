"""Models from the driver to a worker, over a real socket: what is signed, what is not, and a driver that is away."""

from __future__ import annotations

import http.client
import pickle
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from infra.errors import StackError
from jobs.scoring import serving
from jobs.scoring.handout import Lease, ModelDesk, Offer, UnansweredError, ask
from jobs.scoring.modelset import ModelSet
from jobs.scoring.tally import ProcessTally, TallySum
from tests.unit.scoring.records import champion

COUNTS: dict[str, Any] = {"process": "p", "counts": []}


class Told(list[dict[str, Any]]):
    """What the workers have told."""


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def desk(told: Told) -> Iterator[ModelDesk]:
    made = ModelDesk("127.0.0.1", "127.0.0.1", 0, told.append)
    yield made
    made.close()


def lease(desk: ModelDesk, body: bytes = b"one", path: str = "/a") -> Lease:
    desk.put(path, Offer.of(body))
    return desk.lease(path, 0.0)


def test_a_worker_gets_what_is_new_and_only_that(desk: ModelDesk, told: Told) -> None:
    mine = lease(desk)
    assert ask(mine, mine.offer.digest, COUNTS) is None
    desk.put("/a", Offer.of(b"two" * 100_000))
    assert ask(mine, mine.offer.digest, COUNTS) == b"two" * 100_000
    assert ask(mine, Offer.of(b"two" * 100_000).digest, COUNTS) is None
    until(lambda: len(told) == 3)
    assert told[0] == COUNTS


def test_who_lacks_the_key_gets_nothing(desk: ModelDesk, told: Told) -> None:
    mine = lease(desk)
    with pytest.raises(UnansweredError, match="403"):
        ask(replace(mine, key=b"another"), "", COUNTS)
    with pytest.raises(UnansweredError, match="404"):
        ask(replace(mine, path="/b"), "", COUNTS)
    for path, headers in (("/a", {}), ("/", {"Content-Length": "-1"}), ("/a", {"Content-Length": "99999999999"})):
        connection = http.client.HTTPConnection(mine.host, mine.port, timeout=5)
        connection.request("POST", path, headers=headers)
        answer = connection.getresponse()
        assert answer.status in (400, 403)
        assert answer.read() == b""
    assert told == []
    assert mine.key.hex() not in repr(mine)


def test_an_answer_that_is_not_the_drivers_is_not_read(desk: ModelDesk) -> None:
    """Another program has the port by now, or stands between; what it says would run code."""
    mine = lease(desk)
    other = ModelDesk("127.0.0.1", "127.0.0.1", 0, lambda _: None)
    try:
        other.put("/a", Offer.of(b"evil"))
        with pytest.raises(UnansweredError, match="403"):
            ask(replace(mine, port=other.port), "", COUNTS)
    finally:
        other.close()
    for said in (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"HTTP/1.1 304 Not Modified\r\n\r\n", b"SSH-2.0-x\r\n"):
        with impostor(said) as port, pytest.raises(UnansweredError, match=r"not signed|BadStatusLine"):
            ask(replace(mine, port=port), mine.offer.digest, COUNTS)


class impostor:
    """Answers one request with the same words, whatever it is."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def __enter__(self) -> int:
        import threading

        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._answer, daemon=True).start()
        return int(self._socket.getsockname()[1])

    def _answer(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(self._said)

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def until(true: Any, patience_s: float = 10.0) -> None:
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_port_that_is_taken(desk: ModelDesk) -> None:
    with pytest.raises(StackError, match="cannot be given out on") as caught:
        ModelDesk("127.0.0.1", "127.0.0.1", desk.port, lambda _: None)
    assert "scoring.port" in caught.value.hint


def version(mine: Lease) -> str:
    """Of the champion that a worker has; empty: none."""
    models = serving.current(mine)
    return models.champion.version if models else ""


def test_a_worker_follows_and_goes_on_where_nobody_answers(desk: ModelDesk, capfd: pytest.CaptureFixture[str]) -> None:
    models = [pickle.dumps(ModelSet(replace(champion(), version=version))) for version in ("1", "2")]
    mine = lease(desk, models[0], "/c")
    assert version(mine) == "1"
    desk.put("/c", Offer.of(models[1]))
    assert version(mine) == "2"
    desk.close()
    assert version(mine) == "2"
    assert version(mine) == "2"
    assert capfd.readouterr().err.count("the driver does not answer, version 2 stays") == 1


def test_a_query_that_starts_again_does_not_go_back(desk: ModelDesk) -> None:
    """A process that lives on has what was promoted, even if the tasks carry what was in force when their query started."""
    models = [pickle.dumps(ModelSet(replace(champion(), version=version))) for version in ("1", "2")]
    mine = lease(desk, models[0], "/d")
    desk.put("/d", Offer.of(models[1]))
    assert version(mine) == "2"
    assert version(replace(desk.lease("/d", 0.0), offer=mine.offer)) == "2"


def test_a_worker_without_a_model_gets_the_first(desk: ModelDesk, capfd: pytest.CaptureFixture[str]) -> None:
    mine = lease(desk, pickle.dumps(None), "/e")
    assert serving.current(mine) is None
    desk.put("/e", Offer.of(pickle.dumps(ModelSet(champion()))))
    assert version(mine) == champion().version
    gone = replace(lease(desk, pickle.dumps(None), "/f"), port=1)
    assert serving.current(gone) is None
    assert "the driver does not answer, no model scores" in capfd.readouterr().err


def test_counts_of_processes_add_up_once() -> None:
    one, two, total = ProcessTally(), ProcessTally(), TallySum(most=2)
    one.add(("records", "flows", "1"), 5)
    two.add(("records", "flows", "1"), 7)
    assert list(total.news(one.process, one.plain())) == [(("records", "flows", "1"), 5)]
    assert list(total.news(one.process, one.plain())) == [], "told twice"
    one.add(("records", "flows", "1"), 2)
    assert list(total.news(one.process, one.plain())) == [(("records", "flows", "1"), 2)]
    assert list(total.news(two.process, two.plain())) == [(("records", "flows", "1"), 7)]
    assert one.process != two.process
