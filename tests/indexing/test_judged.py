from fakes import HashingEmbedder

from rag_ft.indexing.index import Index
from rag_ft.indexing.judged import at_evidence
from rag_ft.schema import Document, Evidence, Question

TEXT = "The crane lifts 42 tonnes."


def asked(document):
    evidence = (Evidence(document_id=document, start=0, end=len(TEXT), quote=TEXT),)
    return Question(id="q", question="How much?", answers=(TEXT,), evidence=evidence, kind="part")


def test_a_copy_is_judged_at_the_place_that_the_evidence_names(tmp_path):
    documents = [Document(id=name, text=TEXT) for name in ("a.txt", "b.txt")]
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder())
    (hit,) = index.search("How much does the crane lift?", k=3)
    (other,) = {"a.txt", "b.txt"} - {hit.passage.document_id}
    assert len(hit.also_in) == 1
    moved = at_evidence(hit, asked(other), index)
    assert moved.passage.document_id == other and moved.rank == hit.rank
    assert at_evidence(hit, asked(hit.passage.document_id), index) == hit
    assert at_evidence(hit, asked("c.txt"), index) == hit
    assert at_evidence(hit, asked(other), object()) == hit
