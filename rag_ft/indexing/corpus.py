"""Files, JSONL or langchain documents → `Document`s, one after another; what cannot be read is told, not raised."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from functools import cache, partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pydantic import ValidationError

from rag_ft.errors import CorpusError, UsageError, first_problem
from rag_ft.indexing.access import ACCESS, RULES, AccessRules, Label, label_of, labelled, narrowed
from rag_ft.indexing.formats import READERS, ReadLimits, Unreadable
from rag_ft.indexing.parsing.input import Lines, lines_of, open_ordinary, pieces_of
from rag_ft.indexing.parsing.wire import Request
from rag_ft.indexing.parsing.worker import Worker, WorkerFailed
from rag_ft.indexing.storage.folder import holds_index
from rag_ft.schema import Document, json_value

if TYPE_CHECKING:
    from langchain_core.document_loaders import BaseLoader
    from langchain_core.documents import Document as LangchainDocument

logger = logging.getLogger(__name__)

Source: TypeAlias = "str | Path | BaseLoader | Iterable[LangchainDocument] | Iterable[Document]"

_LINES = ".jsonl"
_JSON = ".json"
_READ = (_LINES, _JSON, *READERS)


class CorpusFailure(NamedTuple):
    """A file, or a line of one, that gave no document."""

    source: str
    reason: str
    file: str = ""
    """The file or folder, named from the corpus folder as an id is: all that was in it may be what cannot be read."""
    document: str | None = None
    """Id of the one document that cannot be read, where that is known."""
    refused: bool = False
    """True where it can be read, but not known who may read it: what was indexed of it before must not stay."""


class Corpus:
    """Documents, read while they are iterated; memory holds one at a time, or a few lines of a .jsonl.

    `failures` and `skipped` grow during the iteration and begin anew with the next one. Two documents of one id: the
    first counts, the other is a failure.
    """

    def __init__(
        self, name: str, read: Callable[[Corpus, Worker], Iterator[Document]], limits: ReadLimits | None = None
    ) -> None:
        self.name = name
        """Where the documents come from, for messages."""
        self.failures: list[CorpusFailure] = []
        """What should have been read and could not."""
        self.skipped: list[CorpusFailure] = []
        """What was never tried: hidden files, other kinds of files."""
        self.file = ""
        """The file of the last document, named from the corpus folder; empty for documents in memory."""
        self.path: Path | None = None
        """Where that file is; None for documents in memory."""
        self.root: Path | None = None
        """The corpus folder, or the one file."""
        self._rules = AccessRules()
        self._read = read
        self._limits = limits or ReadLimits()

    def __iter__(self) -> Iterator[Document]:
        self.failures.clear()
        self.skipped.clear()
        self.file = ""
        self.path = None
        self._rules = AccessRules()
        seen: set[str] = set()
        with Worker(self._limits) as worker, closing(_generator(self._read(self, worker))) as documents:
            for document in documents:
                if document.id in seen:
                    reason = f"has the id {document.id!r} of an earlier document"
                    self.fail(document.source or document.id, reason, document=document.id)
                    continue
                seen.add(document.id)
                readable = self._with_access(document)
                if readable is not None:
                    yield readable
        self._tell_unused()

    def _with_access(self, document: Document) -> Document | None:
        """The document with the label that counts; None, and a failure, where that is none. Raises CorpusError."""
        names: list[Label | None] = [] if self.path is None else [*self._rules.labels(self.path)]
        source = document.source or document.id
        try:
            names.append(label_of(document.metadata))
            document = labelled(document, reduce(narrowed, names))
        except UsageError as error:
            self.fail(source, str(error), document=document.id, refused=True)
            return None
        if document.metadata.get(ACCESS) == [] and () not in names:
            logger.warning(
                "%s: its own access and what matches it in %s have no group in common: only an administrator may read"
                " it",
                _printable(source),
                RULES,
            )
        return document

    def _tell_unused(self) -> None:
        """Say which patterns matched nothing, as a mistyped one would."""
        if self.root is not None and self.root.is_dir():
            for pattern in self._rules.unused(self.root):
                logger.warning("%s matches no document", pattern)

    def ceiling(self, file: str) -> Label | None:
        """The groups that may read a file of this corpus at most, by its name in it, whether it can be read or not."""
        if self.root is None:
            return None
        return self._rules.ceiling(self.root / file if self.root.is_dir() else self.root)

    def fail(self, source: str | Path, reason: str, *, document: str | None = None, refused: bool = False) -> None:
        """Note a failure, where it is known that of one document."""
        self.failures.append(CorpusFailure(_printable(source), reason, self.file, document, refused))

    def skip(self, source: str | Path, reason: str) -> None:
        """Note what is left out on purpose."""
        self.skipped.append(CorpusFailure(_printable(source), reason))


def _generator(documents: Iterator[Document]) -> Generator[Document, None, None]:
    """The same, with an end of its own: what was begun, a file or the process that reads it, ends with it."""
    yield from documents


def read_corpus(
    source: Source,
    *,
    exclude: Sequence[Path] = (),
    known: Set[str] = frozenset(),
    limits: ReadLimits | None = None,
) -> Corpus:
    """The documents of a folder, a file, a JSONL file, a SQuAD JSON file, a langchain loader or documents in memory.

    Folders are read in sorted order, links followed, no file twice, and a file by its own name where it has one there;
    hidden files and folders, folders named by `exclude` and folders that hold an index are left out. Ids: the path
    below the folder with forward slashes; a single file's name; `id` of a JSON line, else `<file>:<line>`; the title
    of a SQuAD article. `known`: files that gave documents before (`Corpus.file`), so that a `.json` among them that
    gives none is a failure. Files are read in a process of their own, each within `limits`; one that needs more is a
    failure. Raises CorpusError where nothing is at the path, and in the iteration where no process can be started.
    """
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if not path.exists():
            raise CorpusError(f"there is nothing at {path}: give a folder or a file with documents")
        if path.is_dir():
            corpus = Corpus(str(path), lambda corpus, worker: _folder(path, corpus, worker, exclude, known), limits)
        else:
            corpus = Corpus(
                str(path), lambda corpus, worker: _file(path, path.name, corpus, worker, asked_for=True), limits
            )
        corpus.root = path
        return corpus
    if hasattr(source, "lazy_load"):
        loader = source
        return Corpus(type(loader).__name__, lambda corpus, _: _in_memory(loader.lazy_load(), corpus))
    if isinstance(source, Iterable):
        documents = source
        return Corpus("the documents given", lambda corpus, _: _in_memory(documents, corpus))
    raise UsageError(f"documents cannot be read from {type(source).__name__}: give a path, a loader or documents")


def document_fingerprint(document: Document) -> str:
    """SHA-256 over all fields: equal exactly where a document need not be read again."""
    canonical = json.dumps(document.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def _folder(root: Path, corpus: Corpus, worker: Worker, exclude: Sequence[Path], known: Set[str]) -> Iterator[Document]:
    excluded = {Path(path).resolve() for path in exclude}
    top = root.resolve()
    seen_folders: set[Path] = set()
    seen_files: set[Path] = set()

    def unreadable(error: OSError) -> None:
        folder = Path(error.filename or root)
        corpus.file = folder.relative_to(root).as_posix()
        corpus.fail(folder, f"cannot be listed ({error.strerror})")

    def is_index(folder: Path) -> bool:
        return folder.resolve() in excluded or (folder != root and holds_index(folder))

    @cache  # asked for only where there are links
    def own_folders() -> set[Path]:
        """The folders that are reached without a link: what they hold has its own name, not that of a link to it."""
        found: set[Path] = set()
        for name, folders, _ in os.walk(top):
            folders[:] = [one for one in folders if not one.startswith(".") and not is_index(Path(name, one))]
            found.add(Path(name))
        return found

    for name, folders, files in os.walk(root, followlinks=True, onerror=unreadable):
        here = Path(name)
        real = here.resolve()
        if real != top / here.relative_to(root) and real in own_folders():
            folders.clear()
            corpus.skip(here, f"is a link to {real}, which is read itself")
            continue
        if real in seen_folders:  # a second way to a folder elsewhere
            folders.clear()
            corpus.skip(here, f"was read already as {real}")
            continue
        seen_folders.add(real)
        if is_index(here):
            folders.clear()
            corpus.skip(here, "is an index")
            continue
        for folder in sorted(folders):
            if folder.startswith("."):
                corpus.skip(here / folder, "is hidden")
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for file in sorted(files):
            path = here / file
            corpus.file = path.relative_to(root).as_posix()
            if file.startswith("."):
                corpus.skip(path, "is hidden")
                continue
            if file == RULES:
                continue
            try:
                target = path.resolve(strict=True)
            except (OSError, RuntimeError):
                corpus.fail(path, "is a link that leads nowhere")
                continue
            readable = target.suffix.lower() in _READ and not target.name.startswith(".")
            if target != top / corpus.file and readable and target.parent in own_folders():
                corpus.skip(path, f"is a link to {target}, which is read itself")
                continue
            if target in seen_files:
                corpus.skip(path, f"was read already as {target}")
                continue
            seen_files.add(target)
            asked_for = not known.isdisjoint((corpus.file, str(path)))
            yield from _file(path, corpus.file, corpus, worker, asked_for=asked_for)


def _printable(source: str | Path) -> str:
    """A path as any terminal and any JSON takes it: bytes that are not UTF-8, and halves of pairs, as escapes."""
    return str(source).encode("utf-8", "backslashreplace").decode()


def _file(path: Path, name: str, corpus: Corpus, worker: Worker, *, asked_for: bool) -> Iterator[Document]:
    """The documents of one file; `asked_for`: that it holds none is a failure, and not left out in silence."""
    corpus.file, corpus.path = name, path
    suffix = path.suffix.lower()
    try:
        if _printable(path) != str(path) and suffix in _READ:
            raise Unreadable("has a name that is not UTF-8: rename it")
        if suffix == _LINES:
            yield from _json_lines(path, name, corpus, worker)
        elif suffix in _READ:
            yield from _whole(path, name, corpus, worker, asked_for)
        elif asked_for:
            corpus.fail(path, f"is of a kind that is not read here: give {', '.join([*READERS, _LINES])}")
        else:
            corpus.skip(path, f"files ending in {suffix or 'nothing'} are not read")
    except Unreadable as error:
        corpus.fail(path, str(error))
    except OSError as error:
        corpus.fail(path, f"cannot be opened ({error.strerror or error})")


def _why_no_document(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError) or error.errors()[0]["type"].startswith("recursion"):
        return "is nested too deeply"
    return first_problem(error)


def _whole(path: Path, name: str, corpus: Corpus, worker: Worker, asked_for: bool) -> Iterator[Document]:
    """The document of a file, or those of one in SQuAD's format."""
    many = path.suffix.lower() == _JSON
    request = Request(kind="squad" if many else "file", name=path.name, source=str(path))
    with open_ordinary(path, worker.limits.file_bytes) as (file, size):
        for reply, text, headings in worker.read(request, partial(pieces_of, file), size):
            if reply.kind == "not_squad":
                note = corpus.fail if asked_for else corpus.skip
                note(
                    path, "is JSON without documents: only SQuAD's format is read, or a .jsonl with a text on each line"
                )
            elif reply.kind != "document":
                corpus.fail(f"{path}, {reply.id}" if reply.id else path, reply.reason, document=reply.id)
            else:
                yield Document(
                    id=reply.id or name if many else name,
                    text=text,
                    title=reply.title.strip() or ("" if many else path.stem),
                    source=str(path),
                    metadata=reply.metadata,
                    headings=headings,
                    page_starts=reply.page_starts,
                )


def _json_lines(path: Path, name: str, corpus: Corpus, worker: Worker) -> Iterator[Document]:
    limits = worker.limits
    documents, empty = False, True
    with open_ordinary(path, None) as (file, _):
        for lines in lines_of(file, limits.line_bytes, limits.seconds):
            empty = False
            if not lines.content:
                reason = f"is longer than the {limits.line_bytes / 1e6:,.0f} MB that a line may have"
                corpus.fail(f"{path}:{lines.numbers[0]}", reason)
                continue
            unread = [lines]
            while unread:
                lines = unread.pop(0)
                answered, questions = 0, False
                request = Request(
                    kind="lines", name=name, source=str(path), numbers=lines.numbers, documents_before=documents
                )
                try:
                    for reply, text, _ in worker.read(request, partial(iter, lines.content), lines.size):
                        if answered == len(lines.numbers):
                            raise WorkerFailed("gives more documents than it has lines")
                        number = lines.numbers[answered]
                        answered += 1
                        if reply.kind == "questions":
                            questions = True
                        elif reply.kind == "document":
                            documents = True
                            yield Document(
                                id=reply.id or f"{name}:{number}",
                                text=text,
                                title=reply.title,
                                source=reply.source,
                                metadata=reply.metadata,
                            )
                        else:
                            corpus.fail(f"{path}:{number}", reply.reason, document=reply.id)
                except WorkerFailed as error:
                    rest = Lines(lines.numbers[answered:], lines.content[answered:])
                    if len(rest.numbers) == 1:
                        corpus.fail(f"{path}:{rest.numbers[0]}", str(error))
                    else:  # one of them did it: which, shows when each is read alone
                        unread = rest.one_by_one() + unread
                if questions:
                    corpus.skip(path, "holds question records, not documents")
                    return
    if empty:
        raise Unreadable("is empty")


def _in_memory(documents: Iterable[Any], corpus: Corpus) -> Iterator[Document]:
    pieces: dict[str, int] = {}
    for number, document in enumerate(documents, start=1):
        if isinstance(document, Document):
            yield document
        elif isinstance(getattr(document, "page_content", None), str):
            name = document.id or _piece_name(document, number, pieces)
            shown = str(document.id or document.metadata.get("source") or f"document {number}")
            if not document.page_content.strip():
                corpus.fail(shown, "holds no text", document=name)
                continue
            try:
                made = _from_langchain(document, name)
            except (ValidationError, RecursionError) as error:
                corpus.fail(shown, _why_no_document(error), document=name)
                continue
            yield made
        else:
            corpus.fail(f"document {number}", f"is a {type(document).__name__}, not a langchain document")


def _piece_name(document: LangchainDocument, number: int, pieces: dict[str, int]) -> str:
    """An id for a document without one: loaders give one for each page or row of a file, splitters one for each piece,
    all with the file's source. Where nothing tells them apart, from the second on they are counted, in `pieces`.
    """
    said = langchain_fields(document.metadata)
    name = said.source or f"document-{number}"
    name += f"#page={said.page}" if said.page is not None else ""
    for field, word in (("row", "row"), ("start_index", "start")):
        place = document.metadata.get(field)
        name += f"#{word}={place}" if isinstance(place, int) and not isinstance(place, bool) else ""
    pieces[name] = pieces.get(name, 0) + 1
    return name if pieces[name] == 1 else f"{name}#{pieces[name]}"


class LangchainFields(NamedTuple):
    """What a langchain document's metadata says of the document itself; empty where it says nothing, or None."""

    title: str
    source: str
    page: int | None
    """Counted from 1; langchain's loaders count from 0."""


def langchain_fields(metadata: Mapping[str, Any]) -> LangchainFields:
    """Title, source and page of a langchain document."""
    page: Any = metadata.get("page")
    paged = isinstance(page, int) and not isinstance(page, bool) and page >= 0
    return LangchainFields(
        str(metadata.get("title") or ""), str(metadata.get("source") or ""), page + 1 if paged else None
    )


def _from_langchain(document: LangchainDocument, name: str) -> Document:
    said = langchain_fields(document.metadata)
    return Document(
        id=name,
        text=document.page_content,
        title=said.title,
        source=said.source,
        metadata={str(key): json_value(value) for key, value in document.metadata.items()},
        page_starts=(0,) * (said.page or 0),  # all of this text is on the one page
    )
