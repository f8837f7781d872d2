import errno
import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny_adapters import REQUESTS, fresh, make_adapter, seen

from rag_ft.adapters import merge
from rag_ft.adapters.merge import merge_adapter
from rag_ft.answering import prompt
from rag_ft.answering.reader import Reader
from rag_ft.errors import AdapterError, PromptMismatchError, UsageError, WeightsError
from rag_ft.models.compute import compute_plan


@pytest.fixture(scope="module")
def adapters(tiny_llama_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return {
        bits: make_adapter(folder / f"bits{bits}", tiny_llama_dir, bits, bits=bits, threshold=1e-6) for bits in (4, 32)
    }


def write_merged(adapter, output, base, **more):
    return merge_adapter(adapter, output, **{"base": str(base), "probes": REQUESTS, **more})


@pytest.fixture(scope="module")
def merged(adapters, tiny_llama_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("merged")
    (adapters[32] / "README.md").write_text("---\nlicense: cc-by-sa-4.0\n---\n# My reader\n\nFrom my notes.\n")
    return {bits: write_merged(adapters[bits], folder / str(bits), tiny_llama_dir) for bits in adapters}


@pytest.mark.parametrize("bits", [4, 32])
def test_a_merged_reader_is_the_base_with_the_adapter(merged, adapters, tiny_llama_dir, bits):
    beside, alone = fresh(tiny_llama_dir, adapters[bits]), fresh(merged[bits].path, None)
    assert alone.loaded.adapter is None and alone.adapters == ()
    assert (alone.threshold, alone.reading, alone.prompts.shots) == (1e-6, "separate", False)
    assert alone.prompts.fingerprint == beside.prompts.fingerprint
    expected, actual = seen(beside), seen(alone)
    assert [completion for completion, *_ in expected] == [completion for completion, *_ in actual]
    assert [row[1] for row in expected] == pytest.approx([row[1] for row in actual], abs=1e-4)
    untuned = seen(fresh(tiny_llama_dir, None, shots=False))
    assert [completion for completion, *_ in expected] != [completion for completion, *_ in untuned]
    logits = [reader.logits(*REQUESTS[0][:2], "fox") for reader in (beside, alone)]
    torch.testing.assert_close(*logits, rtol=0, atol=1e-3)


def test_an_adapter_trained_on_nf4_is_merged_into_both_and_the_closer_one_is_written(merged, adapters, tiny_llama_dir):
    done = merged[4]
    by_base = {candidate.base: candidate.difference for candidate in done.candidates}
    assert done.base == "nf4" and set(by_base) == {"nf4", "original"}
    assert by_base["nf4"].largest_logit < 1e-2 < by_base["original"].largest_logit
    assert by_base["nf4"].identical == by_base["nf4"].probes == len(REQUESTS)
    # What was written is the NF4 value, dequantised, plus the update.
    base = fresh(tiny_llama_dir, adapters[4]).loaded.model.get_base_model()
    layer = base.model.layers[1].self_attn.v_proj
    update = 2.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    written = load_file(done.path / "model.safetensors")["model.layers.1.self_attn.v_proj.weight"]
    torch.testing.assert_close(written, layer.base_layer.weight + update)
    original = load_file(tiny_llama_dir / "model.safetensors")["model.layers.1.self_attn.v_proj.weight"]
    assert (written - original - update).abs().max() > 1e-3


def test_a_nearer_original_base_would_be_the_one_written(adapters, tiny_llama_dir, tmp_path, monkeypatch):
    """The choice is by measurement: here the dequantised values are altered."""
    unpack = merge.unpack_nf4

    def unpack_and_alter(model):
        unpack(model)
        for layer in model.model.layers:
            layer.mlp.up_proj.weight.data.neg_()

    monkeypatch.setattr(merge, "unpack_nf4", unpack_and_alter)
    assert write_merged(adapters[4], tmp_path / "out", tiny_llama_dir, bound=1e9).base == "original"


def test_the_card_and_the_record_come_along(merged, adapters, tiny_llama_dir):
    card = (merged[32].path / "README.md").read_text()
    assert "license: cc-by-sa-4.0" in card and "the adapter CC-BY-SA-4.0" in card
    assert "### My reader" in card and "From my notes." in card
    assert "| the original weights | " in card and "4 of 4 | yes |" in card
    assert "| the dequantised NF4 weights | " in (merged[4].path / "README.md").read_text()
    record = json.loads((merged[32].path / "tuning.json").read_text())
    assert record["threshold"]["value"] == 1e-6 and record["base_model"]["merged_into"] == "original"
    assert record["adapter"]["fingerprint"] == fresh(tiny_llama_dir, adapters[32]).loaded.adapter.fingerprint
    text = "".join(path.read_text() for path in merged[32].path.iterdir() if path.suffix in (".json", ".md"))
    assert str(tiny_llama_dir.parent) not in text and str(adapters[32].parent) not in text


def test_equal_merges_have_equal_fingerprints(merged, adapters, tiny_llama_dir, tmp_path):
    again = write_merged(adapters[32], tmp_path / "again", tiny_llama_dir)
    prints = [fresh(model.path, None).loaded.weights.fingerprint for model in (merged[32], again)]
    assert prints[0] == prints[1] != fresh(tiny_llama_dir, None).loaded.weights.fingerprint


def test_another_prompt_version_is_refused_by_the_merged_model_too(merged, monkeypatch):
    monkeypatch.setattr(prompt, "PROMPT_VERSION", 999)
    with pytest.raises(PromptMismatchError, match=r"the model .* was trained under prompt"):
        fresh(merged[32].path, None)


def test_a_merged_model_is_a_base_for_adapters(merged, tmp_path):
    adapter = make_adapter(tmp_path / "more", merged[32].path, 9, threshold=0.5)
    reader = fresh(merged[32].path, None, adapters={"more": adapter})
    assert reader.with_adapter("more").threshold == 0.5 and reader.with_adapter("none").threshold == 1e-6
    assert seen(reader.with_adapter("more")) != seen(reader)


def test_four_bit_storage_is_refused_with_the_reason(adapters, tiny_llama_dir, tmp_path):
    for dtype in ("nf4", "int8", "4bit"):
        with pytest.raises(UsageError, match="rounded to a grid far coarser"):
            write_merged(adapters[32], tmp_path / "out", tiny_llama_dir, dtype=dtype)
    with pytest.raises(UsageError, match="'float64' is not known: use float32, float16, bfloat16"):
        write_merged(adapters[32], tmp_path / "out", tiny_llama_dir, dtype="float64")
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_half_the_size_and_told_apart(adapters, merged, tiny_llama_dir, tmp_path):
    done = write_merged(adapters[32], tmp_path / "half", tiny_llama_dir, dtype="float16", bound=10)
    sizes = [(model.path / "model.safetensors").stat().st_size for model in (done, merged[32])]
    assert sizes[0] == pytest.approx(sizes[1] / 2, rel=0.05)
    assert done.candidates[0].difference.largest_logit > merged[32].candidates[0].difference.largest_logit
    assert (done.path / "model.safetensors").stat().st_mode & 0o044 == 0o044


def test_what_is_there_is_not_overwritten_unasked_and_foreign_folders_never(merged, adapters, tiny_llama_dir, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        write_merged(adapters[32], out, tiny_llama_dir)
    with pytest.raises(UsageError, match="did not write, so it is not replaced"):
        write_merged(adapters[32], out, tiny_llama_dir, overwrite=True)
    assert (out / "thesis.txt").read_text() == "mine"
    shutil.rmtree(out)
    shutil.copytree(merged[4].path, out)
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds thesis\.txt, which rag_ft did not write"):
        write_merged(adapters[32], out, tiny_llama_dir, overwrite=True)
    (out / "thesis.txt").unlink()
    write_merged(adapters[32], out, tiny_llama_dir, overwrite=True)
    assert json.loads((out / "tuning.json").read_text())["base_model"]["bits"] == 32
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("trouble", ["bound", "interrupted", "disk", "free", "nan"])
def test_after_any_trouble_nothing_is_left_and_what_was_there_stays(
    merged, adapters, tiny_llama_dir, tmp_path, monkeypatch, trouble
):
    out = tmp_path / "out"
    shutil.copytree(merged[4].path, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    settings, adapter, expected = {}, adapters[32], (AdapterError, None)
    if trouble == "bound":
        settings, expected = {"bound": 0.0}, (AdapterError, r"above the bound of 0, so nothing was written")
    elif trouble == "interrupted":
        monkeypatch.setattr(merge, "difference", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        expected = (KeyboardInterrupt, None)
    elif trouble == "disk":

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(merge, "_card", full)
        expected = (AdapterError, r"the disk of .* is full: free some space")
    elif trouble == "free":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
        expected = (AdapterError, "needs .* MB of free space, and its disk has 1 MB")
    elif trouble == "nan":
        from safetensors.torch import save_file

        adapter = tmp_path.parent / f"{tmp_path.name}-nan"
        shutil.copytree(adapters[32], adapter)
        tensors = load_file(adapter / "adapter_model.safetensors")
        tensors[next(iter(tensors))][0, 0] = float("nan")
        save_file(tensors, adapter / "adapter_model.safetensors")
        expected = (AdapterError, "infinite or undefined values in")
    with pytest.raises(expected[0], match=expected[1]):
        write_merged(adapter, out, tiny_llama_dir, overwrite=True, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_what_a_killed_merge_left_is_cleared(adapters, tiny_llama_dir, tmp_path):
    import subprocess
    import sys

    dead_pid = int(subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True).stdout)
    for pid in (dead_pid, os.getppid()):
        (tmp_path / f".out.partial-{pid}-x").mkdir()
    write_merged(adapters[32], tmp_path / "out", tiny_llama_dir)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".out.partial-{os.getppid()}-x", "out"]


def test_a_wrong_adapter_is_reported_before_anything_is_written(adapters, merged, tiny_llama_dir, tmp_path):
    with pytest.raises(WeightsError, match="was trained on tiny"):
        write_merged(adapters[32], tmp_path / "out", merged[4].path)
    with pytest.raises(WeightsError, match="is not an adapter"):
        write_merged(tmp_path, tmp_path / "out", tiny_llama_dir)
    with pytest.raises(UsageError, match="at least one question"):
        write_merged(adapters[32], tmp_path / "out", tiny_llama_dir, probes=[])
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_record_is_reported(merged, tmp_path):
    shutil.copytree(merged[32].path, tmp_path / "m")
    (tmp_path / "m" / "tuning.json").write_text("{")
    with pytest.raises(WeightsError, match=r"tuning\.json is not JSON"):
        Reader.from_pretrained(str(tmp_path / "m"), plan=compute_plan("cpu"))


@pytest.mark.slow
def test_the_packaged_adapter_merges_exports_to_gguf_and_loads_again(tmp_path):
    """The default reader, in float32: the merged model and, at 16 bits, the GGUF say what base and adapter say."""
    from tiny_adapters import PLAN

    from rag_ft.adapters.export import export_gguf
    from rag_ft.adapters.probes import difference, handbook_probes, observe

    probes = handbook_probes(2)
    done = merge_adapter("packaged", tmp_path / "merged", probes=probes)
    (candidate,) = done.candidates
    assert candidate.difference.largest_logit < 1e-3 and candidate.difference.identical == 2
    file = export_gguf(done.path, tmp_path / "reader.gguf").path
    beside = Reader.from_pretrained(plan=PLAN)
    again = Reader.from_pretrained(str(file), plan=PLAN)
    assert (again.threshold, again.prompts.fingerprint) == (beside.threshold, beside.prompts.fingerprint)
    reference = observe(beside, probes)
    measured = difference(reference, observe(again, probes, reference))
    assert measured.identical == 2 and measured.largest_logit < 0.5
