from __future__ import annotations

import pytest

from rag_ft.errors import MissingExtraError, UsageError
from rag_ft.models import embedding_backend
from rag_ft.models.compute import ComputePlan
from rag_ft.models.embedding_backend import embedding_plan


@pytest.fixture
def machine(monkeypatch):
    """Make the machine what the test says, with OpenVINO unless it says not."""
    monkeypatch.delenv("RAG_FT_EMBED_WITH", raising=False)

    def make(dtype="float32", device="cpu", openvino=True):
        def plan(asked=None):
            return ComputePlan(asked or device, dtype, "none", 4, ("device: x", f"compute type: {dtype}, because"))

        monkeypatch.setattr(embedding_backend, "compute_plan", plan)
        monkeypatch.setattr(embedding_backend, "is_installed", lambda module: openvino)

    make()
    return make


def test_openvino_is_used_by_itself_where_it_is_installed_and_the_plan_says_so(machine):
    plan = embedding_plan()
    assert (plan.backend, plan.requested) == ("openvino", False)
    assert plan.line == "openvino on cpu, float32 products, 4 threads"
    assert plan.reasons == ("backend: OpenVINO is installed", "compute type: float32, because")


def test_bfloat16_is_used_only_where_the_machine_computes_it_fast(machine):
    assert embedding_plan().arithmetic == "openvino float32"
    machine(dtype="bfloat16")
    assert embedding_plan().arithmetic == "openvino bfloat16"
    assert embedding_plan("torch").arithmetic == "torch float32"


def test_without_openvino_torch_embeds_and_the_plan_says_what_to_install(machine):
    machine(openvino=False)
    plan = embedding_plan()
    assert plan.arithmetic == "torch float32"
    assert "pip install 'rag-ft[fast]'" in plan.reasons[0]


def test_a_gpu_is_torchs_unless_openvino_is_named(machine):
    machine(device="cuda:0")
    assert embedding_plan().line == "torch on cuda:0, float32 products, 4 threads"
    assert embedding_plan("openvino").device == "cpu"
    with pytest.raises(UsageError, match="OpenVINO embeds on the CPU, and the device cuda:0 was requested"):
        embedding_plan("openvino", device="cuda:0")


def test_the_environment_chooses_where_nothing_else_does(machine, monkeypatch):
    monkeypatch.setenv("RAG_FT_EMBED_WITH", "torch")
    assert (embedding_plan().backend, embedding_plan().requested) == ("torch", True)
    assert embedding_plan("openvino").backend == "openvino"
    monkeypatch.setenv("RAG_FT_EMBED_WITH", "onnx")
    with pytest.raises(UsageError, match="RAG_FT_EMBED_WITH is 'onnx', which is not known: use auto, torch or"):
        embedding_plan()


def test_openvino_that_was_named_is_not_replaced(machine, monkeypatch):
    monkeypatch.setattr("rag_ft.extras.is_installed", lambda module: False)
    with pytest.raises(MissingExtraError, match=r"embedding with OpenVINO needs the extra 'fast'"):
        embedding_plan("openvino")
