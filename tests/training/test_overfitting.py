import re
import types

import pytest
from data import little_world

from rag_ft.schema import Passage
from rag_ft.training.data.examples import Example
from rag_ft.training.overfitting import FIXES, Memorisation, diagnose, probe_memory, with_swapped_gold


def _history(train, held_out):
    every = len(train) // len(held_out)
    records = [{"step": step, "loss": loss} for step, loss in enumerate(train, 1)]
    return records + [{"step": (n + 1) * every, "eval_loss": loss} for n, loss in enumerate(held_out)]


def test_a_held_out_loss_that_turns_is_overfitting_and_names_the_step_that_was_kept():
    verdict = diagnose(_history([1 / n for n in range(1, 41)], [1.0, 0.6, 0.8, 1.2]))
    assert verdict.outcome == "overfitting"
    assert verdict.best_step == 20 and "step 20" in verdict.sentence
    assert verdict.fixes == FIXES


def test_the_verdict_names_the_adapter_that_was_kept_and_not_always_that_of_the_lowest_loss():
    verdict = diagnose(_history([1 / n for n in range(1, 41)], [1.0, 0.6, 0.8, 1.2]), kept=40)
    assert "lowest at step 20" in verdict.sentence and "the adapter of step 40 was kept" in verdict.sentence
    assert not any("step" in fix for fix in verdict.fixes)


def test_a_loss_that_settles_is_healthy_and_one_that_falls_is_still_learning():
    assert diagnose(_history([1 / n for n in range(1, 41)], [1.0, 0.6, 0.55, 0.55])).outcome == "healthy"
    assert diagnose(_history([1 / n for n in range(1, 41)], [1.0, 0.8, 0.7, 0.6])).outcome == "still learning"


def test_reciting_is_overfitting_even_where_the_loss_has_not_turned():
    memory = Memorisation(questions=40, recited=0.8, followed=0.3, remembered=0.6, swapped=30)
    verdict = diagnose(_history([1 / n for n in range(1, 41)], [1.0, 0.6, 0.55, 0.55]), memory)
    assert verdict.outcome == "overfitting"
    assert any("recites the answers of 80% of 40 training questions" in line for line in verdict.lines())


def test_one_measurement_is_no_verdict():
    assert diagnose([{"step": 1, "loss": 1.0}, {"step": 1, "eval_loss": 1.0}]).outcome == "unmeasured"


def test_a_swap_changes_the_gold_passage_alone_and_keeps_the_type():
    texts = ("Built in 1903 by Ann.", "Lima was founded in 1535.")
    passages = tuple(
        Passage(id=f"d#{n}", document_id="d", text=text, start=0, end=len(text)) for n, text in enumerate(texts)
    )
    example = Example("r", "When was it built?", passages, "1903", (1,))
    changed, answer = with_swapped_gold(example, ["Ann", "1903", "1950"])
    assert answer == "1950" and changed.answer == "1950"
    assert [passage.text for passage in changed.passages] == ["Built in 1950 by Ann.", texts[1]]
    assert with_swapped_gold(example, ["Ann"]) is None
    assert with_swapped_gold(example._replace(answer=None), ["1950"]) is None


@pytest.mark.slow
def test_a_run_made_to_overfit_is_told_from_a_healthy_one(tmp_path, tiny_llama_dir, world):
    """A tiny model learns a few answers by heart: the held-out loss turns and the verdict says so."""
    from rag_ft.training.data.examples import ExampleConfig
    from rag_ft.training.lora import AdapterConfig
    from rag_ft.training.run import train_reader
    from rag_ft.training.steps.config import TrainConfig

    index, questions = world
    assert len(little_world()[1]) == len(questions)
    verdicts = {}
    for name, epochs, rate in (("overfit", 60, 1e-2), ("short", 2, 5e-3)):
        config = TrainConfig(bits=32, epochs=epochs, learning_rate=rate, rows_per_step=1)
        verdicts[name] = train_reader(
            questions,
            index,
            tmp_path / name,
            reader=str(tiny_llama_dir),
            examples=ExampleConfig(held_out=0.4),
            lora=AdapterConfig(rank=16),
            training=config,
            compare=False,
        ).verdict
    assert verdicts["overfit"].outcome == "overfitting" and verdicts["overfit"].fixes
    assert verdicts["short"].outcome in ("healthy", "still learning") and not verdicts["short"].fixes


class _FakeReader:
    """Gives fixed answers, so the probe's counting can be checked."""

    def __init__(self, answers, from_passage):
        self._answers = answers
        self._from_passage = from_passage

    def closed_book(self, questions, must_answer):
        assert must_answer
        return [
            types.SimpleNamespace(answer=None if self._from_passage else self._answers[question])
            for question in questions
        ]

    def read_batch(self, requests):
        return [
            types.SimpleNamespace(
                answer=re.search(r"is (\S+) metres", request.passages[0].text).group(1)
                if self._from_passage
                else self._answers[request.question]
            )
            for request in requests
        ]


@pytest.mark.parametrize(("from_passage", "shares"), [(True, (0, 1, 0)), (False, (1, 0, 1))])
def test_the_memory_probe_tells_a_reader_of_passages_from_one_that_recites(from_passage, shares):
    examples, answers = [], {}
    for town, metres in enumerate((120, 87, 45, 300)):
        text = f"The tower of town {town} is {metres} metres high."
        passage = Passage(id=str(town), document_id=str(town), text=text, start=0, end=len(text))
        question = f"How high is the tower of town {town}?"
        examples.append(Example(str(town), question, (passage,), str(metres), (1,)))
        answers[question] = str(metres)
    memory = probe_memory(_FakeReader(answers, from_passage), examples)
    assert (memory.questions, memory.swapped) == (4, 4)
    assert (memory.recited, memory.followed, memory.remembered) == shares
