import random

import pytest

from rag_ft.metrics.agreement import cohens_kappa


def test_kappa_of_the_example_of_fifty_grants():
    # 20 both yes, 15 both no, 5 only the first, 10 only the second: observed 0.7, by chance 0.5.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(first, second) == pytest.approx(0.4)


def test_kappa_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    chooser = random.Random(1)
    labels = ["accept", "edit", "reject", "no answer"]
    for count in (3, 10, 200):
        first, second = (chooser.choices(labels, k=count) for _ in range(2))
        assert cohens_kappa(first, second) == pytest.approx(metrics.cohen_kappa_score(first, second))


def test_kappa_is_not_defined_where_chance_explains_all():
    assert cohens_kappa([], []) is None
    assert cohens_kappa(["accept"] * 3, ["accept"] * 3) is None
    assert cohens_kappa(["accept"] * 3, ["reject"] * 3) == 0
    with pytest.raises(ValueError, match="2 labels and 1"):
        cohens_kappa(["a", "b"], ["a"])
