"""What training tests share: a tiny base model, and rows of little documents."""

import pytest


@pytest.fixture
def tiny(tiny_llama_dir):
    """The tiny model as training holds it, in 32 bits; fresh for each test, because adapters change it."""
    from rag_ft.training.steps.config import TrainConfig
    from rag_ft.training.steps.setup import load_base

    return load_base(str(tiny_llama_dir), TrainConfig(bits=32))


@pytest.fixture(scope="session")
def whole(tiny_llama_dir, tmp_path_factory):
    """The measurements of one process that trained on a little world and was never stopped."""
    from launched import settings, train

    return train(tiny_llama_dir, tmp_path_factory.mktemp("whole"), settings())


@pytest.fixture
def encoded(tiny, world):
    """The world's questions as groups under one head, each with its gold passage and a hard negative."""
    from rag_ft.answering.prompt import PromptBuilder, TokenBudget
    from rag_ft.training.data.collator import encode
    from rag_ft.training.data.examples import ExampleConfig, make_examples

    index, questions = world
    example_set = make_examples(questions, index, ExampleConfig())
    return encode(example_set.examples, PromptBuilder(tiny.tokenizer, shots=False), TokenBudget(1024, 96))


@pytest.fixture
def adapter(tmp_path, tiny_llama_dir, world):
    """The folder of a finished run of two steps, with an adapter of rank 4."""
    from rag_ft.training.lora import AdapterConfig
    from rag_ft.training.run import train_reader
    from rag_ft.training.steps.config import TrainConfig

    index, questions = world
    return train_reader(
        questions,
        index,
        tmp_path / "made",
        reader=str(tiny_llama_dir),
        lora=AdapterConfig(rank=4),
        training=TrainConfig(bits=32, max_steps=2, evaluations=1),
        compare=False,
    ).path
