import torch
from tiny_cross_encoder import tiny_encoder, tiny_tokenizer

from rag_ft.models.cross_encoder_network import CrossEncoderNetwork, encode_pairs


def test_only_the_passage_is_evidence():
    tokens = encode_pairs(tiny_tokenizer(), [("ab?", "Harbour. Tea is at four."), ("abc?", "x y")])
    assert tokens.in_passage.sum(1).tolist() == [len("Harbour.Teaisatfour."), 2]


def test_the_decision_reads_the_evidence_and_does_not_move_it():
    torch.manual_seed(0)
    network = CrossEncoderNetwork(tiny_encoder())
    tokens = encode_pairs(tiny_tokenizer(), [("ab?", "Tea is at four."), ("abc?", "x y")])
    scored = network(**tokens.inputs)
    assert scored.relevance.shape == (2,) and scored.says.shape == (2, 3)
    assert scored.evidence.shape == tokens.in_passage.shape
    scored.says.sum().backward()
    assert network.evidence.weight.grad is None and network.decision.weight.grad.abs().sum() > 0
