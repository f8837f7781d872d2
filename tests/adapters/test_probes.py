import pytest
from tiny_adapters import REQUESTS, fresh, make_adapter

from rag_ft.adapters.probes import difference, handbook_probes, observe, retrieved_probes
from rag_ft.environment import handbook_path
from rag_ft.indexing.corpus import read_corpus


def test_a_reader_differs_from_itself_in_nothing_and_from_another_in_something(tiny_llama_dir, tmp_path):
    # An adapter whose completions differ from the base's; those of some other seeds do not.
    reader = fresh(tiny_llama_dir, make_adapter(tmp_path / "a", tiny_llama_dir, 2), threshold=0.0)
    tuned = observe(reader, REQUESTS)
    same = difference(tuned, observe(reader, REQUESTS, tuned))
    assert (same.probes, same.identical) == (4, 4)
    assert same.largest_logit == same.mean_logit == 0.0
    untuned = observe(reader.with_adapter("none"), REQUESTS, tuned)
    assert untuned.answers == tuned.answers  # logits along the same tokens
    other = difference(tuned, untuned)
    assert other.largest_logit > other.mean_logit > 0 and other.identical < 4


def test_logits_stand_where_a_completion_is_decided(tiny_llama_dir, tmp_path):
    import torch

    reader = fresh(tiny_llama_dir, make_adapter(tmp_path / "a", tiny_llama_dir, 1))
    question, passages = REQUESTS[0][:2]
    prompt = reader.prompts.build(question, passages[:1], reader.budget)
    completion = reader.prompts.completion_ids("fox", (1,))
    with torch.inference_mode():
        plain = reader.loaded.model(torch.tensor([[*prompt.ids, *completion]])).logits[0, len(prompt.ids) - 1 :]
    torch.testing.assert_close(reader.logits(question, passages[:1], "fox"), plain, rtol=0, atol=1e-3)


def test_the_handbooks_probes_hold_their_evidence():
    probes = handbook_probes(5)
    texts = {document.id: document.text for document in read_corpus(handbook_path())}
    assert len(probes) == 5 and len({probe.question for probe in probes}) == 5
    for probe in probes:
        (passage,) = probe.passages
        assert texts[passage.document_id][passage.start : passage.end] == passage.text
    assert len(handbook_probes(10_000)) < 10_000


def test_probes_of_your_own_come_from_your_index(tmp_path):
    from data import little_world
    from fakes import HashingEmbedder

    from rag_ft.indexing.index import Index

    documents, questions = little_world(3)
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder())
    probes = retrieved_probes(questions, index, count=4)
    assert len(probes) == 4 and {len(probe.passages) for probe in probes} == {1}
    assert len(retrieved_probes(questions, index)) == len(questions)


@pytest.mark.parametrize("answer", [None, "fox"])
def test_logits_have_a_row_for_each_token(tiny_llama_dir, answer):
    reader = fresh(tiny_llama_dir, None, shots=False)
    completion = reader.prompts.completion_ids(answer, () if answer is None else (1,))
    assert len(reader.logits(*REQUESTS[0][:2], answer)) == len(completion) + 1
