"""The attacks of `benchmarks/attacks/`, for the small versions of them that are tests."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks" / "attacks"


def attack(name: str) -> ModuleType:
    """The script of an attack, as a module."""
    loaded = sys.modules.get(f"attacks_{name}")
    if loaded is not None:
        return loaded
    spec = importlib.util.spec_from_file_location(f"attacks_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_attack(name: str, *options: str) -> str:
    """What an attack prints; it has a process of its own, which it may fork and watch."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
