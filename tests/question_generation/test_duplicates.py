from hypothesis import given
from hypothesis import strategies as st

from rag_ft.question_generation.duplicates import AskedBefore, are_near, asked_question, without_near_duplicates
from rag_ft.schema import Evidence, Question

WORDS = "tower bridge Oslo Lima high built year open night guild harbour library how when is the of was".split()


def record(name, question, start=0, end=10, document="d"):
    evidence = Evidence(document_id=document, start=start, end=end, quote="q" * (end - start))
    return Question(id=name, question=question, answers=("q",), evidence=(evidence,), origin="made")


def asked(question, start=0, end=10, document="d"):
    return asked_question(question, record("x", question, start, end, document).evidence[0])


def test_case_order_and_little_words_make_no_difference():
    first = asked("How high is the tower of Oslo?")
    assert are_near(first, asked("the tower of OSLO, how high is it", 50, 60, "other"))
    assert not are_near(first, asked("How high is the tower of Lima?", 50, 60))


def test_the_same_evidence_needs_fewer_words_in_common():
    first = asked("When was the tower of Oslo built?")
    assert are_near(first, asked("When was the tower of Oslo founded?"))
    assert not are_near(first, asked("When was the tower of Oslo founded?", 20, 30))
    assert not are_near(first, asked("Which guild of masons owned a bridge?"))


def test_looking_whether_a_question_was_asked_does_not_ask_it():
    before, evidence = AskedBefore(), record("x", "How high is the tower?").evidence[0]
    assert not before.is_near("How high is the tower?", evidence)
    assert before.add("How high is the tower?", evidence) and before.is_near("How high is the tower?", evidence)


questions = st.lists(
    st.tuples(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), st.integers(0, 30), st.integers(1, 20)),
    max_size=14,
).map(
    lambda drawn: [
        record(str(i), " ".join(words), start, start + length) for i, (words, start, length) in enumerate(drawn)
    ]
)


@given(questions)
def test_nothing_near_is_kept_and_nothing_more_is_left_out_the_second_time(records):
    kept = without_near_duplicates(records)
    compared = [asked_question(record.question, record.evidence[0]) for record in kept]
    assert not any(are_near(first, second) for i, first in enumerate(compared) for second in compared[:i])
    assert without_near_duplicates(kept) == kept


@given(questions)
def test_what_is_left_out_is_near_something_kept_before_it(records):
    kept = without_near_duplicates(records)
    for left_out in records:
        if left_out not in kept:
            new = asked_question(left_out.question, left_out.evidence[0])
            earlier = [record for record in kept if int(record.id) < int(left_out.id)]
            assert any(are_near(new, asked_question(record.question, record.evidence[0])) for record in earlier)


@given(questions)
def test_near_is_mutual(records):
    compared = [asked_question(record.question, record.evidence[0]) for record in records]
    assert all(are_near(a, b) == are_near(b, a) for a in compared for b in compared)
