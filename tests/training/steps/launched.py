"""What `accelerate launch` runs in a test: a few steps with the tiny model."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))


def main(model: str, output: str) -> None:
    import tempfile

    from data import little_world
    from fakes import HashingEmbedder

    from rag_ft.answering.prompt import PromptBuilder, TokenBudget
    from rag_ft.indexing.index import Index
    from rag_ft.training.data.collator import encode, pack
    from rag_ft.training.data.examples import ExampleConfig, make_examples
    from rag_ft.training.lora import AdapterConfig
    from rag_ft.training.steps.config import TrainConfig
    from rag_ft.training.steps.setup import adapt, load_base
    from rag_ft.training.steps.trainer import train_rows

    documents, questions = little_world()
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(documents, Path(folder) / "index", embedder=HashingEmbedder(), progress=False)
        config = TrainConfig(bits=32, max_steps=3, rows_per_step=1, evaluations=1)
        loaded = load_base(model, config)
        examples = make_examples(questions, index, ExampleConfig()).examples
        encoded = encode(examples, PromptBuilder(loaded.tokenizer, shots=False), TokenBudget(1024, 96))
        rows = pack(encoded, 400, 0)
        train_rows(adapt(loaded, AdapterConfig(rank=4), config), loaded.tokenizer, rows, rows[:2], config, Path(output))


if __name__ == "__main__":
    main(*sys.argv[1:])
