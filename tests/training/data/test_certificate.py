from rag_ft.answering.prompt import PromptBuilder, TokenBudget
from rag_ft.questions.split import split_by_document
from rag_ft.training.data.certificate import certify
from rag_ft.training.data.collator import IGNORE_INDEX, encode, pack
from rag_ft.training.data.examples import ExampleConfig, make_examples


def _ready(tiny, world):
    index, questions = world
    split = split_by_document(questions, 0.2, 0)
    train, held_out = (make_examples(side, index, ExampleConfig()) for side in split)
    prompts = PromptBuilder(tiny.tokenizer, shots=False)
    encoded = encode(train.examples, prompts, TokenBudget(1024, 96))
    return train, held_out, encoded, pack(encoded, 500, 0), prompts


def test_a_sound_run_has_no_red_line(tiny, world):
    train, held_out, encoded, rows, prompts = _ready(tiny, world)
    certificate = certify(train, held_out, encoded, rows, prompts)
    assert certificate.red == ()
    assert certificate.examples == len(train.examples) == sum(len(row.records) for row in rows)
    assert 0 < certificate.labelled_min <= certificate.labelled_median <= certificate.labelled_max
    assert certificate.gold_surviving == 1.0
    assert certificate.tokens < certificate.tokens_apart
    assert any("end of turn labelled in all" in line for line in certificate.lines())


def _with_labels(rows, change):
    first = rows[0]
    return [first._replace(labels=change(first)), *rows[1:]]


def test_wrong_labels_are_red_lines_that_name_the_record(tiny, world):
    train, held_out, encoded, rows, prompts = _ready(tiny, world)
    end = prompts.end_of_turn_id

    def red(change):
        return certify(train, held_out, encoded, _with_labels(rows, change), prompts).red

    assert (
        "end-of-turn token is not labelled"
        in red(lambda row: [IGNORE_INDEX if label == end else label for label in row.labels])[0]
    )
    assert "no token is labelled" in red(lambda row: [IGNORE_INDEX] * len(row.labels))[0]
    whole = red(lambda row: list(row.input_ids))
    assert whole and whole[0].startswith(f"record {rows[0].records[0]}")
    other = red(
        lambda row: [label + 1 if label not in (IGNORE_INDEX, end) and label < 300 else label for label in row.labels]
    )
    assert other


def test_a_document_on_both_sides_is_a_red_line(tiny, world):
    train, _, encoded, rows, prompts = _ready(tiny, world)
    assert "both sides of the split" in certify(train, train, encoded, rows, prompts).red[0]


def test_only_null_targets_are_a_red_line(tiny, world):
    index, questions = world
    none = make_examples([question for question in questions if not question.answerable], index, ExampleConfig())
    prompts = PromptBuilder(tiny.tokenizer, shots=False)
    encoded = encode(none.examples, prompts, TokenBudget(1024, 96))
    _, held_out, *_ = _ready(tiny, world)
    certificate = certify(none, held_out, encoded, pack(encoded, 500, 0), prompts)
    assert any("every target is null" in line for line in certificate.red)


def test_origins_are_a_line_where_people_did_not_write_all_records(tiny, world):
    certificate = certify(*_ready(tiny, world))
    assert not any(line.startswith("origins") for line in certificate.lines())
    assert "origins" not in certificate.model_dump_json()
    mixed = certificate.model_copy(update={"origins": {"human": 8, "feedback": 2}, "held_out_origins": {"human": 3}})
    line = "origins         to train on: 8 by people, 2 from feedback; held out: 3 by people"
    assert line in mixed.lines()
