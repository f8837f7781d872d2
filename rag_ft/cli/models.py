"""`rag-ft models`: which weights there are, and how this machine would run them."""

from __future__ import annotations

from rag_ft.cli.options import JsonOption
from rag_ft.cli.terminal import echo_json


def models(as_json: JsonOption = False) -> None:
    """List model weights (source, licence, size, checksum, location), and what this machine would run them on."""
    import json
    from dataclasses import asdict

    from rag_ft import environment
    from rag_ft.cli.render import stdout
    from rag_ft.models.compute import compute_plan
    from rag_ft.models.embedding_backend import embedding_plan
    from rag_ft.models.weights import known_weights

    plan, embedding = compute_plan(), embedding_plan()
    known = known_weights()
    if as_json:
        listed = [{**asdict(weights), "path": str(weights.path) if weights.path else None} for weights in known]
        plans = {
            "plan": {**asdict(plan), "line": plan.line},
            "embedding": {**asdict(embedding), "line": embedding.line},
        }
        echo_json(json.dumps({"weights": listed, **plans}))
        return
    console = stdout()
    for weights in known:
        console.print(weights.name, style="bold", end="")
        console.print(f"  {weights.kind}, {weights.licence}, {weights.size_bytes / 1e6:,.0f} MB, {weights.source}")
        console.print(f"  sha256 {weights.sha256}", style="dim")
        location = str(weights.path) if weights.path else "not fetched yet: fetched on first use"
        console.print(f"  {location}", style="dim")
    console.print()
    console.print("This machine", style="bold", end="")
    console.print(f"  {plan.line}")
    for reason in plan.reasons:
        console.print(f"  {reason}", style="dim")
    console.print("Embedding", style="bold", end="")
    console.print(f"  {embedding.line}")
    for reason in embedding.reasons:
        console.print(f"  {reason}", style="dim")
    console.print(f"  models are kept in {environment.home()} (set RAG_FT_HOME to change it)", style="dim")
