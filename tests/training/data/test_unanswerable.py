import pytest
from fakes import HashingEmbedder

from rag_ft.indexing.index import Index
from rag_ft.questions.records import check_evidence
from rag_ft.questions.split import split_by_document
from rag_ft.schema import Document, Evidence, Question
from rag_ft.training.data.unanswerable import UnanswerableConfig, make_unanswerable

TEXT = (
    "The Holland Tunnel under the river opened in 1927. Its oldest engine is in the museum of Boston. The Lincoln"
    " Tunnel under the river opened in 1937. In Boston the guild keeps the drawings, in Oslo the ledgers."
)


def record(name, question, answer, text=TEXT, **fields):
    start = text.index(answer)
    evidence = Evidence(document_id="d", start=start, end=start + len(answer), quote=answer)
    return Question(id=name, question=question, answers=(answer,), evidence=(evidence,), **fields)


@pytest.fixture
def made(tmp_path):
    def make(questions, *texts, **config):
        documents = [
            Document(id="d", text=TEXT),
            *(Document(id=f"other-{i}", text=text) for i, text in enumerate(texts)),
        ]
        index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder(), progress=False)
        return make_unanswerable(questions, index, UnanswerableConfig(**{"most": 10, **config}))

    return make


def test_a_made_record_names_its_source_and_keeps_its_evidence(made):
    source = record("a", "What opened under the river in 1927?", "The Holland Tunnel")
    (new,) = made([source]).records
    assert (new.answerable, new.answers, new.origin, new.made_from) == (False, (), "made", "a")
    assert new.id == "a-swapped-number" and new.tags == ("swapped number",) and new.evidence == source.evidence
    assert new.question.startswith("What opened under the river in 19") and "1927" not in new.question
    assert check_evidence([new], [Document(id="d", text=TEXT)]) == []


def test_a_question_that_the_index_still_answers_is_left_out_and_counted(made):
    source = record("a", "What is the oldest engine in the museum?", "Boston")
    assert made([source]).records[0].question == "What is the youngest engine in the museum?"
    again = made([source], "In the museum stands the youngest engine, too.")
    assert again.records == () and again.left_out == {"changed questions may still be answered (opposite)": 1}


def test_what_answers_is_found_by_words_even_where_vectors_miss_it(made):
    noise = [f"Note {i}: oldest engine museum." for i in range(60)]
    source = record("a", "What is the oldest engine in the museum?", "Boston")
    assert made([source], *noise, "The museum shows the youngest of them, an engine.", k=1).records == ()


def test_two_sentences_that_hold_a_part_of_the_question_are_enough_to_leave_it_out(made):
    source = record("a", "Which is the oldest engine with brass valves from the shipyard of Lisbon?", "Boston")
    known = "Brass is heavy. Valves leak. The shipyard is closed. Lisbon is far."
    assert made([source], known).records[0].tags == ("opposite",)
    assert made([source], known, "The youngest of all. It is an engine with brass in it.").records == ()
    far = "The youngest of all. Nothing else. Not here either. It is an engine with brass in it."
    assert len(made([source], known, far).records) == 1


def test_a_near_miss_is_left_out_where_its_form_stands_beside_the_words(made):
    source = record("a", "When did the Holland Tunnel below the river open?", "1927")
    asked = {made([source], seed=seed).records[0].question.split(" did")[0] for seed in range(4)}
    assert asked == {"On what day of the week"}  # where it is, the text says: under the river of Boston
    assert made([source], "The Holland Tunnel below the river opened on a Monday.").records == ()


def test_yes_or_no_others_asked_and_nothing_to_exchange_are_counted(made):
    found = made(
        [
            record("a", "Is it in the museum of Boston since 1927?", "Boston", kind="part", yes=True),
            record("b", "Besides 1937, what year is named?", "1927"),
            record("c", "what is kept?", "ledgers"),
        ]
    )
    assert found.records == () and sum(found.left_out.values()) == 3 and len(found.left_out) == 3
    assert found.lines()[0] == "made      0 records"


def test_a_changed_question_that_is_asked_already_is_left_out(made):
    source = record("a", "Which engine is the oldest of all?", "Boston")
    other = Question(id="b", question="Which engine is the youngest of all?", answerable=False)
    assert made([source, other]).left_out == {"changed questions repeat another one": 1}


def some_records():
    return [
        record("a", "What opened under the river in 1927?", "The Holland Tunnel"),
        record("b", "Where is the oldest engine of the tunnel?", "Boston"),
        record("c", "What is kept by the guild in Oslo?", "ledgers"),
        record("d", "When was the Lincoln Tunnel opened?", "1937"),
    ]


def test_a_seed_gives_the_same_records_in_the_order_of_their_sources(made):
    first = made(some_records(), seed=3).records
    assert len(first) >= 3 and first == made(some_records(), seed=3).records
    assert [record.made_from for record in first] == sorted(record.made_from for record in first)
    assert {record.question for record in first} != {record.question for record in made(some_records(), seed=4).records}


def test_one_in_three_by_default_and_a_split_keeps_pairs_together(made):
    sources = some_records()
    assert len(made(sources, most=None).records) == 1
    records = made(sources).records
    elsewhere = Evidence(document_id="other-0", start=0, end=1, quote="A")
    others = [Question(id=f"e{i}", question="Who?", answers=("A",), evidence=(elsewhere,)) for i in range(3)]
    split = split_by_document([*sources, *records, *others], 0.3, seed=0)
    sides = [{question.id for question in side} for side in split]
    assert all(any({record.id, record.made_from} <= side for side in sides) for record in records)


def test_an_id_that_is_taken_gets_an_addition(made):
    source = record("a", "What opened under the river in 1927?", "The Holland Tunnel")
    taken = record("a-swapped-number", "what is kept?", "ledgers")
    assert made([source, taken]).records[0].id == "a-swapped-number-made"


def test_a_follow_up_keeps_its_history(made):
    source = record("a", "And which is the oldest engine?", "Boston", history=("What is in the museum?",))
    assert made([source]).records[0].history == source.history


def test_the_name_of_another_document_that_answers_as_well_is_not_taken(world):
    index, questions = world
    made = make_unanswerable(questions, index, UnanswerableConfig(most=100))
    # The tower of each city has a height and a year in which it was built, but no day, and none was destroyed.
    assert {record.tags[0] for record in made.records} == {"near miss", "opposite"} and made.left_out
