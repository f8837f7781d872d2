"""Is bfloat16 faster than float32 on this machine? Ratio of forward times of the default reader, alternating.

python benchmarks/compute_type.py
"""

import statistics
import time

import torch

from rag_ft.models.compute import compute_plan
from rag_ft.models.loading import load_model


def main() -> None:
    loaded = load_model(plan=compute_plan("cpu"))
    models = {"float32": loaded.model}
    models["bfloat16"] = load_model(plan=compute_plan("cpu")).model.to(torch.bfloat16)
    print(f"{'tokens':>8} {'float32 s':>10} {'bfloat16 s':>11} {'bfloat16 / float32':>19}")
    for tokens in (300, 1):
        ids = torch.randint(100, 40_000, (1, tokens), generator=torch.Generator().manual_seed(0))
        times: dict[str, list[float]] = {name: [] for name in models}
        with torch.inference_mode():
            for _ in range(7):
                for name, model in models.items():
                    begin = time.perf_counter()
                    model(input_ids=ids, logits_to_keep=1)
                    times[name].append(time.perf_counter() - begin)
        medians = {name: statistics.median(values[1:]) for name, values in times.items()}
        ratio = medians["bfloat16"] / medians["float32"]
        print(f"{tokens:>8} {medians['float32']:>10.3f} {medians['bfloat16']:>11.3f} {ratio:>19.2f}")


if __name__ == "__main__":
    main()
