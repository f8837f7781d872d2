import math

import pytest

from rag_ft.metrics.odds import log_odds, probability_of


@pytest.mark.parametrize("probability", [1e-9, 0.25, 0.5, 0.9])
def test_log_odds_of_a_probability_lead_back_to_it(probability):
    assert probability_of(log_odds(probability)) == pytest.approx(probability, rel=1e-9)


def test_the_ends_are_infinite_and_no_log_odds_are_too_large():
    assert (log_odds(0.0), log_odds(1.0)) == (-math.inf, math.inf)
    assert (probability_of(-5000.0), probability_of(5000.0)) == (0.0, 1.0)
