import types

import numpy as np
import pytest
import torch

from rag_ft.decoder import Decoder, TreeNode


@pytest.fixture(scope="module")
def loaded(tiny_llama_dir):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return types.SimpleNamespace(
        model=AutoModelForCausalLM.from_pretrained(tiny_llama_dir).eval(),
        tokenizer=AutoTokenizer.from_pretrained(tiny_llama_dir),
        weights=types.SimpleNamespace(name="tiny"),
    )


def logprobs(loaded, ids):
    """Next-token log-probabilities after every position, from one plain pass."""
    with torch.inference_mode():
        return loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)


def test_rows_of_a_batch_read_as_alone_with_a_shared_head(loaded):
    head, rows = (5, 6, 7, 8), [[10, 11, 12], [20, 21, 22, 23, 24, 25], [30, 31]]
    session = Decoder(loaded).start(head, rows, keep=2)
    for number, row in enumerate(rows):
        expected = logprobs(loaded, [*head, *row])[-2:]
        torch.testing.assert_close(session.logits[number].log_softmax(-1), expected, atol=1e-4, rtol=1e-4)


def test_extending_rows_raggedly_reads_as_one_sequence(loaded):
    head, rows = (5, 6), [[10, 11, 12], [20, 21]]
    session = Decoder(loaded).start(head, rows)
    session.extend([[13], [22, 23, 24]])
    session.extend([[], [25]])
    logits = session.extend([[14, 15], [26]], keep=1)
    for number, full in enumerate([[5, 6, 10, 11, 12, 13, 14, 15], [5, 6, 20, 21, 22, 23, 24, 25, 26]]):
        torch.testing.assert_close(logits[number, 0].log_softmax(-1), logprobs(loaded, full)[-1], atol=1e-4, rtol=1e-4)


def test_a_trees_branches_read_as_separate_sequences_and_leave_no_trace(loaded):
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
