"""hit@k, MRR and nDCG of a ranking, computed by ir-measures with trec_eval's definitions.

A passage is relevant to a question if it shows its evidence, as `Place.shows` says. hit@k is TREC's Success@k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag_ft.extras import require_extra
from rag_ft.schema import Evidence, Passage, Question, Record

CUTOFFS = (1, 3, 5, 10)


def retrieval_metrics(
    rankings: Mapping[str, Sequence[Place]], questions: Mapping[str, Question], cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, dict[str, float]]:
    """Metric name → question id → value, over questions with evidence; other questions have no defined score.

    Names: `hit@k` for each cutoff up to the longest ranking, `MRR`, `nDCG` (binary gain). A question for which nothing
    relevant is in the ranking gets 0. Of passages that hold the same evidence only the first counts. Empty where no
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
        retrieved = False
        for rank, passage in enumerate(ranking):
            name = f"{passage.document_id}#{passage.start}-{passage.end}"
            relevant = not retrieved and passage.shows(questions[question_id])
            retrieved = retrieved or relevant
            if relevant:
                qrels.append(Qrel(question_id, name, 1))
            run.append(ScoredDoc(question_id, name, float(len(ranking) - rank)))
        if not retrieved:
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
    """A span of a document, such as a passage without its text."""

    document_id: str
    start: int
    end: int

    @classmethod
    def of(cls, passage: Passage) -> Place:
        """What of its document a passage covers."""
        return cls(document_id=passage.document_id, start=passage.start, end=passage.end)

    def holds(self, evidence: Evidence) -> bool:
        """Whether a whole piece of evidence lies within it."""
        same = self.document_id == evidence.document_id
        return same and self.start <= evidence.start and evidence.end <= self.end

    def shows(self, question: Question) -> bool:
        """Whether a question can be answered from it: it holds a whole piece of evidence.

        A part can be longer than any passage. So for parts it is enough that the two share at least half of the
        shorter one.
        """
        return any(
            self.holds(piece) or (question.kind == "part" and self._shares_half(piece)) for piece in question.evidence
        )

    def _shares_half(self, evidence: Evidence) -> bool:
        shared = min(self.end, evidence.end) - max(self.start, evidence.start)
        shorter = min(self.end - self.start, evidence.end - evidence.start)
        return self.document_id == evidence.document_id and shared > 0 and 2 * shared >= shorter
