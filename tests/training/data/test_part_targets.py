import pytest
from fakes import HashingEmbedder

from rag_ft.indexing.chunking import ChunkingConfig
from rag_ft.indexing.index import Index
from rag_ft.schema import Document, Evidence, Question
from rag_ft.training.data.certificate import fingerprint_examples
from rag_ft.training.data.examples import ExampleConfig, make_examples

TEXT = (
    "The gate stands at the north quay and is painted green every spring.\n\nTo open the gate, turn the key twice."
    " Wait for the lamp. The gate does not open in a storm.\n\nThe lamp is checked on Mondays by the harbour master."
)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    documents = [Document(id="gate.md", text=TEXT), Document(id="crane.md", text="The crane lifts. " * 12)]
    folder = tmp_path_factory.mktemp("parts")
    chunking = ChunkingConfig(max_tokens=40)
    return Index.build(documents, folder, embedder=HashingEmbedder(), chunking=chunking, progress=False)


def record(quote, **fields):
    start = TEXT.index(quote)
    evidence = Evidence(document_id="gate.md", start=start, end=start + len(quote), quote=quote)
    return Question(id="q", question="How?", answers=(quote,), evidence=(evidence,), kind="part", **fields)


def test_the_target_is_the_units_that_the_evidence_covers_and_names_them(index):
    asked = record("To open the gate, turn the key twice. Wait for the lamp.")
    example, *negatives = make_examples([asked], index, ExampleConfig(negatives=2.0)).examples
    assert example.answer == "To open the gate, turn the key twice. Wait for the lamp."
    assert example.leads == ("To open the gate,", "Wait for the lamp.") and example.yes is None
    assert all(negative.answer is None and not negative.leads for negative in negatives)
    assert not any("turn the key" in passage.text for negative in negatives for passage in negative.passages)


@pytest.mark.parametrize("yes", [True, False])
def test_yes_or_no_stands_with_the_part_that_shows_it(index, yes):
    example, *_ = make_examples(
        [record("The gate does not open in a storm.", yes=yes)], index, ExampleConfig()
    ).examples
    assert example.leads == ("The gate does not",) and example.yes is yes


def test_a_part_that_runs_over_the_end_of_a_passage_teaches_what_the_passage_holds(index):
    example, *_ = make_examples([record(TEXT[70:])], index, ExampleConfig()).examples
    assert example.answer in example.passages[0].text and example.answer in TEXT


def test_evidence_that_covers_no_unit_gives_no_example(index):
    with pytest.raises(Exception, match="no accepted answer stands in its evidence"):
        make_examples([record("gate")], index, ExampleConfig())


def test_the_fingerprint_of_examples_knows_the_polarity(index):
    made = [
        make_examples([record("The gate does not open in a storm.", yes=yes)], index, ExampleConfig())
        for yes in (None, True, False)
    ]
    assert len({fingerprint_examples(examples) for examples in made}) == 3
