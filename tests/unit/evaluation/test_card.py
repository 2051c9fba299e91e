"""The model card: its numbers are the report's, it is one file, and names are text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from infra.sections import EvaluationSettings
from jobs.evaluation import leaks, splits
from jobs.evaluation.assess import Assessor, Evaluation, assess
from jobs.evaluation.card import card
from jobs.evaluation.card.limits import limits
from jobs.evaluation.card.page import amount, share, span
from jobs.evaluation.intervals import Interval, wilson
from jobs.evaluation.operating import alarms_span, false_alarms_per_hour, precision_at, precision_span
from jobs.scoring.model import ScoringModel
from jobs.training.sampling import Stratum, by_label
from tests.unit.evaluation.planted import FACTS, HOSTILE, hostile_account, records, site_traffic, small_fit


class Page(HTMLParser):
    """Elements, attributes and text of a page; rows of its tables as lists of words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.rows: list[list[str]] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action") or k.startswith("on")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True
        elif tag == "small":
            self.rows[-1][-1] += " ("

    def handle_endtag(self, tag: str) -> None:
        if tag == "small":
            self.rows[-1][-1] += ")"
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.in_cell:
            self.rows[-1][-1] += data.strip()

    def row(self, first: str) -> list[str]:
        return next(row[1:] for row in self.rows if row and row[0] == first)


@pytest.fixture(scope="module")
def hostile() -> tuple[ScoringModel, Evaluation]:
    model, evaluation, _ = hostile_account()
    return model, evaluation


def test_numbers_are_those_of_the_evaluation(hostile: tuple[ScoringModel, Evaluation]) -> None:
    model, evaluation = hostile
    page = Page(card(model, evaluation, [("flow_duration", 0.75), ("syn_flag_count", 0.25)], FACTS))
    parts = list(evaluation.parts.values())
    assert page.row("records") == [f"{p.quality.records:,}" for p in parts]
    for name, key in (("recall", "recall"), ("false-positive rate", "false_positive_rate"), ("precision in the sample", "precision")):
        assert page.row(name) == [f"{share(getattr(p.quality, key))} ({span(p.intervals[key])})" for p in parts]
    site = evaluation.site
    assert page.row("false alarms an hour") == [
        f"{amount(false_alarms_per_hour(p.quality.false_positive_rate, site))} "
        f"({span(alarms_span(p.intervals['false_positive_rate'], site), 'amount')})"
        for p in parts
    ]
    assert page.row("precision where 1\N{NO-BREAK SPACE}% are attacks") == [
        f"{share(precision_at(p.quality.recall, p.quality.false_positive_rate, site.attack_share))} "
        f"({span(precision_span(p.intervals['recall'], p.intervals['false_positive_rate'], site.attack_share))})"
        for p in parts
    ]
    assert page.row("macro-F1 over the labels")[0] == (
        f"{parts[0].quality.macro_f1:.4f} ({parts[0].intervals['macro_f1'].low:.4f} to {parts[0].intervals['macro_f1'].high:.4f})"
    )
    chosen = evaluation.chosen
    assert page.row("the rule's") == [
        f"{model.threshold:.4f}",
        share(chosen.recall),
        share(chosen.false_positive_rate),
        share(chosen.precision),
        amount(chosen.false_alarms_per_hour),
        amount(chosen.cost_per_hour),
    ]
    udp = next(u for u in evaluation.unseen if u.label == "UDP_FLOOD")
    assert ["UDP_FLOOD", "", f"{udp.records:,}", f"{share(udp.recall)} ({span(udp.interval)})"] in [row[:4] for row in page.rows]
    for c in evaluation.parts["random"].classes:
        found = f"{share(c.flagged / c.records)} ({span(wilson(c.flagged, c.records))})"
        assert [c.label, f"{c.records:,}", found, share(c.typed / c.records)] in page.rows
    for said in (FACTS.command, "version 17", "1,200 records", "most recall", "Seed of all random choices: 7"):
        assert said in page.words
    between = span(alarms_span(parts[0].intervals["false_positive_rate"], site), "amount")
    assert f"false alarms an hour at 100 records a second (95 % interval: {between})" in page.words


def test_what_it_learned_from_and_what_it_costs(hostile: tuple[ScoringModel, Evaluation]) -> None:
    strata = (Stratum("BENIGN", "2026-01-02", 9000, 500), Stratum("BENIGN", "2026-01-05", 1, 1), Stratum(HOSTILE, "", 7, 7))
    told = replace(FACTS, labels=by_label(strata), split="300 to learn from", family="boosted", ms_per_1000=3.21)
    page = Page(card(*hostile, [("flow_duration", 1.0)], told))
    assert ["BENIGN", "9,001", "501", "2026-01-02", "2026-01-05", "2"] in page.rows
    assert [HOSTILE, "7", "7", "–", "–", "–"] in page.rows
    for said in ("300 to learn from", "boosted", "3.21 ms of one core for 1,000 records", "mean share in P(attack)"):
        assert said in page.words
    assert "impurity" not in page.words, "importance is by contributions"
    assert "What it learned from" not in Page(card(*hostile, [], FACTS)).words


def test_one_file_without_a_script_and_names_are_text(hostile: tuple[ScoringModel, Evaluation]) -> None:
    model, evaluation = hostile
    text = card(model, evaluation, [(HOSTILE, 1.0)], FACTS)
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"@import|url\((?!#)", text)
    assert page.words.count(HOSTILE) > 5
    assert "<script" not in text
    assert page.tags.count("svg") == 5


def test_the_same_evaluation_gives_the_same_page(hostile: tuple[ScoringModel, Evaluation]) -> None:
    assert card(*hostile, [], FACTS) == card(*hostile, [], FACTS)


def test_what_is_undefined_is_a_dash_and_breaks_nothing() -> None:
    model = small_fit(site_traffic(300), site_traffic(300, seed=4))
    benign = records(["BENIGN"] * 12, [[0.1 * i, 0, 0] for i in range(12)])
    assessor = Assessor(benign, small_fit, EvaluationSettings(), 7, lambda line: None)
    base = splits.at_random(benign, 7)
    evaluation = assess(assessor, model, base, leaks.Leak(len(base.test), 0, 0, ()), leaks.identities(benign))
    page = Page(card(model, evaluation, [], FACTS))
    assert page.row("recall") == ["–"]
    assert page.row("F1, attack or benign") == ["–"]
    assert page.row("rows that the training has too") == ["0"]
    assert "nan" not in page.words
    assert "lack attacks or benign ones: how good it is is not known" in limits(model, evaluation)[0]
    assert "no attack among the 2 records held out: how good the model is is not known" in evaluation.notes


def test_limits_follow_from_the_numbers(hostile: tuple[ScoringModel, Evaluation]) -> None:
    model, evaluation = hostile
    said = " ".join(limits(model, evaluation))
    assert "has no detector of the unknown" in said
    first = evaluation.parts["random"].intervals
    worst, best = precision_span(first["recall"], first["false_positive_rate"], evaluation.site.attack_share)
    assert f"of what it takes for an attack {100 * worst:.1f} to {100 * best:.1f}\N{NO-BREAK SPACE}% is one" in said
    assert "On a day that it has not seen, a model like this finds as much" in said
    day = evaluation.parts["by_day"]
    worse = {**evaluation.parts, "by_day": replace(day, quality=replace(day.quality, recall=0.35))}
    assert (
        "a model like this finds 35.0\N{NO-BREAK SPACE}% of the attacks' records instead of"
        in limits(model, replace(evaluation, parts=worse))[0]
    )
    part = evaluation.parts["random"]
    blind = tuple(replace(c, flagged=1) if c.label == "UDP_FLOOD" else replace(c, records=3, flagged=3) for c in part.classes)
    poor = replace(evaluation, parts={"held_out": replace(part, classes=blind)}, unseen=())
    said = " ".join(limits(model, poor))
    assert "This model finds few of: UDP_FLOOD" in said
    assert "Fewer than 30 records to judge by, so little is known of:" in said
    assert "generated traffic only" in said
    assert "never shown" not in said
    none = replace(evaluation, unseen=tuple(replace(u, recall=0.02) for u in evaluation.unseen))
    said = " ".join(limits(model, none))
    assert "it misses more than half of the records of: " in said
    assert "SLOWLORIS (2.0\N{NO-BREAK SPACE}% found)" in said


def test_numbers_as_people_read_them() -> None:
    def words(text: str) -> str:
        return text.replace("\N{NO-BREAK SPACE}", " ")

    assert [words(share(v)) for v in (0, 1, 0.5, 0.9951, 0.0123, 0.00041, float("nan"))] == [
        "0 %",
        "100 %",
        "50.0 %",
        "99.51 %",
        "1.23 %",
        "0.041 %",
        "–",
    ]
    assert words(span(Interval(0.1, 0.25))) == "10.0 to 25.0 %"
    assert [amount(v) for v in (2158.1, 123.4, 0.12345, float("nan"))] == ["2,160", "123", "0.123", "–"]
