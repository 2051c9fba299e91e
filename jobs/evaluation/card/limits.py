"""What a model cannot see, in words that follow from its numbers."""

from __future__ import annotations

from collections.abc import Iterator

from infra.plurals import counted
from jobs.evaluation.assess import Evaluation
from jobs.evaluation.operating import alarms_span, precision_span
from jobs.scoring.model import ScoringModel
from schemas.labels import BENIGN

#: An attack of which less is found is one that the model does not see well.
POOR = 0.6
#: With fewer records of a label its recall is a guess.
FEW = 30
#: Error of P(attack) beyond which it is no probability.
UNCALIBRATED = 0.05


def limits(model: ScoringModel, evaluation: Evaluation) -> list[str]:
    """Sentences, the gravest first."""
    return [
        *_unlike(evaluation),
        *_unseen(model, evaluation),
        *_labels(evaluation),
        *_alarms(evaluation),
        *_early(evaluation),
        *_data(evaluation),
    ]


def _pc(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def _unlike(evaluation: Evaluation) -> Iterator[str]:
    (name, first), *others = evaluation.parts.items()
    if not 0 < first.quality.attacks < first.quality.records:
        yield "The records held out of its training lack attacks or benign ones: how good it is is not known."
    for other, part in others:
        if not other.startswith("by_") or not part.quality.attacks:
            continue
        what = other.removeprefix("by_")
        if part.quality.recall >= first.quality.recall - 0.02:
            yield f"On a {what} that it has not seen, a model like this finds as much: {_pc(part.quality.recall)} of the attacks' records."
            continue
        yield (
            f"On a {what} that it has not seen, a model like this finds {_pc(part.quality.recall)} of the attacks' records instead of "
            f"{_pc(first.quality.recall)}, at a false-positive rate of {part.quality.false_positive_rate:.2%}. Expect that number, not the "
            f"one of the split {name.replace('_', ' ')}."
        )
        if worst := [f.name for f in part.folds if f.rates.attacks and f.rates.recall < POOR]:
            yield f"Held out by {what}, less than {POOR:.0%} of the attacks' records were found of: {', '.join(worst)}."
    if name == "held_out":
        yield "It has seen generated traffic only. How good it is on a real network is not known: train on labelled traffic of it."


def _unseen(model: ScoringModel, evaluation: Evaluation) -> Iterator[str]:
    blind = [u for u in evaluation.unseen if u.recall < 0.5]
    if blind:
        yield (
            "Of attacks it was never shown, it misses more than half of the records of: "
            + ", ".join(f"{u.label} ({_pc(u.recall)} found)" for u in sorted(blind, key=lambda u: u.recall))
            + "."
        )
    elif evaluation.unseen:
        yield "Of every kind of attack left out of its training, it found at least half of the records all the same."
    if model.novelty is None:
        yield "It has no detector of the unknown: a new attack is found only as far as it is like one of its training."


def _labels(evaluation: Evaluation) -> Iterator[str]:
    part = next(iter(evaluation.parts.values()))
    attacks = [c for c in part.classes if c.label != BENIGN]
    poor = [c for c in attacks if c.flagged / c.records < POOR]
    if poor:
        yield (
            "This model finds few of: "
            + ", ".join(f"{c.label} ({_pc(c.flagged / c.records)} found)" for c in sorted(poor, key=lambda c: c.flagged / c.records))
            + ". Either one record does not show them, and they become alerts by their number if at all; or more of them are to be learned "
            "from."
        )
    if few := [c for c in attacks if c.records < FEW]:
        yield f"Fewer than {FEW} records to judge by, so little is known of: {', '.join(f'{c.label} ({c.records})' for c in few)}."


def _alarms(evaluation: Evaluation) -> Iterator[str]:
    site, chosen = evaluation.site, evaluation.chosen
    part = next(iter(evaluation.parts.values()))
    benign = part.quality.records - part.quality.attacks
    high = part.intervals["false_positive_rate"].high
    if chosen.precision == chosen.precision:
        least, most = alarms_span(part.intervals["false_positive_rate"], site)
        worst, best = precision_span(part.intervals["recall"], part.intervals["false_positive_rate"], site.attack_share)
        yield (
            f"Where {100 * site.attack_share:.3g} % of all records are attacks and {site.flows_per_s:,g} arrive a second, "
            f"expect {least:,.0f} to {most:,.0f} false alarms an hour; "
            f"of what it takes for an attack {100 * worst:.1f} to {_pc(best)} is one."
        )
    if benign and high > 2 * max(part.quality.false_positive_rate, 1e-12):
        yield (f"{counted(benign, 'benign record')} say little about so low a false-positive rate: it may be as high as {high:.2%}.")
    if evaluation.reliability and evaluation.reliability[0].expected_calibration_error > UNCALIBRATED:
        error = evaluation.reliability[0].expected_calibration_error
        yield f"P(attack) orders records; it is no probability: it is off by {error:.2f} on average."


def _early(evaluation: Evaluation) -> Iterator[str]:
    closed = [a for a in evaluation.ages if a.closed and a.rates.attacks]
    young = [a for a in evaluation.ages if not a.closed and a.rates.attacks >= FEW]
    if closed and young and (first := young[0]).rates.recall < closed[0].rates.recall - 0.05:
        yield (
            f"Of attacks' flows that go on and are younger than {first.high:g} s it knows {_pc(first.rates.recall)}; "
            f"of closed ones {_pc(closed[0].rates.recall)}."
        )


def _data(evaluation: Evaluation) -> Iterator[str]:
    if rows := sum(c.rows for c in evaluation.contradictions):
        yield f"{counted(rows, 'record')} have the same features as records of another label: nobody can be right on all of them."
    yield "It sees what one record of a flow shows: no addresses, no ports, no payload, nothing of the flows around it."
