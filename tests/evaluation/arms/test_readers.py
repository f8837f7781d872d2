import pytest
from data import little_world
from fakes import HashingEmbedder

from rag_ft.answering.reading import Cited, Reading
from rag_ft.evaluation.arms.build import build_arms
from rag_ft.evaluation.recipe import Recipe
from rag_ft.evaluation.runner import retrieve_cases
from rag_ft.indexing.index import Index
from rag_ft.schema import Document, Hit, Question
from rag_ft.text.spans import Span

STEPS = "Before you lift:\n\n" + "\n".join(f"{number}. Check rope {number}, by daylight." for number in range(1, 60))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    documents = [*little_world()[0], Document(id="steps.md", text=STEPS)]
    return Index.build(documents, tmp_path_factory.mktemp("world") / "index", embedder=HashingEmbedder())


def arms(index, folder):
    """A reader's arm with the words that the reader chose, and one with whole sentences."""
    reads = {"kind": "reader", "adapter": "none", "threshold": 0.0}
    arm = [reads | {"name": "words"}, reads | {"name": "sentences", "whole_sentences": True}]
    fields = {"title": "t", "questions": "q", "documents": "d", "primary": {"first": "words", "second": "sentences"}}
    return build_arms(Recipe.model_validate({**fields, "arm": arm}), index, str(folder))


def test_whole_sentences_are_given_to_the_questions_that_ask_for_them_by_the_arm_that_is_set_so(index, tiny_llama_dir):
    questions = [
        Question(id=name, question=text, answers=("a",))
        for name, text in (("why", "Why was the tower of Oslo built?"), ("when", "When was the tower of Oslo built?"))
    ]
    cases = retrieve_cases(questions, index.as_retriever(k=3))
    words, sentences = (arm.reply(cases) for arm in arms(index, tiny_llama_dir))
    assert [reply.kind for reply in words] == ["span", "span"]
    assert [reply.kind for reply in sentences] == ["part", "span"]
    assert sentences[1].answer == words[1].answer
    assert words[0].answer in sentences[0].answer and sentences[0].answer.endswith(".")
    assert sentences[0].confidence == words[0].confidence


def test_settings_name_whole_sentences_only_where_they_are_given(index, tiny_llama_dir):
    """Runs that were made before there was this setting have the same fingerprint."""
    words, sentences = (dict(arm.settings) for arm in arms(index, tiny_llama_dir))
    assert "whole sentences" not in words
    assert sentences == words | {"whole sentences": True}


def test_a_list_is_followed_to_its_end_only_by_the_arm_with_whole_sentences(index, tiny_llama_dir, monkeypatch):
    passage = index.passages_of("steps.md")[0]
    assert passage.end < len(STEPS)
    part = Cited(passage, Span(0, len(passage.text)))
    read = Reading(
        passage.text, "part", None, (part,), 0.9, 0.9, 0.9, False, True, "", read=(True,), prompt_tokens=9,
        completion_tokens=9,
    )  # fmt: skip
    asked = Question(id="steps", question="How do I lift?", answers=("a",))
    case = retrieve_cases([asked], index.as_retriever(k=1))[0]._replace(hits=(Hit(passage=passage, score=1, rank=1),))
    words, sentences = arms(index, tiny_llama_dir)
    for arm in (words, sentences):
        monkeypatch.setattr(arm.reader, "read_batch", lambda requests: [read])
    assert words.reply([case])[0].answer == passage.text
    followed = sentences.reply([case])[0]
    assert followed.answer == STEPS
    assert (followed.citations[0].start, followed.citations[0].end) == (0, len(STEPS))
