"""Where the program keeps what it makes for itself: one folder, named by RAG_FT_HOME or the platform's cache."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def home() -> Path:
    """Folder for converted weights and the demo's index.

    `RAG_FT_HOME` where set and not empty, else the platform's cache folder for `rag_ft`. Not created here.
    """
    given = os.environ.get("RAG_FT_HOME", "")
    return Path(given).expanduser() if given else user_cache_path("rag_ft", appauthor=False)
