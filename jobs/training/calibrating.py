"""From scores to probabilities: Platt's curve, fitted to records that the model was not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from jobs.scoring.calibration import Calibration

#: Fewest benign records, and attacks, that a curve is fitted to.
FEWEST = 20
#: Knots in log-odds of the score: between two of them the curve is straight.
_KNOTS = np.linspace(-12, 12, 97)
#: A steeper curve would make different scores near 1 the same number.
_STEEPEST = 1.5


def calibrate(p_attack: npt.NDArray[np.float64], attack: npt.NDArray[np.bool_]) -> Calibration | None:
    """A rising curve from a classifier's P(attack) to the share of attacks among records of that score.

    The log-odds of an attack are taken for linear in those of the score (Platt, "Probabilistic outputs for support vector machines",
    1999). Fitting weighs attacks and benign records alike; that, and overconfidence, is what the curve takes back. It rises strictly, so
    records keep their order.

    Parameters
    ----------
    p_attack
        float64[n] in [0, 1].
    attack
        bool[n].

    Returns
    -------
    The curve; None for too few records, and where the score does not rise with the share of attacks.
    """
    from sklearn.linear_model import LogisticRegression

    if min(int(attack.sum()), int((~attack).sum())) < FEWEST:
        return None
    odds = logit(np.clip(p_attack, expit(_KNOTS[0]), expit(_KNOTS[-1])))
    found = LogisticRegression(C=1.0).fit(odds[:, None], attack)
    slope, base = min(float(found.coef_[0, 0]), _STEEPEST), float(found.intercept_[0])
    if slope <= 0:
        return None
    raw, true = expit(_KNOTS), expit(slope * _KNOTS + base)
    return Calibration(np.concatenate([[0.0], raw, [1.0]]), np.concatenate([[0.0], true, [1.0]]))
