"""Readers that know the records they are asked about, and the verdict on them."""

from pathlib import Path

from rag_ft.adapting.judge import BEFORE, by_origin
from rag_ft.adapting.next_steps import where_questions_go_wrong
from rag_ft.adapting.verdict import Advised, Findings, decide

OUT = Path("adapted")
NOTHING = Advised((), (), OUT / "label.jsonl", ())


def decided(compared, advised=NOTHING, start="packaged", not_retrieved=None):
    """The verdict on a comparison."""
    lost, missed = where_questions_go_wrong(compared.replies[BEFORE], compared.questions)
    origins = by_origin(compared.replies, compared.questions, 0)
    missed = missed if not_retrieved is None else not_retrieved
    return decide(Findings(compared.results, origins, lost, missed), advised, OUT, start, "default")


def right(record):
    return record.answers[0] if record.answers else None


def wrong(record):
    return "zebra"


def half(record):
    return right(record) if sum(record.id.encode()) % 2 else wrong(record)


def other_half(record):
    return wrong(record) if sum(record.id.encode()) % 2 else right(record)
