import math

import numpy as np
import pytest

from rag_ft.evaluation.studies.learning_curve import fit_power_laws, learning_curve

SIZES = (50, 100, 200, 400)


def _loss(records, floor=0.2, scale=3.0, exponent=0.4):
    return floor + scale * records**-exponent


def _simulated(chooser, loss=_loss, documents=40, each=10, luck=0.0):
    """Right or wrong by question, seven in ten questions decided alike by every size, documents of unequal hardness."""
    hard = np.repeat(chooser.normal(0, 0.1, documents), each)
    shared, scores = chooser.random(documents * each), {}
    for records in SIZES:
        right = 1 - loss(records) - chooser.normal(0, luck) + hard
        decided = np.where(chooser.random(len(shared)) < 0.7, shared, chooser.random(len(shared)))
        scores[records] = (decided < right).astype(float).tolist()
    return scores, np.repeat(np.arange(documents), each).tolist()


def test_a_power_law_without_noise_is_found_again():
    laws = [(0.2, 3.0, 0.4), (0.0, 1.5, 0.25), (0.35, 8.0, 1.0)]
    losses = np.array([[_loss(size, *law) for size in SIZES] for law in laws])
    fits = fit_power_laws(SIZES, losses)
    for row, (floor, scale, exponent) in enumerate(laws):
        assert fits.floor[row] == pytest.approx(floor, abs=1e-6)
        assert fits.scale[row] == pytest.approx(scale, rel=1e-6)
        assert fits.exponent[row] == pytest.approx(exponent, abs=1e-9)
        assert fits.at(1600)[row] == pytest.approx(_loss(1600, floor, scale, exponent), abs=1e-6)


@pytest.mark.parametrize("luck", [0.0, 0.01])
def test_intervals_hold_what_twice_the_records_would_bring(luck):
    """Of 40 simulated curves whose answer is known; a curve that rises like this is always told to be rising."""
    chooser = np.random.default_rng(3)
    true, held, rising, gains = _loss(400) - _loss(800), 0, 0, []
    for _ in range(40):
        doubling = learning_curve(*_simulated(chooser, luck=luck)).doublings[0]
        held += doubling.low <= true <= doubling.high
        rising += doubling.low > 0
        gains.append(doubling.gain)
    assert held >= 36 and rising >= 36
    assert np.mean(gains) == pytest.approx(true, abs=0.012)


def test_a_curve_that_is_flat_is_hardly_ever_said_to_rise():
    chooser = np.random.default_rng(5)
    alarms = sum(learning_curve(*_simulated(chooser, lambda records: 0.4)).doublings[0].low > 0 for _ in range(40))
    assert alarms <= 3


def test_points_that_lie_off_the_curve_are_the_luck_of_a_training_and_widen_it():
    """Every question scores alike, so that drawing documents again changes nothing."""
    names = [i // 2 for i in range(20)]
    smooth = learning_curve({size: [1 - _loss(size)] * 20 for size in SIZES}, names).doublings[0]
    luck = (0.03, -0.03, 0.03, -0.03)
    rough = {size: [1 - _loss(size) + offset] * 20 for size, offset in zip(SIZES, luck, strict=True)}
    assert smooth.high - smooth.low < 1e-3
    off = learning_curve(rough, names).doublings[0]
    assert off.high - off.low > 0.05


def test_a_reader_that_gets_worse_is_not_drawn_as_getting_better():
    chooser = np.random.default_rng(7)
    curve = learning_curve(*_simulated(chooser, lambda records: 0.3 + 0.06 * math.log2(records / 50)))
    assert curve.doublings[0].gain < 0


def test_the_line_goes_from_the_smallest_size_to_eight_times_the_largest():
    curve = learning_curve(*_simulated(np.random.default_rng(1)), worth=0.02)
    assert [point.records for point in curve.points] == list(SIZES)
    assert (curve.line[0].records, curve.line[-1].records) == (50, 3200)
    assert [doubling.expected.records for doubling in curve.doublings] == [800, 1600, 3200]
    assert all(point.low <= point.f1 <= point.high for point in curve.line) and curve.worth == 0.02
    gains = [doubling.gain for doubling in curve.doublings]
    assert gains == sorted(gains, reverse=True)
    assert curve == learning_curve(*_simulated(np.random.default_rng(1)), worth=0.02)


def test_three_sizes_or_one_document_have_points_and_no_curve():
    scores, documents = _simulated(np.random.default_rng(1))
    few = learning_curve({size: scores[size] for size in SIZES[:3]}, documents)
    assert len(few.points) == 3 and few.doublings == () and few.floor is None
    assert few.points[0].f1.low is not None
    curve = learning_curve(scores, ["d"] * len(documents))
    assert curve.doublings == () and curve.points[0].f1.low is None
    with pytest.raises(ValueError, match="needs sizes"):
        learning_curve({}, [])
    with pytest.raises(ValueError, match="not finite"):
        learning_curve({50: [math.nan, 1.0]}, ["a", "b"])
