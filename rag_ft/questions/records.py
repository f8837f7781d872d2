"""Read and write question records: our own JSONL, and SQuAD's JSON (1.1 and 2.0); check them against documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from rag_ft.errors import DatasetError, first_line, first_problem
from rag_ft.files import write_atomic
from rag_ft.questions.squad import PARAGRAPH_GAP, SquadQuestion, parse_squad
from rag_ft.schema import Document, Evidence, Origin, Question


def read_questions(path: str | Path) -> list[Question]:
    """The question records of a `.jsonl` file of ours or a SQuAD `.json` file, in the file's order.

    Evidence offsets of a SQuAD file count in the documents that `corpus.read_corpus` makes of its articles. Repeated
    accepted answers are kept once. Raises DatasetError naming the line or question, also for a repeated id; its
    `problems` name every wrong record.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError):
            reason = error.strerror
        else:
            line = error.object[: error.start].count(b"\n") + 1
            reason = f"it is not UTF-8: byte 0x{error.object[error.start]:02X} in line {line}"
        raise DatasetError(
            f"{path} cannot be read ({reason}): give a .jsonl of question records or a SQuAD .json"
        ) from error
    records = _from_squad(text, path) if path.suffix.lower() == ".json" else _from_lines(text, path)
    return checked_records(records, str(path))


def checked_records(records: Iterable[Question | DatasetError], source: str) -> list[Question]:
    """The question records of a source, if none is an error and all ids differ. Raises DatasetError."""
    questions: list[Question] = []
    problems: list[str] = []
    seen: Counter[str] = Counter()
    for record in records:
        if isinstance(record, DatasetError):
            problems.append(str(record))
            continue
        seen[record.id] += 1
        if seen[record.id] == 2:
            problems.append(f"{source} holds the question id {record.id!r} twice: make the ids unique")
        questions.append(record)
    if problems:
        more = f" ({len(problems) - 1:,} more are wrong: rag-ft data check names them)" if len(problems) > 1 else ""
        raise DatasetError(problems[0] + more, problems)
    if not questions:
        raise DatasetError(f"{source} holds no question: give a .jsonl of question records or a SQuAD .json")
    return questions


def write_questions(questions: Iterable[Question], path: str | Path) -> None:
    """Write records as JSONL, one per line, without fields that have their default; the whole file or nothing of it."""
    lines = [question.model_dump_json(exclude_defaults=True) + "\n" for question in questions]
    write_atomic(Path(path), "".join(lines))


ORIGINS: dict[Origin, str] = {"human": "by people", "made": "made by a program", "feedback": "from feedback"}
"""Origins of records in words, after a number."""


def origin_counts(questions: Iterable[Question]) -> dict[str, int]:
    """Number of records of each origin; empty where people wrote all of them, which needs no saying."""
    counts = Counter(question.origin for question in questions)
    return {origin: counts[origin] for origin in ORIGINS if counts[origin]} if set(counts) - {"human"} else {}


def origin_words(counts: Mapping[str, int]) -> str:
    """The counts for people to read: "120 by people, 30 from feedback"."""
    return ", ".join(f"{counts[origin]:,} {words}" for origin, words in ORIGINS.items() if counts.get(origin))


def moved_evidence(question: Question, piece: Evidence, text: str) -> str:
    """A sentence that says what a document holds at the place of a piece of evidence; empty where it is the quote."""
    held = text[piece.start : piece.end]
    if held == piece.quote:
        return ""
    return (
        f"question {question.id}: {piece.document_id} holds {held[:60]!r} at {piece.start}-{piece.end},"
        f" not {piece.quote[:60]!r}"
    )


def check_evidence(questions: Iterable[Question], documents: Iterable[Document]) -> list[str]:
    """Problems of the evidence, one sentence each: quotes not at their offsets, answers not in their quotes."""
    texts = {document.id: document.text for document in documents}
    problems: list[str] = []
    for question in questions:
        for piece in question.evidence:
            text = texts.get(piece.document_id)
            if text is None:
                problems.append(f"question {question.id}: there is no document {piece.document_id!r}")
            elif moved := moved_evidence(question, piece, text):
                problems.append(moved)
        if question.answerable and question.evidence:
            quotes = " ".join(piece.quote for piece in question.evidence)
            if not any(answer in quotes for answer in question.answers):
                problems.append(f"question {question.id}: no accepted answer is in its evidence")
    return problems


def _from_lines(text: str, path: Path) -> Iterator[Question | DatasetError]:
    """The record of each line, or what is wrong with it."""
    for line_number, line in enumerate(text.split("\n"), start=1):  # JSON strings may hold other line ends
        if not line.strip():
            continue
        if not line.lstrip().startswith("{"):
            yield DatasetError(
                f"{path}, line {line_number}: {line.strip()[:40]!r} is not a JSON object: give a .jsonl of question"
                " records, one per line, or a SQuAD .json"
            )
            continue
        try:
            yield Question.model_validate_json(line)
        except ValidationError as error:
            yield DatasetError(f"{path}, line {line_number}: {first_problem(error)}: correct the record")


def _from_squad(text: str, path: Path) -> Iterator[Question | DatasetError]:
    """The record of each question, or what is wrong with it. Raises DatasetError where the file has another format."""
    try:
        articles = parse_squad(text)
    except (ValueError, RecursionError) as error:  # json raises ValueError also for a number of 5,000 digits
        reason = first_problem(error) if isinstance(error, ValidationError) else first_line(error)
        raise DatasetError(f"{path} is not SQuAD's format ({reason}): give a SQuAD .json or a .jsonl") from error
    for title, article in articles:
        offset = 0
        for paragraph in article.paragraphs:
            for record in paragraph.qas:
                try:
                    yield squad_question(record, paragraph.context, title, offset, path)
                except DatasetError as error:
                    yield error
            offset += len(paragraph.context) + len(PARAGRAPH_GAP)


def squad_question(record: SquadQuestion, context: str, document: str, offset: int, path: Path) -> Question:
    """One question of SQuAD's JSON as a record; `offset`: where its paragraph starts in the document."""
    answers = record.plausible_answers if record.is_impossible else record.answers
    evidence: dict[tuple[int, int], Evidence] = {}
    for answer in answers:
        start, end = answer.answer_start, answer.answer_start + len(answer.text)
        if context[start:end] != answer.text:
            raise DatasetError(
                f"{path}, question {record.id}: the paragraph holds {context[start:end]!r} at {start}, not"
                f" {answer.text!r}: correct answer_start"
            )
        evidence[start, end] = Evidence(document_id=document, start=offset + start, end=offset + end, quote=answer.text)
    if record.is_impossible and not evidence:
        evidence[0, 0] = Evidence(document_id=document, start=offset, end=offset + len(context), quote=context)
    try:
        return Question(
            id=str(record.id),
            question=record.question.strip(),
            answers=() if record.is_impossible else tuple(dict.fromkeys(answer.text for answer in record.answers)),
            evidence=tuple(evidence.values()),
            answerable=not record.is_impossible,
        )
    except ValidationError as error:
        raise DatasetError(f"{path}, question {record.id}: {first_problem(error)}: correct the record") from error
