from pathlib import Path

import pytest
from readers_of_records import OUT, decided, half, right, wrong

from rag_ft.adapting.judge import BEFORE, BEFORE_HERE, PROMPTED, TUNED
from rag_ft.adapting.verdict import Advised, ask_command, undecided


def test_a_better_reader_is_chosen(compare):
    verdict = decided(compare({TUNED: right, BEFORE: wrong, PROMPTED: half}))
    assert verdict.outcome == "worth it" and verdict.worth_it and verdict.chosen == "adapted/adapter"
    assert verdict.difference == 1 and verdict.interval[0] > 0
    assert verdict.command == "rag-ft ask QUESTION --index adapted/index --adapter adapted/adapter"
    assert "all of it is above zero" in verdict.sentences[1]
    assert any("prompting the untuned base model" in sentence for sentence in verdict.sentences)


def nearly_half(record):
    """A little worse than `half`: wrong on three more records, right on two more."""
    odd = sum(record.id.encode()) % 2
    changed = record.id.startswith("Tower00" if odd else "Tower01") and record.id[-1] in ("012345" if odd else "0123")
    return (wrong(record) if odd else right(record)) if changed else half(record)


@pytest.mark.parametrize(
    ("tuned", "before", "headline"),
    [
        (half, nearly_half, "Tuning was not shown to be worth it: the packaged reader stays."),
        (right, right, "Tuning was not shown to be worth it: the packaged reader stays."),
        (wrong, right, "Tuning made the answers worse: the packaged reader stays."),
    ],
)
def test_without_an_interval_above_zero_the_reader_before_stays(compare, tuned, before, headline):
    verdict = decided(compare({TUNED: tuned, BEFORE: before}))
    assert verdict.headline == headline and verdict.outcome == "not worth it" and not verdict.worth_it
    assert verdict.chosen == "packaged" and verdict.command == "rag-ft ask QUESTION --index adapted/index"
    assert verdict.interval[0] <= 0 <= verdict.difference or verdict.interval[1] < 0


def test_another_reader_to_start_from_stays_under_its_own_name(compare):
    verdict = decided(compare({TUNED: half, BEFORE: right}), start="adapters/mine")
    assert verdict.headline.endswith("the reader adapters/mine stays.")
    assert verdict.command.endswith("--adapter adapters/mine")


def test_records_of_a_program_are_told_as_such_and_apart(compare):
    made = decided(compare({TUNED: right, BEFORE: wrong}, lambda record: record.model_copy(update={"origin": "made"})))
    assert made.origins == {"made": 96}
    assert any(sentence.startswith("A program made all of the questions") for sentence in made.sentences)


def test_records_of_people_and_of_a_program_are_judged_apart_too(compare):
    def some_made(record):
        return record.model_copy(update={"origin": "made"}) if record.id.endswith(("1", "sold")) else record

    verdict = decided(compare({TUNED: half, BEFORE: wrong}, some_made))
    assert verdict.origins == {"human": 72, "made": 24}
    told = [sentence for sentence in verdict.sentences if "alone, the difference is" in sentence]
    assert [sentence.split(" alone")[0] for sentence in told] == ["On the 72 by people", "On the 24 made by a program"]


def test_where_the_passages_lack_the_evidence_retrieval_is_the_lever(compare):
    compared = compare({TUNED: half, BEFORE: wrong})
    assert "is what to work on" in decided(compared, not_retrieved=60).next_steps[0]
    assert "the others are the reader's" in decided(compared, not_retrieved=3).next_steps[0]
    assert "had their evidence among the passages" in decided(compared, not_retrieved=0).next_steps[0]


def test_a_better_threshold_is_told_from_tuning(compare):
    verdict = decided(compare({TUNED: half, BEFORE: wrong, BEFORE_HERE: right}))
    assert any("what tuning does beyond a better threshold" in sentence for sentence in verdict.sentences)


def test_readers_that_all_fail_decide_nothing(compare):
    def fails(record):
        raise RuntimeError("out of memory")

    verdict = decided(compare({TUNED: fails, BEFORE: right}))
    assert verdict.outcome == "cannot be told" and verdict.difference is None and verdict.chosen == "packaged"
    assert "out of memory" in verdict.sentences[0]


def test_what_to_do_next_names_files_and_documents():
    advised = Advised((), (("q1", "Why?", ("near",)),), OUT / "label.jsonl", ("a.md", "b.md"))
    verdict = undecided("Too few.", {"questions": 3, "origins": {}}, advised, OUT, "packaged", "default")
    steps = "\n".join(verdict.next_steps)
    assert "rag-ft data review adapted/label.jsonl --index adapted/index" in steps
    assert "No record is about a.md, b.md" in steps
    assert "rag-ft train adapted/questions.jsonl --index adapted/index --start-from packaged" in steps


def test_a_path_with_spaces_is_quoted():
    assert ask_command(Path("my docs"), "packaged", "default", True) == (
        "rag-ft ask QUESTION --index 'my docs/index' --adapter 'my docs/adapter'"
    )
