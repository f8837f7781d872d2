"""Question records from a data set of the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from rag_ft.errors import DatasetError, UsageError, first_line, first_problem
from rag_ft.extras import require_extra
from rag_ft.questions.records import checked_records, squad_question, write_questions
from rag_ft.questions.squad import PARAGRAPH_GAP, SquadAnswer, SquadParagraph, SquadQuestion
from rag_ft.schema import Document, Question


def read_hub_questions(name: str, split: str = "train") -> tuple[list[Document], list[Question]]:
    """Documents and question records of a hub data set with SQuAD's columns: id, title, context, question, answers.

    `name` is a data set's id, or a local folder that `datasets` can read. The contexts of a title become one document,
    as paragraphs of an article do. A record with empty answers is unanswerable. Honours `HF_HUB_OFFLINE`. Raises
    DatasetError where the data set cannot be loaded or a column is missing, naming it.
    """
    require_extra("train", "reading a data set of the Hugging Face hub", "datasets")
    from datasets.exceptions import DatasetsError

    from datasets import load_dataset

    try:
        rows = load_dataset(name, split=split)
    except (OSError, ValueError, RuntimeError, DatasetsError, StopIteration, IndexError) as error:
        raise DatasetError(
            f"the data set {name!r} cannot be loaded ({first_line(error)}): check id, split and network, or give a file"
        ) from error
    missing = [column for column in ("context", "question", "answers") if column not in rows.column_names]
    if missing:
        raise DatasetError(
            f"the data set {name!r} has no column {missing[0]!r} (it has {', '.join(rows.column_names)}): give one with"
            " SQuAD's columns, or write question records as JSONL"
        )
    offsets: dict[str, dict[str, int]] = {}  # title → context → where the context starts in the document
    untitled: dict[str, str] = {}
    lengths: dict[str, int] = {}
    questions: list[Question] = []
    for i, row in enumerate(rows):
        record, context = _hub_record(row, i, name)
        # Without titles each context is a document: a split by document then never has it on both sides.
        default_title = untitled.setdefault(context, f"document-{len(untitled) + 1}")
        title = str(row.get("title") or default_title)
        contexts = offsets.setdefault(title, {})
        if context not in contexts:
            contexts[context] = lengths.get(title, 0)
            lengths[title] = lengths.get(title, 0) + len(context) + len(PARAGRAPH_GAP)
        questions.append(squad_question(record, context, title, contexts[context], Path(name)))
    questions = checked_records(questions, f"the data set {name!r}")
    documents = [
        Document(id=title, title=title.replace("_", " "), text=PARAGRAPH_GAP.join(contexts))
        for title, contexts in offsets.items()
    ]
    return documents, questions


def _hub_record(row: dict[str, Any], i: int, name: str) -> tuple[SquadQuestion, str]:
    """A row's question and its context. Raises DatasetError naming the row."""
    try:
        answers = row["answers"] or {"text": [], "answer_start": []}
        record = SquadQuestion(
            id=row.get("id") or f"row-{i}",
            question=row["question"],
            answers=[
                SquadAnswer(text=text, answer_start=start)
                for text, start in zip(answers["text"], answers["answer_start"], strict=True)
            ],
            is_impossible=not answers["text"],
        )
        return record, SquadParagraph(context=row["context"]).context
    except (KeyError, TypeError, ValueError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else first_line(error)
        raise DatasetError(
            f"row {i} of the data set {name!r} is not in SQuAD's format ({reason}): give a context, a question, and"
            " answers with lists text and answer_start of equal length"
        ) from error


class Fetched(NamedTuple):
    """Files that a hub data set was written to."""

    documents: Path
    """Documents, for `rag-ft index build`."""
    questions: Path
    """Question records, for `rag-ft train` and `rag-ft data check`."""
    document_count: int
    question_count: int


def fetch_hub_questions(name: str, folder: str | Path, split: str = "train") -> Fetched:
    """Write a hub data set as `documents.jsonl` and `questions.jsonl` into a folder.

    Raises DatasetError, and UsageError where the folder cannot be made.
    """
    documents, questions = read_hub_questions(name, split)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made ({error.strerror}): give another one") from error
    fetched = Fetched(folder / "documents.jsonl", folder / "questions.jsonl", len(documents), len(questions))
    rows = [{"id": document.id, "title": document.title, "text": document.text} for document in documents]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    fetched.documents.write_text("".join(lines), encoding="utf-8")
    write_questions(questions, fetched.questions)
    return fetched
