"""Question records from files: our own JSONL, and SQuAD's JSON (1.1 and 2.0)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from rag_ft.errors import DatasetError, first_line, first_problem
from rag_ft.questions.squad import PARAGRAPH_GAP, SquadQuestion, parse_squad
from rag_ft.schema import Document, Evidence, Question


def read_questions(path: str | Path) -> list[Question]:
    """The question records of a `.jsonl` file of ours or a SQuAD `.json` file, in the file's order.

    Evidence offsets of a SQuAD file count in its articles as `corpus.read_corpus` makes documents of them. Repeated
    accepted answers are kept once. Raises DatasetError naming the line or question, also for a repeated id; its
    `problems` name every record that is wrong.
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
    found = _from_squad(text, path) if path.suffix.lower() == ".json" else _from_lines(text, path)
    return checked_records(found, str(path))


def checked_records(found: Iterable[Question | DatasetError], where: str) -> list[Question]:
    """The records, where all that was found are records and each has an id of its own. Raises DatasetError."""
    questions: list[Question] = []
    wrong: list[str] = []
    seen: Counter[str] = Counter()
    for one in found:
        if isinstance(one, DatasetError):
            wrong.append(str(one))
            continue
        seen[one.id] += 1
        if seen[one.id] == 2:
            wrong.append(f"{where} holds the question id {one.id!r} twice: make the ids unique")
        questions.append(one)
    if wrong:
        more = f" ({len(wrong) - 1:,} more are wrong: rag-ft data check names them)" if len(wrong) > 1 else ""
        raise DatasetError(wrong[0] + more, wrong)
    if not questions:
        raise DatasetError(f"{where} holds no question: give a .jsonl of question records or a SQuAD .json")
    return questions


def write_questions(questions: Iterable[Question], path: str | Path) -> None:
    """Write records as JSONL, one a line, default fields left out."""
    lines = [question.model_dump_json(exclude_defaults=True) + "\n" for question in questions]
    Path(path).write_text("".join(lines), encoding="utf-8")


def moved_evidence(question: Question, piece: Evidence, text: str) -> str:
    """What stands in a document's text instead of a piece of evidence, in words; empty where it is there."""
    found = text[piece.start : piece.end]
    if found == piece.quote:
        return ""
    return (
        f"question {question.id}: {piece.document_id} holds {found[:60]!r} at {piece.start}-{piece.end},"
        f" not {piece.quote[:60]!r}"
    )


def check_evidence(questions: Iterable[Question], documents: Iterable[Document]) -> list[str]:
    """What is wrong with the evidence, a sentence each: quotes not at their offsets, answers not in their quotes."""
    texts = {document.id: document.text for document in documents}
    wrong: list[str] = []
    for question in questions:
        for one in question.evidence:
            text = texts.get(one.document_id)
            if text is None:
                wrong.append(f"question {question.id}: there is no document {one.document_id!r}")
            elif moved := moved_evidence(question, one, text):
                wrong.append(moved)
        if question.answerable and question.evidence:
            quotes = " ".join(one.quote for one in question.evidence)
            if not any(answer in quotes for answer in question.answers):
                wrong.append(f"question {question.id}: no accepted answer stands in its evidence")
    return wrong


def _from_lines(text: str, path: Path) -> Iterator[Question | DatasetError]:
    """The records of each line, or what is wrong with it."""
    for number, line in enumerate(text.split("\n"), start=1):  # JSON strings may hold other line ends
        if not line.strip():
            continue
        if not line.lstrip().startswith("{"):
            yield DatasetError(
                f"{path}, line {number}: {line.strip()[:40]!r} is no JSON object: give a .jsonl of question records,"
                " one a line, or a SQuAD .json"
            )
            continue
        try:
            yield Question.model_validate_json(line)
        except ValidationError as error:
            yield DatasetError(f"{path}, line {number}: {first_problem(error)}: correct the record")


def _from_squad(text: str, path: Path) -> Iterator[Question | DatasetError]:
    """The records of each question, or what is wrong with it. Raises DatasetError where the file has another form."""
    try:
        articles = parse_squad(text)
    except (ValueError, RecursionError) as error:  # json's are ValueErrors, also that of a number of 5,000 digits
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
    """One question of SQuAD's JSON as a record; `offset`: where its paragraph begins in the document."""
    given = record.plausible_answers if record.is_impossible else record.answers
    evidence: dict[tuple[int, int], Evidence] = {}
    for answer in given:
        start, end = answer.answer_start, answer.answer_start + len(answer.text)
        if context[start:end] != answer.text:
            raise DatasetError(
                f"{path}, question {record.id}: {context[start:end]!r} stands at {start}, not {answer.text!r}: correct"
                " answer_start"
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
