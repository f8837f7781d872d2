"""What a GPU does differently; skipped where there is none. The bundled handbook and the default models throughout."""

import gc
import json
import random
from dataclasses import replace

import pytest
import torch

from rag_ft.answering.reader import Reader
from rag_ft.environment import handbook_path, handbook_questions_path
from rag_ft.indexing.index import Index
from rag_ft.models.compute import compute_plan
from rag_ft.models.loading import load_model
from rag_ft.questions.records import read_questions
from rag_ft.training.scoring import retrieved_requests

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return Index.build(handbook_path(), tmp_path_factory.mktemp("cuda") / "index", progress=False)


@pytest.fixture(scope="module")
def requests(index):
    asked = [one.question for one in read_questions(handbook_questions_path())]
    asked = random.Random(3).sample(asked, 24)
    return retrieved_requests(asked, index)


@pytest.fixture(scope="module")
def on_cpu(requests):
    return Reader.from_pretrained(plan=replace(compute_plan("cpu"), dtype="float32")).read_batch(requests)


def _answers(readings):
    return [one.answer for one in readings]


def _shares(found, wanted):
    """Share of equal answers, and the largest difference of the confidences."""
    equal = sum(one == other for one, other in zip(_answers(found), _answers(wanted), strict=True)) / len(found)
    return equal, max(abs(one.confidence - other.confidence) for one, other in zip(found, wanted, strict=True))


def test_in_float32_a_gpu_answers_what_a_cpu_answers(requests, on_cpu):
    found = Reader.from_pretrained(plan=replace(compute_plan(), dtype="float32")).read_batch(requests)
    equal, off = _shares(found, on_cpu)
    assert equal == 1 and off < 1e-3


def test_the_plan_of_a_gpu_is_its_fast_16_bit_type_and_answers_nearly_the_same(requests, on_cpu):
    reader = Reader.from_pretrained()
    assert reader.loaded.plan.device == "cuda:0" and reader.loaded.plan.dtype in ("bfloat16", "float16")
    assert next(reader.loaded.model.parameters()).is_cuda
    equal, off = _shares(reader.read_batch(requests), on_cpu)
    assert equal >= 0.85 and off < 0.25


def test_a_question_alone_is_answered_as_in_a_batch(requests):
    reader = Reader.from_pretrained(plan=replace(compute_plan(), dtype="float32"))
    alone = [reader.read(one.question, one.passages) for one in requests[:6]]
    equal, off = _shares(reader.read_batch(requests)[:6], alone)
    assert equal == 1 and off < 1e-3


def test_packed_nf4_weights_answer_as_their_unpacked_values_do(requests):
    packed = Reader.from_pretrained(
        adapter="none", plan=replace(compute_plan(quantisation="nf4"), dtype="float32"), threshold=0.0
    )
    values = Reader(_unpacked(), threshold=0.0)
    requests = requests[:4]
    for one in requests:
        wanted = values.logits(one.question, one.passages[:1], None)
        found = packed.logits(one.question, one.passages[:1], None)
        assert float((found - wanted).norm() / wanted.norm()) < 1e-2


def _unpacked():
    from rag_ft.models.loading import unpack_nf4

    loaded = load_model(plan=replace(compute_plan(quantisation="none"), dtype="float32"))
    unpack_nf4(loaded.model)
    return loaded


def _losses(made):
    lines = [json.loads(line) for line in (made.path / "training" / "metrics.jsonl").read_text().splitlines()]
    return [one["loss"] for one in lines if "loss" in one]


@pytest.mark.parametrize("bits", [4, 16, 32])
def test_tuning_learns_and_what_it_made_answers_on_gpu_and_cpu(tmp_path, index, requests, bits):
    from rag_ft.training.run import train_reader
    from rag_ft.training.steps.config import TrainConfig

    made = train_reader(
        handbook_questions_path(),
        index,
        tmp_path / "adapter",
        training=TrainConfig(bits=bits, max_steps=24, evaluations=2),
        compare=False,
    )
    losses = _losses(made)
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
    values = None
    for plan in (
        replace(compute_plan(), dtype="float32"),
        replace(compute_plan("cpu"), dtype="float32"),
        *([replace(compute_plan(quantisation="nf4"), dtype="float32")] if bits == 4 else []),
    ):
        reader = Reader.from_pretrained(adapter=made.path, plan=plan)
        found = reader.logits(requests[0].question, requests[0].passages[:1], None).cpu()
        values = found if values is None else values
        assert float((found - values).norm() / values.norm()) < 1e-2


def _rows(loaded, index, config):
    from rag_ft.answering.prompt import PromptBuilder, TokenBudget
    from rag_ft.training.data.collator import encode, pack
    from rag_ft.training.data.examples import ExampleConfig, make_examples

    examples = make_examples(read_questions(handbook_questions_path()), index, ExampleConfig()).examples
    encoded = encode(examples, PromptBuilder(loaded.tokenizer, shots=False), TokenBudget(2048, 128))
    return pack(encoded, config.row_tokens, 0)


def test_a_tree_of_questions_has_the_loss_and_gradients_of_their_own_sequences(index):
    from accelerate.utils import send_to_device

    from rag_ft.training.data.collator import Collator
    from rag_ft.training.lora import AdapterConfig
    from rag_ft.training.steps.config import TrainConfig
    from rag_ft.training.steps.setup import adapt, load_base
    from rag_ft.training.steps.trainer import labelled_loss
    from rag_ft.training.steps.tree_attention import takes_trees, trees

    config = TrainConfig(bits=32)
    loaded = load_base("default", config)
    assert takes_trees(loaded.model)
    row = _rows(loaded, index, config)[0]
    model = adapt(loaded, AdapterConfig(rank=4), config)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if "lora_B" in name:
                one.normal_(std=0.02)

    def computed(shared):
        batch = send_to_device(Collator(0, shared=shared)([row._asdict()]), loaded.model.device)
        labels = batch.pop("labels")
        model.zero_grad()
        if shared:
            with trees(model.get_base_model()):
                loss, count = labelled_loss(model, batch, labels)
        else:
            loss, count = labelled_loss(model, batch, labels)
        (loss / count).backward()
        return float(loss / count), {
            name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None
        }

    (loss, slopes), (wanted, others) = computed(True), computed(False)
    assert abs(loss - wanted) < 1e-4
    assert len(slopes) == len(others)
    for name, one in others.items():
        assert float((slopes[name] - one).norm()) <= 2e-3 * float(one.norm()) + 1e-7, name


@pytest.mark.parametrize("bits", [4, 32])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_peak_of_memory_is_about_what_the_plan_says(tmp_path, index, bits, checkpointing):
    from rag_ft.training.lora import AdapterConfig, model_plan
    from rag_ft.training.steps.config import TrainConfig
    from rag_ft.training.steps.setup import adapt, load_base
    from rag_ft.training.steps.trainer import train_rows

    config = TrainConfig(bits=bits, max_steps=4, row_tokens=5120, checkpointing=checkpointing)
    loaded = load_base("default", config)
    plan = model_plan(loaded.model, AdapterConfig())
    model = adapt(loaded, AdapterConfig(), config)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    rows = _rows(loaded, index, config)
    train_rows(model, loaded.tokenizer, rows, [], config, tmp_path)
    used = torch.cuda.max_memory_allocated() - before
    tokens = max(len(row.input_ids) for row in rows)
    labelled = max(sum(one >= 0 for one in row.labels) for row in rows)
    planned = plan.optimiser_bytes() + plan.activation_bytes(tokens, labelled, checkpointing=checkpointing, bits=16)
    assert 0.4 < used / planned < 2.5, f"{used / 1e6:.0f} MB used, {planned / 1e6:.0f} MB planned"


def test_adapters_are_swapped_on_the_gpu(requests):
    tuned = Reader.from_pretrained()
    bare = tuned.with_adapter("none")
    one = requests[0]
    first = tuned.logits(one.question, one.passages[:1], None)
    other = bare.logits(one.question, one.passages[:1], None)
    again = tuned.logits(one.question, one.passages[:1], None)
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-2)


def test_float16_for_gpus_without_bfloat16_trains_and_answers(tmp_path, index, requests, on_cpu, monkeypatch):
    from rag_ft.training.run import train_reader
    from rag_ft.training.steps.config import TrainConfig

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *given: (7, 5))
    assert compute_plan().dtype == "float16"
    equal, off = _shares(Reader.from_pretrained().read_batch(requests), on_cpu)
    assert equal >= 0.9 and off < 0.1
    made = train_reader(
        handbook_questions_path(),
        index,
        tmp_path / "adapter",
        training=TrainConfig(bits=4, max_steps=24, evaluations=2),
        compare=False,
    )
    losses = _losses(made)
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])
