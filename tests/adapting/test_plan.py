import pytest
from data import bigger_world

from rag_ft.adapting.plan import AdaptPlan, Speed, chosen_records, fit
from rag_ft.adapting.sides import Sides


@pytest.fixture(scope="module")
def sides():
    _, questions = bigger_world(40)
    return Sides(tuple(questions[:180]), tuple(questions[180:220]), tuple(questions[220:]))


def planned(sides, minutes, spent=0.0, speed=None, tokens=60_000):
    return fit(sides, 180, tokens, 8_000, speed or Speed(300.0, 0.5), minutes, spent, 10**9)


def seconds(plan):
    return plan.train_seconds + plan.judge_seconds


def test_with_time_enough_all_is_trained_three_times_and_judged(sides):
    plan = planned(sides, 60)
    assert (plan.train, plan.left_out, plan.epochs, plan.judge) == (180, 0, 3.0, 100) and not plan.over
    assert seconds(plan) <= 3600


@pytest.mark.parametrize("minutes", [4, 6, 8, 10, 15, 20, 30])
def test_the_plan_stays_within_the_time_or_says_that_it_cannot(sides, minutes):
    plan = planned(sides, minutes)
    assert seconds(plan) <= 60 * minutes + 2 or plan.over
    assert plan.train >= 40 and plan.judge >= 40 and plan.epochs >= 1
    assert plan.over == any("are too few" in line for line in plan.lines())


def test_more_time_never_means_less_training(sides):
    trained = [plan.train * plan.epochs for plan in (planned(sides, minutes) for minutes in range(2, 40))]
    assert trained == sorted(trained)


def test_what_is_spent_is_no_longer_there(sides):
    assert planned(sides, 12, spent=300).train_seconds < planned(sides, 12).train_seconds


def test_records_are_left_out_before_an_epoch_is_cut_and_that_is_told(sides):
    plan = planned(sides, 9, tokens=200_000)
    assert plan.epochs == 1 and 40 <= plan.train < 180
    assert any(line.startswith(f"{plan.left_out} records are left out") for line in plan.lines())
    chosen = chosen_records(sides.train, plan, 0)
    assert len(chosen) == plan.train and chosen == chosen_records(sides.train, plan, 0)
    assert chosen == [record for record in sides.train if record in chosen] and chosen != list(
        sides.train[: plan.train]
    )


def test_the_plan_to_train_nothing_says_why():
    plan = AdaptPlan.nothing("Too few.", 30)
    assert plan.lines() == ["nothing is trained, because tuning could not be judged. Too few."]
