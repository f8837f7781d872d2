"""`rag-ft plan`: the size of an adapter, and what training it would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rag_ft.cli.options import JsonOption
from rag_ft.cli.settings import AlphaOption, DoraOption, RankOption, RsloraOption, TargetsOption, adapter_config
from rag_ft.cli.terminal import echo_json

if TYPE_CHECKING:
    from rag_ft.training.lora import AdapterConfig, LoraPlan

_LABELLED_SHARE = 4
"""One token in this many is assumed to be labelled."""


def plan(
    model: Annotated[str, typer.Argument(help="'default', a model folder or a hub id.")] = "default",
    rank: RankOption = 16,
    alpha: AlphaOption = None,
    target_modules: TargetsOption = "",
    rslora: RsloraOption = False,
    dora: DoraOption = False,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens per step.")] = 1280,
    probe: Annotated[bool, typer.Option(help="Time a few steps on this machine: 10 s; loads the weights.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Show the size of an adapter, and the memory and time its training needs, before you train."""
    import json

    from rag_ft.cli.render import stdout
    from rag_ft.training.lora import lora_plan, read_config

    settings = adapter_config(rank, alpha, target_modules, rslora=rslora, dora=dora)
    size = lora_plan(read_config(model), settings)
    memory = _memory(size, tokens)
    speed = None
    if probe:
        from rag_ft.training.steps.probe import tokens_per_second

        speed = tokens_per_second(model, settings, tokens)
    if as_json:
        echo_json(
            json.dumps(
                {
                    "projections": [projection.model_dump() for projection in size.projections],
                    "trainable": size.trainable,
                    "share": size.share,
                    "scale": settings.scale,
                    "adapter_bytes": size.adapter_bytes(),
                    "memory_bytes": memory,
                    "tokens_per_second": speed,
                }
            )
        )
    else:
        _print_plan(size, settings, memory, speed, stdout())
    return 0


def _memory(size: LoraPlan, tokens: int) -> dict[str, int]:
    """Estimated bytes of each part of a training step."""
    labelled = tokens // _LABELLED_SHARE
    return {
        **{f"weights at {bits} bits": size.weight_bytes(bits) for bits in (4, 8, 16, 32)},
        "adapter, gradients, optimiser": size.optimiser_bytes(),
        f"activations of {tokens:,} tokens": size.activation_bytes(tokens, labelled, checkpointing=False),
        "the same, with gradient checkpointing": size.activation_bytes(tokens, labelled, checkpointing=True),
    }


def _print_plan(
    size: LoraPlan, settings: AdapterConfig, memory: dict[str, int], speed: float | None, console: Any
) -> None:
    for projection in size.projections:
        inputs, outputs = projection.inputs, projection.outputs
        magnitudes = f" + {outputs}" if settings.dora else ""
        console.print(
            f"{projection.name:<12} {projection.count} x  {inputs} x {outputs} = {projection.weights:>11,}   adapter"
            f" {settings.rank} x ({inputs} + {outputs}){magnitudes} = {projection.adapter:,}:"
            f" {projection.weights / projection.adapter:.0f} times fewer",
        )
    console.print(
        f"\n{size.trainable:,} trainable parameters, {size.share:.2%} of the model;"
        f" {size.adapter_bytes() / 1e6:.1f} MB on disk at 16 bits",
    )
    console.print(settings.scale_note())
    console.print()
    console.print("memory (estimates)")
    for name, size_bytes in memory.items():
        console.print(f"  {name:<40} {size_bytes / 1e6:>9,.0f} MB")
    console.print()
    if speed:
        console.print(
            f"speed on this machine: {speed:,.0f} tokens per second, {1000 * 70 / speed:,.0f} s for 1,000 examples of"
            " 70 tokens"
        )
    else:
        console.print("--probe times a few steps on this machine", style="dim")
