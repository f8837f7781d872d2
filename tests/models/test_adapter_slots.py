import json
import shutil
import threading
import time

import pytest
from data import little_world
from fakes import HashingEmbedder
from tiny_adapters import REQUESTS, fresh, make_adapter, seen

from rag_ft.answering.pipeline import Pipeline
from rag_ft.answering.reader import Reader
from rag_ft.answering.reading import ReadRequest
from rag_ft.errors import PromptMismatchError, UsageError, WeightsError
from rag_ft.indexing.index import Index
from rag_ft.models.compute import compute_plan
from rag_ft.models.plain_llama import PlainLlama
from rag_ft.models.weights import packaged_adapter, resolve_reader, weights_identity
from rag_ft.schema import Passage


@pytest.fixture(scope="module")
def adapters(tiny_llama_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return {
        "one": make_adapter(folder / "one", tiny_llama_dir, 1, threshold=0.0),
        "two.v2": make_adapter(folder / "two", tiny_llama_dir, 2, modules=("o_proj", "down_proj", "q_proj")),
        "nf4": make_adapter(folder / "nf4", tiny_llama_dir, 3, bits=4),
    }


def test_each_adapter_reads_as_a_reader_of_its_own(tiny_llama_dir, adapters):
    alone = {name: seen(fresh(tiny_llama_dir, adapters.get(name, "none"))) for name in ("one", "two.v2", "none")}
    assert len({str(readings) for readings in alone.values()}) == 3, (
        "the adapters must differ for this test to mean anything"
    )
    reader = fresh(tiny_llama_dir, adapters["one"], adapters={"two.v2": adapters["two.v2"]})
    assert reader.adapters == ("one", "two.v2") and reader.adapter == "one"
    for name in ("two.v2", "none", "one", "two.v2", "one", "none"):
        assert seen(reader.with_adapter(name)) == alone[name], name
    assert seen(reader) == alone["one"]


def test_adapters_can_be_added_to_a_reader_that_started_with_none(tiny_llama_dir, adapters):
    alone = {name: seen(fresh(tiny_llama_dir, adapters[name])) for name in ("one", "two.v2")}
    untuned = seen(fresh(tiny_llama_dir, None))
    reader = fresh(tiny_llama_dir, None)
    assert reader.adapters == () and reader.adapter == "none"
    for name in alone:
        reader.add_adapter(name, adapters[name])
        assert seen(reader) == untuned
    assert {name: seen(reader.with_adapter(name)) for name in alone} == alone
    assert reader.with_adapter("none") is reader and reader.with_adapter("one") is reader.with_adapter("one")


def test_base_weights_are_in_memory_once(tiny_llama_dir, adapters):
    reader = fresh(tiny_llama_dir, adapters["one"])
    base = {id(parameter) for parameter in reader.loaded.model.get_base_model().parameters()}
    before = sum(parameter.numel() for parameter in reader.loaded.model.parameters())
    reader.add_adapter("two", adapters["two.v2"])
    other = reader.with_adapter("two").loaded.model
    assert base < {id(parameter) for parameter in other.parameters()}
    added = sum(parameter.numel() for parameter in other.parameters()) - before
    assert 0 < added == sum(tensor.numel() for name, tensor in other.named_parameters() if "adapter-1" in name)


def test_the_library_s_model_reads_from_the_second_adapter_on_and_uses_the_same_weights(tiny_llama_dir, adapters):
    reader = fresh(tiny_llama_dir, adapters["one"])
    plain, before = reader.loaded.network, (seen(reader), seen(reader.with_adapter("none")))
    assert isinstance(plain, PlainLlama)
    embedding = reader.loaded.model.get_input_embeddings().weight
    assert reader.loaded.network is plain, "looking at the library's model does not change what reads"
    assert embedding.data_ptr() == plain.get_input_embeddings().weight.data_ptr()
    reader.add_adapter("two", adapters["two.v2"])
    assert reader.loaded.network is reader.loaded.model is not plain
    assert (seen(reader), seen(reader.with_adapter("none"))) == before


def test_a_reader_switched_off_stays_so_when_the_library_s_model_is_loaded(tiny_llama_dir, adapters):
    reader = fresh(tiny_llama_dir, adapters["one"])
    untuned = seen(reader.with_adapter("none"))
    reader.add_adapter("two", adapters["two.v2"])
    assert seen(reader.with_adapter("none")) == untuned


def test_an_adapter_brings_its_threshold_and_prompt_and_leaves_what_was_given(tiny_llama_dir, adapters):
    reader = fresh(tiny_llama_dir, None, adapters={"one": adapters["one"]})
    assert (reader.threshold, reader.prompts.shots) == (None, True)
    tuned = reader.with_adapter("one")
    assert (tuned.threshold, tuned.prompts.shots, tuned.loaded.adapter.path) == (0.0, False, adapters["one"])
    configured = fresh(
        tiny_llama_dir, None, adapters={"one": adapters["one"]}, threshold=0.7, reading="joint", shots=False
    )
    assert (configured.with_adapter("one").threshold, configured.with_adapter("one").reading) == (0.7, "joint")


def test_threads_never_mix_adapters(tiny_llama_dir, adapters):
    reader = fresh(tiny_llama_dir, adapters["one"], adapters={"two": adapters["two.v2"]})
    expected = {name: seen(reader.with_adapter(name)) for name in ("one", "two", "none")}
    wrong, rounds = [], 6

    def work(name):
        for _ in range(rounds):
            if seen(reader.with_adapter(name)) != expected[name]:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_threads_share_the_active_adapter_and_another_one_gets_its_turn(tiny_llama_dir, adapters):
    reader = fresh(tiny_llama_dir, adapters["one"], adapters={"two": adapters["two.v2"]})
    shared = reader.loaded.shared
    first_slot, second_slot = shared.get("one"), shared.get("two")
    both, events = threading.Barrier(2, timeout=30), []
    waiting, leave = threading.Event(), threading.Event()

    def first():
        with shared.activated(first_slot):
            both.wait()  # only if the other is in, too
            leave.wait(30)
            events.append("one left")

    def other():
        waiting.set()
        with shared.activated(second_slot):
            events.append("two")

    def late():
        with shared.activated(first_slot):
            events.append("one again")

    threads = [threading.Thread(target=first) for _ in range(2)]
    for thread in threads:
        thread.start()
    waits = threading.Thread(target=other)
    waits.start()
    waiting.wait(30)
    time.sleep(0.1)
    behind = threading.Thread(target=late)  # wants the active adapter, but behind a thread that waits
    behind.start()
    time.sleep(0.1)
    assert events == []
    leave.set()
    for thread in (*threads, waits, behind):
        thread.join(30)
    assert events == ["one left", "one left", "two", "one again"]


def test_a_stream_that_is_not_read_further_blocks_nobody(tiny_llama_dir, adapters):
    reader = fresh(
        tiny_llama_dir, adapters["one"], mode="schema", reading="joint", adapters={"two": adapters["two.v2"]}
    )
    expected = [event.text for event in reader.stream(*REQUESTS[0][:2])]
    stream = reader.stream(*REQUESTS[0][:2])
    texts = [next(stream).text, next(stream).text]
    other = threading.Thread(target=lambda: reader.with_adapter("two").read(*REQUESTS[1][:2]), daemon=True)
    other.start()
    other.join(30)
    assert not other.is_alive()
    assert texts + [event.text for event in stream] == expected


def test_a_removed_adapter_is_gone_and_its_readers_say_so(tiny_llama_dir, adapters):
    reader = fresh(tiny_llama_dir, None, adapters={name: adapters[name] for name in ("one", "two.v2")})
    held, other = reader.with_adapter("one"), seen(reader.with_adapter("two.v2"))
    before = sum(parameter.numel() for parameter in held.loaded.model.parameters())
    reader.remove_adapter("one")
    assert reader.adapters == ("two.v2",)
    assert sum(parameter.numel() for parameter in held.loaded.model.parameters()) < before
    with pytest.raises(UsageError, match=r"there is no adapter 'one' .* use one of two\.v2, none"):
        reader.with_adapter("one")
    assert seen(reader.with_adapter("two.v2")) == other
    reader.add_adapter("one", adapters["two.v2"])
    with pytest.raises(UsageError, match="was removed"):
        held.read(*REQUESTS[0][:2])
    assert seen(reader.with_adapter("one")) == other
    for name in ("one", "two.v2"):
        reader.remove_adapter(name)
    assert seen(reader) == seen(fresh(tiny_llama_dir, None))
    reader.add_adapter("one", adapters["two.v2"])
    assert seen(reader.with_adapter("one")) == other


def test_names_are_kept_apart(tiny_llama_dir, adapters):
    reader = fresh(tiny_llama_dir, adapters["one"])
    reader.add_adapter("one", adapters["one"])  # the same again
    reader.add_adapter("plain", "none")
    assert reader.adapters == ("one", "plain")
    assert seen(reader.with_adapter("plain")) == seen(reader.with_adapter("none"))
    with pytest.raises(UsageError, match="another adapter named 'one'"):
        reader.add_adapter("one", adapters["two.v2"])
    with pytest.raises(UsageError, match="stands for the untuned base"):
        reader.add_adapter("none", adapters["two.v2"])
    with pytest.raises(UsageError, match="was loaded with this reader and cannot be removed"):
        reader.remove_adapter("one")
    with pytest.raises(UsageError, match="printable"):
        reader.add_adapter("a\nb", adapters["two.v2"])


def test_what_does_not_fit_is_refused_and_changes_nothing(tiny_llama_dir, adapters, tmp_path, monkeypatch):
    reader = fresh(tiny_llama_dir, adapters["one"])
    before = seen(reader)
    with pytest.raises(WeightsError, match=r"NF4 \(4-bit\) values and the base in memory has the original"):
        reader.add_adapter("nf4", adapters["nf4"])
    with pytest.raises(WeightsError, match="is not an adapter"):
        reader.add_adapter("x", tmp_path)
    cut = tmp_path / "cut"
    shutil.copytree(adapters["two.v2"], cut)
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"adapter_model\.safetensors is cut off"):
        reader.add_adapter("cut", cut)
    other = tmp_path / "other"
    shutil.copytree(adapters["two.v2"], other)
    record = json.loads((other / "rag_ft.json").read_text())
    record["base_model"]["identity"] = "0" * 64
    (other / "rag_ft.json").write_text(json.dumps(record))
    with pytest.raises(WeightsError, match="was trained on tiny"):
        reader.add_adapter("other", other)
    record["prompt_fingerprint"], record["base_model"] = "0" * 64, {}
    (other / "rag_ft.json").write_text(json.dumps(record))
    with pytest.raises(PromptMismatchError, match="trained under prompt"):
        reader.add_adapter("other", other)
    (other / "rag_ft.json").unlink()
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**config, "r": 2}))
    with pytest.raises(WeightsError, match="does not fit"):
        reader.add_adapter("other", other)
    (other / "adapter_config.json").write_text("{")
    with pytest.raises(WeightsError, match="is not JSON"):
        reader.add_adapter("other", other)
    assert reader.adapters == ("one",) and seen(reader) == before


def test_an_adapter_that_lacks_a_tensor_or_has_a_foreign_one_is_refused(tiny_llama_dir, adapters, tmp_path):
    from safetensors.torch import load_file, save_file

    reader = fresh(tiny_llama_dir, adapters["one"])
    tensors = load_file(adapters["two.v2"] / "adapter_model.safetensors")
    name = next(iter(tensors))
    for i, changed in enumerate(
        (
            {k: v for k, v in tensors.items() if k != name},
            {**tensors, name.replace("layers.0", "layers.7"): tensors[name].clone()},
        )
    ):
        folder = tmp_path / str(i)
        shutil.copytree(adapters["two.v2"], folder)
        save_file(changed, folder / "adapter_model.safetensors")
        with pytest.raises(WeightsError, match="does not fit"):
            reader.add_adapter("x", folder)
    with pytest.raises(WeightsError, match="does not fit"):
        fresh(tiny_llama_dir, tmp_path / "0")
    assert reader.adapters == ("one",)
    # A reader that started with none, where PEFT has changed the base before it finds the tensor missing.
    reader = fresh(tiny_llama_dir, None)
    before = seen(reader)
    with pytest.raises(WeightsError, match="does not fit"):
        reader.add_adapter("x", tmp_path / "0")
    assert seen(reader) == before == seen(fresh(tiny_llama_dir, None))
    reader.add_adapter("x", adapters["two.v2"])
    assert seen(reader.with_adapter("x")) == seen(fresh(tiny_llama_dir, adapters["two.v2"]))


def test_an_adapter_of_full_values_is_refused_on_nf4_ones(tiny_llama_dir, adapters):
    reader = fresh(tiny_llama_dir, adapters["nf4"])
    with pytest.raises(WeightsError, match="full values and the base in memory has NF4"):
        reader.add_adapter("one", adapters["one"])
    packed = Reader.from_pretrained(str(tiny_llama_dir), plan=compute_plan("cpu", "nf4"))
    packed.add_adapter("nf4", adapters["nf4"])
    with pytest.raises(WeightsError, match="full values and the base in memory has NF4"):
        packed.add_adapter("one", adapters["one"])


def test_a_pipeline_asks_the_adapter_that_is_named(tiny_llama_dir, adapters, tmp_path):
    documents, questions = little_world(3)
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder())
    reader = fresh(tiny_llama_dir, adapters["one"], threshold=0.0, adapters={"two": adapters["two.v2"]})
    qa = Pipeline(index.as_retriever(k=2), reader)
    texts = [question.question for question in questions[:4]]
    answers = {name: qa.ask_batch(texts, adapter=name) for name in (None, "one", "two", "none")}
    plain = {name: [answer.completion for answer in batch] for name, batch in answers.items()}
    assert plain[None] == plain["one"] != plain["two"]
    assert answers["two"][0].provenance.adapter == reader.with_adapter("two").loaded.adapter.fingerprint
    assert answers["none"][0].provenance.adapter is None
    assert qa.invoke(texts[0], adapter="two").completion == plain["two"][0]
    assert [answer.completion for answer in qa.batch(texts, adapter="two")] == plain["two"]
    *_, last = qa.events(texts[0], adapter="two")
    assert (last.answer.answer, last.answer.provenance) == (answers["two"][0].answer, answers["two"][0].provenance)
    with pytest.raises(UsageError, match="there is no adapter 'three'"):
        qa.ask(texts[0], adapter="three")


@pytest.mark.slow
def test_the_packaged_adapter_beside_the_untuned_base_is_the_default_reader():
    from rag_ft.environment import handbook_path

    text = (handbook_path() / "kbit-preparation.md").read_text(encoding="utf-8")[:600]
    passage = Passage(id="k", document_id="k", text=text, start=0, end=len(text))
    requests = [
        ReadRequest(question, (passage,))
        for question in ("What does gradient checkpointing cost?", "Who wrote it?", "Why?")
    ]
    plan = compute_plan("cpu")
    assert weights_identity(resolve_reader())
    both = Reader.from_pretrained(adapter="none", adapters={"tuned": "packaged"}, plan=plan)
    alone = Reader.from_pretrained(plan=plan)
    assert alone.adapters == ("packaged",) and alone.loaded.adapter.path == packaged_adapter()
    assert both.with_adapter("tuned").threshold == alone.threshold
    assert both.with_adapter("tuned").read_batch(requests) == alone.read_batch(requests)
    assert both.read_batch(requests) == alone.with_adapter("none").read_batch(requests)
