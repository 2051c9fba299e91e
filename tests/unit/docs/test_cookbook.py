"""The cookbook is whole: every block says where it runs, every question has blocks and an answer that another one would not pass for."""

from __future__ import annotations

import re

import pytest

from tests import cookbook
from tests.cookbookanswers import ANSWERS
from tests.cookbookdata import Data

QUESTIONS = cookbook.questions()


def test_questions_are_numbered_and_answered() -> None:
    assert [number for number, _ in QUESTIONS] == list(range(1, len(QUESTIONS) + 1))
    assert sorted(ANSWERS) == [number for number, _ in QUESTIONS]
    assert len(QUESTIONS) >= 25


def test_every_block_says_where_it_runs() -> None:
    text = cookbook.PAGE.read_text(encoding="utf-8")
    assert len(re.findall(r"^```sql$", text, re.MULTILINE)) == len(cookbook.blocks())
    for block in cookbook.blocks():
        assert block.engines
        assert set(block.engines) <= set(cookbook.ENGINES)
        assert len(set(block.engines)) == len(block.engines)


@pytest.mark.parametrize("engine", cookbook.ENGINES)
def test_every_engine_answers_questions(engine: str) -> None:
    assert len(cookbook.blocks(engine)) >= 10


def test_the_check_of_answers_can_fail() -> None:
    data = Data()
    (block,) = [block for block in cookbook.blocks("duckdb") if block.number == 14]
    (answer,) = ANSWERS[14](data)
    cookbook.check(block, [answer], data)
    for wrong in ([], [answer, answer], [(*answer[:2], answer[2] + 1)], [answer[:2]]):
        with pytest.raises(AssertionError, match="14"):
            cookbook.check(block, wrong, data)


def test_tables_without_a_catalog_are_looked_up_in_one_place() -> None:
    homes = {block.home for engine in ("trino", "athena") for block in cookbook.blocks(engine)}
    assert homes == {("hot", "public"), ("lake", "flowlake"), ("archive", "flowlake")}
