from rag_ft.training.lora import AdapterConfig
from rag_ft.training.steps.probe import tokens_per_second


def test_the_speed_of_training_is_measured_on_real_steps(tiny_llama_dir):
    assert tokens_per_second(str(tiny_llama_dir), AdapterConfig(rank=4), tokens=400, seconds=0.0) > 0
