"""What a launcher runs in a test: a run with the tiny model, in each of its processes.

    torchrun --nproc-per-node 2 launched.py MODEL OUTPUT [WHAT STEP]

`WHAT` happens at the end of a step: `kill` ends the last process as the system would, `interrupt` sends the launcher
what Ctrl-C sends it.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

STEPS = 20
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")


def launch_arguments(configuration, *options):
    """What accelerate's launcher makes of a configuration, and the configuration as it reads it."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    given = ["--config_file", str(configuration), *options, "train.py"]
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(given))
    return arguments, load_config_from_file(str(configuration))


def settings():
    """Settings of the run, for comparison with one process."""
    from rag_ft.training.steps.config import TrainConfig

    return TrainConfig(
        bits=32, max_steps=STEPS, rows_per_step=2, row_tokens=500, evaluations=4, learning_rate=5e-3, patience=50
    )


def train(model, output, config, callbacks=(), dropout=0.0):
    """Train on a little world with a hashing embedder; the measurements."""
    from data import little_world
    from fakes import HashingEmbedder

    from rag_ft.answering.prompt import PromptBuilder, TokenBudget
    from rag_ft.indexing.index import Index
    from rag_ft.models import compute
    from rag_ft.training.data.collator import encode, pack
    from rag_ft.training.data.examples import ExampleConfig, make_examples
    from rag_ft.training.lora import AdapterConfig
    from rag_ft.training.steps.setup import adapt, load_base
    from rag_ft.training.steps.trainer import train_rows

    compute._FAST_BF16_FLAGS = ()  # in bfloat16, the order of sums alone moves a loss by 1e-3
    documents, questions = little_world()
    with tempfile.TemporaryDirectory() as folder:
        index = Index.build(documents, Path(folder) / "index", embedder=HashingEmbedder(), progress=False)
        loaded = load_base(str(model), config)
        examples = make_examples(questions, index, ExampleConfig()).examples
        encoded = encode(examples, PromptBuilder(loaded.tokenizer, shots=False), TokenBudget(1024, 96))
        rows = pack(encoded, config.row_tokens, config.seed)
        adapted = adapt(loaded, AdapterConfig(rank=4, dropout=dropout), config)
        return train_rows(adapted, loaded.tokenizer, rows, rows[:3], config, Path(output), callbacks=callbacks)


def launch(launcher, *arguments):
    """A finished run of this file in the processes that a launcher (a module and its options) starts."""
    return _run(*launcher, __file__, *arguments)


def _run(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def train_by_command(launcher, folder, model, *options):
    """The adapter that `rag-ft train` makes in the processes that a launcher starts, and what it prints."""
    from data import write_little_world

    from rag_ft.indexing.index import Index

    files = write_little_world(folder)
    Index.build(files / "docs", files / "index", progress=False)
    given = ("--index", files / "index", "--reader", model, "--output", files / "made", "--epochs", 1, "--rank", 4)
    done = _run(*launcher, "-m", "rag_ft", "train", files / "qa.jsonl", *given, *options)
    assert done.returncode == 0, done.stderr[-2000:]
    return files / "made", done.stdout


def assert_whole_adapter(made, bits):
    """A run wrote its adapter, of which no matrix is missing or still zero, and its figures."""
    from safetensors.torch import load_file

    record = json.loads((made / "rag_ft.json").read_text())
    assert set(record["results"]) == {"untuned", "tuned"} and record["base_model"]["bits"] == bits
    tensors = load_file(made / "adapter_model.safetensors")
    assert {tuple(tensor.shape) for tensor in tensors.values()} == {(4, 64), (4, 128), (64, 4), (128, 4), (32, 4)}
    assert len(tensors) == 2 * 2 * 7 and all(tensor.any() for tensor in tensors.values())  # of seven layers in two


def assert_same_losses(history, whole):
    """Two runs measured the same losses, to 1e-4."""
    import pytest

    assert [record["step"] for record in history] == [record["step"] for record in whole]
    for record, expected in zip(history, whole, strict=True):
        for name in ("loss", "eval_loss"):
            assert (name in record) == (name in expected)
            assert record.get(name, 0) == pytest.approx(expected.get(name, 0), abs=1e-4), record["step"]


def at(step, act, saved=False):
    """A callback that does something after a step, and asks for a checkpoint there where `saved`."""
    from transformers import TrainerCallback

    class Act(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == step:
                control.should_save = control.should_save or saved
                if not saved:
                    act()
            return control

        def on_save(self, args, state, control, **kwargs):
            if saved and state.global_step == step:
                act()

    return Act()


def _kill():
    from rag_ft.environment import process_number

    time.sleep(0.5 * (1 - process_number()))  # until the other has written its part of the checkpoint
    if process_number() == 1:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)


def _interrupt():
    from rag_ft.environment import main_process

    if main_process():
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(1)  # until the launcher has passed it on


def main(model: str, output: str, what: str = "", step: str = "0") -> None:
    from rag_ft.errors import RagFtError

    acts = {"kill": at(int(step), _kill, saved=True), "interrupt": at(int(step), _interrupt)}
    try:
        train(model, output, settings(), [acts[what]] if what in acts else [])
    except RagFtError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(*sys.argv[1:])
