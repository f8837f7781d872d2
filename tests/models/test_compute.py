import pytest

from rag_ft.errors import UsageError
from rag_ft.models import compute
from rag_ft.models.compute import compute_plan, in_float32


def test_a_plan_says_what_it_is_and_why(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    plan = compute_plan("cpu", "nf4")
    assert plan.line == f"cpu, {plan.dtype}, quantisation nf4, 3 threads"
    assert "quantisation: nf4 was requested" in plan.reasons and "threads: OMP_NUM_THREADS is set" in plan.reasons
    assert [reason.partition(":")[0] for reason in plan.reasons] == [
        "device",
        "compute type",
        "quantisation",
        "threads",
    ]


def test_without_a_setting_every_core_that_may_be_used_is_a_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    assert compute_plan("cpu").threads == 3


@pytest.mark.parametrize(("flags", "dtype"), [({"avx2", "amx_bf16"}, "bfloat16"), ({"avx2", "avx512f"}, "float32")])
def test_a_cpu_computes_in_bfloat16_only_where_that_is_fast(monkeypatch, flags, dtype):
    monkeypatch.setattr(compute, "_cpu_flags", lambda: frozenset(flags))
    assert compute_plan("cpu").dtype == dtype
    assert compute.autocast(on_cpu=True) == ("none" if dtype == "float32" else dtype)


def test_what_this_machine_does_not_have_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="cuda:1 was requested, but torch finds no CUDA device: use cpu"):
        compute_plan("cuda:1")
    with pytest.raises(UsageError, match="'tpu' is not known"):
        compute_plan("tpu")
    with pytest.raises(UsageError, match="'int8' is not known: use none or nf4"):
        compute_plan("cpu", "int8")


def test_norms_and_a_head_of_its_own_stay_in_float32():
    assert in_float32("model.norm.weight") and in_float32("lm_head.weight")
    assert not in_float32("model.layers.0.mlp.up_proj.weight")
