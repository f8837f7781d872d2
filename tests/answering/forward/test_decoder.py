import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.answering.forward.decoder import Decoder
from rag_ft.answering.forward.padded import Session
from rag_ft.answering.forward.prefix_cache import PrefixCache
from rag_ft.answering.forward.rows import RowSession
from rag_ft.answering.forward.token_tree import TreeNode


@pytest.fixture(params=["flat", "padded"])
def way(request, monkeypatch):
    """Both ways of reading prompts: flat rows, and rows padded to one length as on a GPU."""
    if request.param == "padded":
        monkeypatch.setattr("rag_ft.answering.forward.rows.takes_rows", lambda model: False)
    return request.param


def logprobs(loaded, ids):
    """Next-token log-probabilities after every position, from one plain pass."""
    with torch.inference_mode():
        return loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)


def test_rows_of_a_batch_read_as_alone_with_a_shared_head(loaded, way):
    head, rows = (5, 6, 7, 8), [[10, 11, 12], [20, 21, 22, 23, 24, 25], [30, 31]]
    session = Decoder(loaded).start(head, rows, keep=2)
    assert type(session) is (RowSession if way == "flat" else Session)
    for number, row in enumerate(rows):
        expected = logprobs(loaded, [*head, *row])[-2:]
        torch.testing.assert_close(session.logits[number].log_softmax(-1), expected, atol=1e-4, rtol=1e-4)


def test_extending_rows_raggedly_reads_as_one_sequence(loaded, way):
    head, rows = (5, 6), [[10, 11, 12], [20, 21]]
    session = Decoder(loaded).start(head, rows)
    session.extend([[13], [22, 23, 24]])
    session.extend([[], [25]])
    logits = session.extend([[14, 15], [26]], keep=1)
    for number, full in enumerate([[5, 6, 10, 11, 12, 13, 14, 15], [5, 6, 20, 21, 22, 23, 24, 25, 26]]):
        torch.testing.assert_close(logits[number, 0].log_softmax(-1), logprobs(loaded, full)[-1], atol=1e-4, rtol=1e-4)


def test_a_trees_branches_read_as_separate_sequences_and_leave_no_trace(loaded, way):
    head, rows = (5, 6), [[10, 11, 12], [20]]
    session = Decoder(loaded).start(head, rows)
    tree = [TreeNode(40, -1), TreeNode(41, 0), TreeNode(42, 0), TreeNode(43, 2), TreeNode(50, -1)]
    paths = [[40], [40, 41], [40, 42], [40, 42, 43], [50]]
    wanted = [[1, 2, 3]] * 5
    for _ in range(2):  # the second time shows that the first left nothing behind
        found = session.score_trees([tree, tree[:1]], [wanted, wanted[:1]])
        for node, path in enumerate(paths):
            expected = logprobs(loaded, [*head, *rows[0], *path])[-1][[1, 2, 3]].numpy()
            np.testing.assert_allclose(found[0][node], expected, atol=1e-4)
        np.testing.assert_allclose(
            found[1][0], logprobs(loaded, [*head, *rows[1], 40])[-1][[1, 2, 3]].numpy(), atol=1e-4
        )


@pytest.fixture
def counted_tokens(monkeypatch):
    """How many tokens each pass read."""
    from rag_ft.answering.forward.rows import rows_forward

    read = []

    def counted(model, rows, ids, *given):
        read.append(len(ids))
        return rows_forward(model, rows, ids, *given)

    monkeypatch.setattr("rag_ft.answering.forward.rows.rows_forward", counted)
    return read


def test_a_context_read_before_is_not_read_again_and_changes_no_number(loaded, counted_tokens):
    head, context, other = (5, 6), [10, 11, 12, 13], [20, 21]
    first, second = [*context, 30, 31], [*context, 40, 41, 42]
    Decoder(loaded).start(head, [first])  # the first one in a process tries the model out
    counted_tokens.clear()
    decoder = Decoder(loaded, prefixes=PrefixCache(1 << 20), owner="a")
    decoder.start(head, [first], keep=2, contexts=[4])
    assert counted_tokens == [2, 6]
    session = decoder.start(head, [second, other], keep=2, contexts=[4, 0])
    assert counted_tokens == [2, 6, 3 + 2]
    again = Decoder(loaded).start(head, [second, other], keep=2, contexts=[4, 0])
    torch.testing.assert_close(session.logits, again.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(session.extend([[50], []]), again.extend([[50], []]), atol=1e-5, rtol=1e-5)
    trees, wanted = [[TreeNode(60, -1), TreeNode(61, 0)]] * 2, [[[1], [2]]] * 2
    np.testing.assert_allclose(session.score_trees(trees, wanted), again.score_trees(trees, wanted), atol=1e-5)


def test_a_context_is_kept_for_its_owner_and_its_head_alone(loaded):
    prefixes = PrefixCache(1 << 20)
    ours, theirs = (Decoder(loaded, prefixes=prefixes, owner=owner) for owner in ("a", "b"))
    row = [10, 11, 12, 30]
    ours.start((5, 6), [row], contexts=[3])
    assert len(prefixes) == 1
    theirs.start((5, 6), [row], contexts=[3])
    ours.start((7,), [row], contexts=[3])
    assert len(prefixes) == 3


def test_rows_grow_past_the_room_that_they_were_given(loaded):
    long = list(range(20, 120))
    session = Decoder(loaded).start((5, 6), [[10, 11], [12]])
    logits = session.extend([long, [13]])
    torch.testing.assert_close(
        logits[0, 0].log_softmax(-1), logprobs(loaded, [5, 6, 10, 11, *long])[-1], atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(logits[1, 0].log_softmax(-1), logprobs(loaded, [5, 6, 12, 13])[-1], atol=1e-4, rtol=1e-4)


def test_a_model_with_a_sliding_window_or_a_cap_on_its_scores_is_padded(loaded, tiny_llama_dir):
    from transformers import AutoConfig, Gemma2Config, Gemma2ForCausalLM, MistralConfig, MistralForCausalLM

    from rag_ft.answering.forward.rows import takes_rows

    assert takes_rows(loaded.model)
    tiny = AutoConfig.from_pretrained(tiny_llama_dir)
    shape = {
        "vocab_size": tiny.vocab_size, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    }  # fmt: skip
    assert not takes_rows(MistralForCausalLM(MistralConfig(**shape, sliding_window=8)).eval())
    assert takes_rows(MistralForCausalLM(MistralConfig(**shape, sliding_window=None)).eval())
    capped = Gemma2Config(**shape, layer_types=["full_attention"] * 2, attn_logit_softcapping=50.0)
    assert not takes_rows(Gemma2ForCausalLM(capped).eval())


@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_a_context_that_several_rows_begin_with_is_read_once(loaded, counted_tokens, kept):
    head, context = (5, 6), [10, 11, 12, 13]
    rows = [[*context, 30, 31], [20, 21, 22], [*context, 40, 41, 42], [*context, 30, 32]]
    contexts = [4, 2, 4, 4]
    decoder = Decoder(loaded, prefixes=PrefixCache(kept), owner="a")
    session = decoder.start(head, rows, contexts=contexts)
    assert counted_tokens == [2, 4, 2 + 3 + 3 + 2]
    pairs = zip(rows, contexts, strict=True)
    alone = [Decoder(loaded).start(head, [row], contexts=[length]).logits[0] for row, length in pairs]
    torch.testing.assert_close(session.logits, torch.stack(alone), atol=1e-5, rtol=1e-5)
    counted_tokens.clear()
    decoder.start(head, rows[:1], contexts=contexts[:1])
    assert counted_tokens == ([2] if kept else [6])


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_rows_that_share_contexts_read_as_alone(loaded, data):
    ids = st.lists(st.integers(10, 90), min_size=1, max_size=5)
    contexts = data.draw(st.lists(ids, min_size=1, max_size=3))
    rows, lengths = [], []
    for _ in range(data.draw(st.integers(1, 6))):
        context = data.draw(st.sampled_from(contexts))
        rows.append([*context, *data.draw(ids)])
        lengths.append(data.draw(st.sampled_from([0, len(context)])))
    decoder = Decoder(loaded, prefixes=PrefixCache(data.draw(st.sampled_from([0, 2000, 1 << 20]))), owner="a")
    for _ in range(2):
        session = decoder.start((5, 6), rows, contexts=lengths)
        pairs = zip(rows, lengths, strict=True)
        alone = [Decoder(loaded).start((5, 6), [row], contexts=[length]).logits[0] for row, length in pairs]
        # A value in the middle between two of 16 bits goes either way by what it was computed with.
        torch.testing.assert_close(session.logits, torch.stack(alone), atol=3e-3, rtol=1e-3)


def test_what_is_left_to_read_of_a_row_leaves_out_a_context_that_is_kept(loaded):
    decoder = Decoder(loaded, prefixes=PrefixCache(1 << 20), owner="a")
    row = [10, 11, 12, 30]
    assert decoder.unread((5, 6), row, 3) == 4
    decoder.start((5, 6), [row], contexts=[3])
    assert (decoder.unread((5, 6), row, 3), decoder.unread((7,), row, 3), decoder.unread((5, 6), row, 2)) == (1, 4, 4)


def test_a_context_is_kept_in_16_bits_and_near_to_what_32_bits_give(loaded):
    prefixes = PrefixCache(1 << 20)
    decoder = Decoder(loaded, prefixes=prefixes, owner="a")
    row = [*range(10, 40), 50, 51]
    first, again = (decoder.start((5, 6), [row], contexts=[30]).logits for _ in range(2))
    config = loaded.model.config
    values = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    assert prefixes.bytes == 30 * values * 2
    torch.testing.assert_close(first, again, atol=1e-5, rtol=1e-5)
    exact = Decoder(loaded).start((5, 6), [row]).logits
    assert 0 < (first - exact).norm() / exact.norm() < 5e-3
