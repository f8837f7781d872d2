"""`rag-ft models`: which weights there are, and how this machine would run them."""

from __future__ import annotations

from rag_ft.cli.options import Json
from rag_ft.cli.terminal import echo_json


def models(as_json: Json = False) -> None:
    """List weights (source, licence, size, checksum, place) and say what this machine would use, and why."""
    import json
    from dataclasses import asdict

    from rag_ft import environment
    from rag_ft.cli.render import stdout
    from rag_ft.models.compute import compute_plan
    from rag_ft.models.weights import known_weights

    plan = compute_plan()
    known = known_weights()
    if as_json:
        weights = [{**asdict(one), "path": str(one.path) if one.path else None} for one in known]
        echo_json(json.dumps({"weights": weights, "plan": {**asdict(plan), "line": plan.line}}))
        return
    console = stdout()
    for one in known:
        console.print(one.name, style="bold", end="")
        console.print(f"  {one.kind}, {one.licence}, {one.size_bytes / 1e6:,.0f} MB, {one.source}")
        console.print(f"  sha256 {one.sha256}", style="dim")
        place = str(one.path) if one.path else "not fetched yet: the first use fetches it"
        console.print(f"  {place}", style="dim")
    console.print()
    console.print("This machine", style="bold", end="")
    console.print(f"  {plan.line}")
    for reason in plan.reasons:
        console.print(f"  {reason}", style="dim")
    console.print(f"  kept in {environment.home()} (RAG_FT_HOME changes it)", style="dim")
