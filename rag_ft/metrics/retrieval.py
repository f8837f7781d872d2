"""hit@k, MRR and nDCG of a ranking, by ir-measures: the definitions are trec_eval's.

A passage is relevant to a question if it holds a whole piece of its evidence. hit@k is TREC's Success@k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag_ft.extras import require_extra
from rag_ft.schema import Evidence, Question, Record

CUTOFFS = (1, 3, 5, 10)


def retrieval_metrics(
    rankings: Mapping[str, Sequence[Place]], questions: Mapping[str, Question], cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, dict[str, float]]:
    """Metric name → question id → value, over questions with evidence; the others have no defined score.

    Names: `hit@k` for each cutoff up to the longest ranking, `MRR`, `nDCG` (binary gain). A question for which nothing
    relevant is in the ranking gets 0. Passages that hold the same evidence count as one: the first. Empty where no
    question has evidence.
    """
    require_extra("eval", "measuring retrieval", "ir_measures")
    import ir_measures
    from ir_measures import RR, Qrel, ScoredDoc, Success, nDCG

    deepest = max((len(ranking) for ranking in rankings.values()), default=0)
    names = {f"hit@{k}": Success @ k for k in cutoffs if k <= deepest} | {"MRR": RR, "nDCG": nDCG}
    qrels: list[Qrel] = []
    run: list[ScoredDoc] = []
    for question_id, ranking in rankings.items():
        evidence = questions[question_id].evidence
        if not evidence or not questions[question_id].answerable:
            continue
        found = False
        for rank, place in enumerate(ranking):
            name = f"{place.document_id}#{place.start}-{place.end}"
            relevant = not found and any(place.holds(one) for one in evidence)
            found = found or relevant
            if relevant:
                qrels.append(Qrel(question_id, name, 1))
            run.append(ScoredDoc(question_id, name, float(len(ranking) - rank)))
        if not found:
            qrels.append(Qrel(question_id, "not retrieved", 1))
            if not ranking:
                run.append(ScoredDoc(question_id, "nothing", 0.0))
    if not qrels:
        return {}
    values: dict[str, dict[str, float]] = {name: {} for name in names}
    by_measure = {measure: name for name, measure in names.items()}
    for metric in ir_measures.iter_calc(list(names.values()), qrels, run):
        values[by_measure[metric.measure]][metric.query_id] = float(metric.value)
    return values


class Place(Record):
    """A span of a document."""

    document_id: str
    start: int
    end: int

    def holds(self, other: Evidence) -> bool:
        """Whether all of a piece of evidence is inside."""
        return self.document_id == other.document_id and self.start <= other.start and other.end <= self.end
