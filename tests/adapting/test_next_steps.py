from readers_of_records import half, other_half, right, wrong

from rag_ft.adapting.judge import BEFORE, TUNED
from rag_ft.adapting.next_steps import documents_without_records, passages_to_mend, records_to_look_at


def made(record):
    return record.model_copy(update={"origin": "made"})


def test_the_passages_that_most_questions_miss_come_first(compare):
    index = compare({TUNED: right, BEFORE: right}).index
    names = [passage.id for passage in index.passages()]
    mend = passages_to_mend({names[0]: 1, names[1]: 4, "gone.txt#0-9": 7}, index)
    assert [(passage.passage_id, passage.questions) for passage in mend] == [(names[1], 4), (names[0], 1)]
    assert mend[0].beginning.startswith("Tower01 is 107 metres high.")


def test_twenty_records_are_chosen_of_those_that_no_person_wrote(compare):
    compared = compare({TUNED: half, BEFORE: other_half}, made)
    picks = records_to_look_at(compared.replies, compared.questions, compared.results.settings, compared.index)
    assert len(picks) == 20 and all(pick.question.origin == "made" for pick in picks)
    assert any("adapters differ" in reason for pick in picks for reason in pick.reasons)


def test_what_people_wrote_is_not_given_to_them_again(compare):
    compared = compare({TUNED: half, BEFORE: wrong})
    assert not records_to_look_at(compared.replies, compared.questions, compared.results.settings, compared.index)


def test_documents_that_nobody_asked_about_are_named(compare):
    compared = compare({TUNED: right, BEFORE: right})
    asked = [record for record in compared.questions.values() if "Tower03" not in record.id]
    assert documents_without_records(asked, compared.index) == ["Tower03.txt"]
