"""Searching one state of an index in a database: as `Searcher`, with everything fetched within one session."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_ft.indexing.databases.generation import DatabaseGeneration
from rag_ft.indexing.databases.store import Rows, StoreSession
from rag_ft.indexing.searcher import Searcher
from rag_ft.indexing.storage.vectors import Scored
from rag_ft.schema import Hit

if TYPE_CHECKING:
    from rag_ft.indexing.embedding import Embedder


class DatabaseSearcher(Searcher):
    """Searches the state that an index had when the searcher was made.

    For one thread; its session ends when it is deleted.
    """

    def __init__(self, generation: DatabaseGeneration, session: StoreSession, embedder: Callable[[], Embedder]) -> None:
        """Search a generation within a session over it."""
        self._state = generation.within(session)
        super().__init__(self._state, embedder)
        self._session = session
        weakref.finalize(self, session.close)

    def distinct(self, ranking: Iterable[Scored], k: int) -> list[Scored]:
        """The k best of a ranking, without rows whose text, but for white space, is that of a better one."""
        ranking = list(ranking)
        keys = self._text_keys([scored.row for scored in ranking])
        best: dict[int, Scored] = {}
        for scored in ranking:
            best.setdefault(keys[scored.row], scored)
            if len(best) == k:
                break
        return list(best.values())

    def hits(self, ranking: Iterable[Scored], allowed: NDArray[np.int64] | None = None) -> list[Hit]:
        """Rows and scores, best first, as hits. `allowed`: other passages with a hit's text are named only if here."""
        ranking = list(ranking)
        if not ranking:
            return []
        rows = [scored.row for scored in ranking]
        passages = self._state.passages_at(np.array(rows, dtype=np.int64))
        also_in = self._others(rows, allowed)
        return [
            Hit(passage=passage, score=scored.score, rank=rank, also_in=also_in[scored.row])
            for rank, (scored, passage) in enumerate(zip(ranking, passages, strict=True), start=1)
        ]

    def _text_keys(self, rows: list[int]) -> dict[int, int]:
        known = self._state.known_text_keys
        missing = np.array([row for row in rows if row not in known], dtype=np.int64)
        if len(missing):
            fetched = self._session.text_keys(self._state.stored_rows(missing))
            known.update(zip(missing.tolist(), fetched.tolist(), strict=True))
        return known

    def _others(self, rows: list[int], allowed: NDArray[np.int64] | None) -> dict[int, tuple[str, ...]]:
        """Ids of the other passages with the text of each row."""
        keys = self._text_keys(rows)
        copies = self._session.copies(sorted({keys[row] for row in rows}))
        found = self._state.rows_of(Rows.of(copies))
        rows_by_key: dict[int, list[int]] = {}
        visible = None if allowed is None else set(allowed.tolist())
        for row, (_, _, key) in zip(found.tolist(), copies, strict=True):
            if row >= 0 and (visible is None or row in visible):
                rows_by_key.setdefault(key, []).append(row)
        others = {row: sorted({*rows_by_key.get(keys[row], ())} - {row}) for row in rows}
        named = sorted({other for several in others.values() for other in several})
        ids = dict(zip(named, (p.id for p in self._state.passages_at(np.array(named, dtype=np.int64))), strict=True))
        return {row: tuple(ids[other] for other in several) for row, several in others.items()}
