import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_cross_encoder import tiny_encoder, tiny_tokenizer

from rag_ft.models.cross_encoder import shown_start, shown_text
from rag_ft.models.cross_encoder_network import CrossEncoderNetwork, encode_pairs
from rag_ft.schema import Passage
from rag_ft.text.spans import Span
from rag_ft.training.cross_encoder.examples import PairExample
from rag_ft.training.cross_encoder.losses import evidence_labels, losses

TOKENIZER = tiny_tokenizer()
WORDS = st.text(st.sampled_from("ab ."), min_size=1, max_size=30).filter(str.strip)


def passage(text, title=""):
    return Passage(id=text[:9], document_id="d", text=text, start=0, end=len(text), title=title)


@given(question=WORDS, title=st.sampled_from(["", "Tea"]), text=WORDS, data=st.data())
@settings(max_examples=60)
def test_labels_cover_the_evidence_and_nothing_else(question, title, text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    read = passage(text, title)
    shift = shown_start(read)
    # Beside a longer pair, so that there is padding.
    tokens = encode_pairs(TOKENIZER, [(question, shown_text(read)), ("a" * 60, "b" * 60)])
    labels = evidence_labels(tokens, 0, Span(start + shift, end + shift))
    assert not labels[~tokens.in_passage[0]].any()
    covered = {
        i for first, last in tokens.offsets[0][labels.bool()].tolist() for i in range(first - shift, last - shift)
    }
    assert covered == {i for i in range(start, end) if not text[i].isspace()}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CrossEncoderNetwork(tiny_encoder())


ANSWERS, OTHERS = passage("Tea is at four. Rope is here."), (passage("Ropes."), passage("The crane lifts."))
EXAMPLE = PairExample("When is tea?", (ANSWERS, *OTHERS), Span(0, 15))


def test_the_loss_of_an_example_does_not_depend_on_the_others_of_its_batch(network):
    null = PairExample("Who sold the ropes and the crane?", OTHERS, None)
    alone = [losses(network, TOKENIZER, [example]) for example in (EXAMPLE, null)]
    torch.testing.assert_close(losses(network, TOKENIZER, [EXAMPLE, null]), torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_the_loss_is_the_sum_of_the_choice_the_evidence_the_decision_and_the_words(network):
    with torch.no_grad():
        for head in (network.relevance, network.evidence, network.decision):
            head.weight.zero_()
            head.bias.zero_()
    choice, token, decision = torch.tensor([4.0, 2.0, 3.0]).log()  # of three passages and none, of in or out, of three
    # The tokens of a passage are its characters here, and one more stands for no answer.
    of_own, of_others = (
        sum(math.log(len(read.text.replace(" ", "")) + 1) for read in reads) / len(reads)
        for reads in ([ANSWERS], OTHERS)
    )
    sentences = choice + 2 * token + 0.6 * of_others
    assert losses(network, TOKENIZER, [EXAMPLE])[0].item() == pytest.approx(sentences + 0.3 * decision)
    for yes in (True, False):
        loss = losses(network, TOKENIZER, [EXAMPLE._replace(yes=yes)])[0].item()
        assert loss == pytest.approx(sentences + 1.5 * decision)
    words = losses(network, TOKENIZER, [EXAMPLE._replace(words=Span(10, 14))])[0].item()
    assert words == pytest.approx(sentences + 0.3 * decision + 1.5 * of_own)
    null = losses(network, TOKENIZER, [PairExample("Who?", OTHERS, None)])[0].item()
    assert null == pytest.approx(decision + 0.6 * of_others)


@pytest.mark.parametrize(("yes", "says"), [(None, 0), (True, 1), (False, 2)])
def test_steps_along_the_gradient_raise_what_is_right(network, yes, says):
    example = EXAMPLE._replace(yes=yes, words=Span(10, 14))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        losses(network, TOKENIZER, [example]).mean().backward()
        optimizer.step()
    tokens = encode_pairs(TOKENIZER, [(example.question, shown_text(read)) for read in example.passages])
    scored = network(**tokens.inputs)
    assert scored.relevance.argmax() == 0 and scored.relevance[0] > 0 > scored.relevance[1:].max()
    assert scored.says[0].argmax() == says
    marked = tokens.offsets[0][(scored.evidence[0] > 0) & tokens.in_passage[0]]
    assert marked[:, 1].max() <= 15 and len(marked) == len("Teaisatfour.")
    starts, ends = scored.ends[0].masked_fill(~tokens.in_passage[0][:, None], -1e4).argmax(0).tolist()
    assert tokens.offsets[0][[starts, ends]].tolist() == [[10, 11], [13, 14]]
    assert (scored.ends[0].amax(0) > scored.ends[0, 0]).all()
    for other in (1, 2):  # nothing answers in the others
        assert (scored.ends[other][tokens.in_passage[other]].amax(0) < scored.ends[other, 0]).all()


def test_words_that_the_model_does_not_see_to_their_end_are_not_learned(network):
    long = passage("ab " * 400)
    seen = PairExample("Why?", (long,), Span(0, 300), words=Span(0, 300))
    cut = seen._replace(words=Span(0, 900))
    unmarked = seen._replace(words=None)
    with_words, past_the_end, without = (losses(network, TOKENIZER, [one]).item() for one in (seen, cut, unmarked))
    assert with_words > without and past_the_end == pytest.approx(without)


def test_a_passage_without_a_token_has_a_finite_loss(network):
    example = PairExample("Why?", (passage("\u200b"),), Span(0, 1), words=Span(0, 1))
    assert torch.isfinite(losses(network, TOKENIZER, [example])).all()
