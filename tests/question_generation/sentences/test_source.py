import pytest
from tiny_reader import passage

from rag_ft.question_generation.sentences.source import SentenceQuestions
from rag_ft.question_generation.source import WriteRequest, WrittenQuestion

TEXT = (
    "Adapters\n\nAn adapter is a small set of weights beside a model. An adapter can be merged into a base by a tool."
    " To list installed adapters, run:\n\nrag-ft adapter list\n\nThe default rank of PEFT is 8, which is small."
)


def source_of(text, headings=("Adapters and packages",), **changes):
    asked = passage(text).model_copy(update={"headings": headings, **changes})
    return SentenceQuestions([asked]), asked


def asked(source, of, kind, attempt=0):
    (written,) = source.write([WriteRequest(of, kind, 0, attempt)])
    return written


def answer(of, written):
    return of.text[written.span.start : written.span.end]


def test_each_question_is_answered_by_the_words_that_it_came_from():
    source, of = source_of(TEXT)
    assert source.gives(of) == {"what": 1, "whether": 1, "how": 1, "fact": 1}
    what, whether, how, fact = (asked(source, of, kind) for kind in ("what", "whether", "how", "fact"))
    assert (what.question, answer(of, what)) == (
        "What is an adapter?",
        "An adapter is a small set of weights beside a model.",
    )
    assert (whether.question, whether.kind, whether.yes) == (
        "Can an adapter be merged into a base by a tool?",
        "part",
        True,
    )
    assert how.question == "How do I list installed adapters?"
    assert answer(of, how) == "To list installed adapters, run:\n\nrag-ft adapter list"  # with what it introduces
    assert (fact.kind, fact.yes, answer(of, fact)) == ("span", None, "8")
    assert all(each.logprob == 0 for each in (what, whether, how, fact))


def test_what_no_sentence_answers_is_said():
    source, of = source_of(TEXT)
    assert asked(source, of, "why") == asked(source, of, "how", attempt=1) == "no further sentence answers it"


def test_the_second_attempt_gives_the_second_question():
    source, of = source_of("You cannot remove a package twice. You cannot rename a package by hand.")
    first, second = (asked(source, of, "whether", attempt) for attempt in (0, 1))
    assert isinstance(second, WrittenQuestion) and first.question != second.question
    assert "rename" in second.question and second.yes is False


@pytest.mark.parametrize("items", [2, 5])
def test_a_list_belongs_to_the_sentence_that_introduces_it(items):
    steps = "\n".join(f"{i}. Press button {i} of the machine." for i in range(1, items + 1))
    source, of = source_of(f"To start PostgreSQL, do this:\n\n{steps}\n\nIt is done.")
    assert answer(of, asked(source, of, "how")).endswith(f"Press button {items} of the machine.")


def test_a_list_longer_than_a_part_and_nothing_to_introduce_give_no_question():
    steps = "\n".join(f"{i}. Press button {i} of the machine." for i in range(1, 9))
    for text in (f"To start PostgreSQL, do this:\n\n{steps}", "To start PostgreSQL, do this:"):
        source, of = source_of(text)
        assert source.gives(of) == {}


def test_the_first_of_numbered_steps_is_answered_by_all_of_them():
    source, of = source_of("1. To add a package, open the window of packages.\n2. Click Add.\n3. Close it.")
    assert answer(of, asked(source, of, "how")).endswith("3. Close it.")
    source, of = source_of("1. Open a window.\n2. To add a package, open the window of packages.")
    assert source.gives(of) == {}


def test_a_command_after_a_sentence_belongs_to_it():
    source, of = source_of("To list packages, use the command of Linux.\n\n$ packages --all\n\nIt is quick.")
    assert answer(of, asked(source, of, "how")).endswith("$ packages --all")


def test_code_belongs_to_its_sentence_to_the_end():
    code = "socket=/tmp/a.\ncurl --socket $socket\n  --data x"
    source, of = source_of(f"To load packages, run:\n\n{code}\n\nIt is quick.")
    assert answer(of, asked(source, of, "how")).endswith("--data x")


def test_items_of_several_sentences_give_no_list():
    text = "PostgreSQL has several benefits:\n\n- It is quick.\nIt is also small, and can be moved.\n- It is free."
    source, of = source_of(text)
    assert source.gives(of) == {}


def test_an_item_introduces_no_other_item():
    source, of = source_of("- To define a function, add a word before the body:\n- The word works in functions.")
    assert source.gives(of) == {}


def test_a_short_question_names_its_topic_or_stands_under_it():
    source, of = source_of("If large changes of documents are rejected, the server stops.")
    assert source.gives(of) == {}
    source, of = source_of("If changes are rejected, Linux stops.")
    assert source.gives(of) == {}
    source, of = source_of("If changes are rejected, Linux stops.", headings=("Rejected changes",))
    assert asked(source, of, "what").question == "What happens if changes are rejected?"


def test_words_that_answer_are_found_where_they_stand_alone():
    source, of = source_of("The default number of threads for 14 cores is 4.")
    fact = asked(source, of, "fact")
    assert answer(of, fact) == "4" and fact.span.end == len(of.text) - 1


def test_code_and_tables_give_nothing():
    source, of = source_of(TEXT, kind="code")
    assert source.gives(of) == {}


def test_a_term_is_said_as_a_whole_word():
    source, of = source_of("A port is a number of a process on a host. It supports transport.")
    assert source.gives(of)["what"] == 0
    source, of = source_of(
        "Schema Registry is a service that stores schemas of topics. Schema Registry is small. Use Schema Registry."
    )
    assert asked(source, of, "what").question == "What is Schema Registry?"


def test_a_long_document_is_read_once():
    one = passage("An adapter is a small set of weights beside a model. " * 7)
    pages = [one.model_copy(update={"id": f"a#{i}", "text": f"{one.text} {i}"}) for i in range(600)]
    source = SentenceQuestions(pages)
    assert all(source.gives(page)["what"] for page in pages)


def test_a_word_is_a_term_where_its_document_says_it_often():
    said_once = "An adapter is a small set of weights beside a model. A model is merged."
    source, of = source_of(said_once)
    assert source.gives(of)["what"] == 0
    heading, of = source_of(said_once, headings=("Adapter", "What an adapter is"))
    assert heading.gives(of)["what"] == 1


def test_an_option_of_one_command_is_asked_for_and_one_of_two_is_not():
    said = "--{0}: Shows what would be done by hand."
    first = passage(f"{said.format('dry-run')}\n\n{said.format('verbose')}")
    second = first.model_copy(update={"id": "b#0", "document_id": "b", "text": said.format("verbose")})
    source = SentenceQuestions([first, second])
    assert [asked(source, first, "what").question] == ["What does the --dry-run option do?"]
    assert source.gives(first) == {"what": 1} and source.gives(second) == {}


def test_equal_passages_give_equal_questions():
    first, of = source_of(TEXT)
    second, _ = source_of(TEXT)
    requests = [WriteRequest(of, kind, seed) for seed, kind in enumerate(("what", "how", "why"))]
    assert first.write(requests) == second.write(requests) and first.fingerprint == second.fingerprint
