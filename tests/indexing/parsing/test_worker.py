import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from fakes import HashingEmbedder

from rag_ft.errors import CorpusError, UsageError
from rag_ft.indexing.building import builder
from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.formats import ReadLimits, Unreadable
from rag_ft.indexing.formats.limits import check_document_size, limited_by
from rag_ft.indexing.index import Index
from rag_ft.indexing.parsing.wire import FrameError, Reply, Request, check_pages, headings_in, read_frame, write_frame
from rag_ft.indexing.parsing.worker import Worker, WorkerFailed, WorkerNotReady, _Watch

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="what Linux alone offers")

PLACED = "return [(wire.Reply(kind='document', locations=[wire.Location(label='a', start={}, cells={})]), 'short')]"


def ask(worker, data=b"Some text.", name="a.txt"):
    return [
        read.text or read.reply.reason
        for read in worker.read(Request(kind="file", name=name), lambda: [data], len(data))
    ]


def child_that(monkeypatch, code, before=""):
    """Let the process be one that is ready, and then runs this instead of reading; `out` is its way to the parent."""
    start = (
        "import os, socket, sys, time; sys.path[:] = sys.argv[2:]; from rag_ft.indexing.parsing import child, wire\n"
        f"{before}\ndef run(request, data):\n"
        + "".join(f"    {line}\n" for line in code.splitlines())
        + "    return []\n"
        "child._answers = run\n"
        "child.serve_requests(int(sys.argv[1]))"
    )
    monkeypatch.setattr("rag_ft.indexing.parsing.worker._START", start)


def gone(process_id):
    """Whether a process has ended and was fetched."""
    return not psutil.pid_exists(process_id)


def test_one_process_reads_file_after_file_and_is_gone_at_the_end():
    with Worker() as worker:
        assert worker.process_id is None  # not before it is needed
        assert ask(worker) == ["Some text."]
        first = worker.process_id
        assert ask(worker, b"# Title\n\nMore.", "b.md") == ["Title\n\nMore."] and worker.process_id == first
        assert ask(worker, b"  \n") == ["is empty"] and worker.process_id == first
    assert worker.process_id is None and gone(first)


def test_it_is_started_anew_after_a_number_of_files_and_when_it_holds_much(monkeypatch):
    monkeypatch.setattr("rag_ft.indexing.parsing.worker._FILES_PER_PROCESS", 2)
    with Worker() as worker:
        seen = []
        for _ in range(4):
            ask(worker)
            seen.append(worker.process_id)
        assert seen[0] == seen[1] != seen[2] == seen[3]
        monkeypatch.setattr("rag_ft.indexing.parsing.worker._MEMORY_SHARE", 0.0)
        ask(worker)
        assert worker.process_id not in seen and all(map(gone, seen))


def test_one_that_died_between_two_files_is_replaced_unnoticed():
    with Worker() as worker:
        ask(worker)
        first = worker.process_id
        os.kill(first, signal.SIGKILL)
        assert ask(worker) == ["Some text."] and worker.process_id != first and gone(first)


def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_read(monkeypatch):
    with monkeypatch.context() as patched, Worker(ReadLimits(seconds=0.3)) as worker:
        child_that(patched, "time.sleep(600)")
        with pytest.raises(WorkerFailed, match=r"could not be read within 0\.3 s"):
            ask(worker)
        assert worker.process_id is None
        patched.undo()
        assert ask(worker) == ["Some text."]


def test_the_clock_stands_still_while_nobody_asks():
    lines = b'{"text": "One."}\n{"text": "Two."}\n'
    request = Request(kind="lines", name="a.jsonl", numbers=(1, 2))
    with Worker(ReadLimits(seconds=0.3)) as worker:
        reads = worker.read(request, lambda: [lines], len(lines))
        assert next(reads).text == "One."
        time.sleep(0.6)
        assert [read.text for read in reads] == ["Two."]


@LINUX
def test_a_file_that_needs_too_much_memory_is_named_so(monkeypatch):
    child_that(monkeypatch, "everything = bytearray(4_000_000_000)")
    with Worker() as worker, pytest.raises(WorkerFailed, match=r"needs more than the 2,048 MB of memory"):
        ask(worker)


def test_memory_that_the_system_does_not_bound_is_watched(monkeypatch):
    class Process:
        pid = 1
        kill = threading.Event().set

    monkeypatch.setattr("rag_ft.indexing.parsing.worker._resident_bytes", lambda _: 3)
    watch = _Watch(Process)
    watch.memory_bytes = 2
    watch.allow(60)
    watch._thread.join(5)
    assert watch.too_large and not watch.timed_out


def test_a_parser_that_crashes_takes_only_its_process_down(monkeypatch):
    with monkeypatch.context() as patched, Worker() as worker:
        child_that(patched, "os.abort()")
        with pytest.raises(WorkerFailed, match="made the parser crash"):
            ask(worker)
        patched.undo()
        assert ask(worker) == ["Some text."]


def test_a_crash_that_an_earlier_file_may_have_caused_is_tried_again_in_a_fresh_process(monkeypatch, tmp_path):
    child_that(
        monkeypatch,
        "if data == b'second' and seen: os.abort()\nseen.append(data)\nreturn [(wire.Reply(kind='document'), 'text')]",
        before="seen = []",
    )
    with Worker() as worker:
        assert ask(worker, b"first") == ["text"]
        assert ask(worker, b"second") == ["text"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.write(out, b'\\xff' * 100)", "gives more than is read"),
        ("os.write(out, (9).to_bytes(4, 'big') + (99_000_000).to_bytes(4, 'big'))", "gives more than is read"),
        ("os.write(out, b'nonsense' * 10)", "gives more than is read"),
        ("return [(wire.Reply(kind='document', headings=((2, 9, 1),)), 'short')]", "a heading outside the text"),
        ("return [(wire.Reply(kind='document', page_starts=(0, 9)), 'short')]", "a page outside the text"),
        ("return [(wire.Reply(kind='document', page_starts=(0,) * 30), 'short')]", "30 pages"),
        (PLACED.format(9, ()), "a cell outside the text"),
        (PLACED.format(0, (9, 1, 1)), "a cell outside the text"),
        (PLACED.format(0, (0, 0, 1)), "a row before the first"),
        ("return [(wire.Reply(kind='document'), ' ')]", "a document without text"),
        ("return [(wire.Reply(kind='document'), 'a' * 11)]", "a text of 11 characters"),
        (
            "return [(wire.Reply(kind='document', metadata={'a': 'b' * 9_000_000}), 'a')]",
            "more metadata, title and headings",
        ),
        (
            "header = b'{\"kind\": \"other\"}'; wire.write_frame(os.fdopen(out, 'wb'), header); time.sleep(9)",
            "an invalid reply",
        ),
    ],
)
def test_the_parent_believes_nothing_that_is_no_answer(monkeypatch, code, reason):
    # Descriptor 3 is where the real answers go: the first that is free after the three of every process.
    child_that(monkeypatch, "out = 3\n" + code)
    said = ""
    with Worker(ReadLimits(max_chars=10, max_pages=20, seconds=20)) as worker:
        try:
            said = "".join(ask(worker))
        except WorkerFailed as error:
            said = str(error)
    assert reason in said


def test_frames_are_bounded_before_they_are_read():
    import io

    stream = io.BytesIO()
    write_frame(stream, b"head", b"content")
    for most in ((3, 100), (100, 6)):
        stream.seek(0)
        with pytest.raises(FrameError):
            read_frame(stream, max_header=most[0], max_content=most[1])
    stream.seek(0)
    assert read_frame(stream, max_header=4, max_content=7) == (b"head", b"content")
    with pytest.raises(EOFError):
        read_frame(stream, max_header=4, max_content=7)


def test_headings_and_pages_must_lie_in_the_text():
    assert [heading.text for heading in headings_in("One two", ((0, 3, 1), (4, 3, 6)))] == ["One", "two"]
    for spans in (((0, 8, 1),), ((-1, 2, 1),), ((0, 3, 7),), ((0, 4, 1), (3, 2, 1)), ((0, -1, 1),)):
        with pytest.raises(FrameError):
            headings_in("One two", spans)
    check_pages("One", (0, 0, 3))
    for starts in ((0, 4), (2, 1), (-1,)):
        with pytest.raises(FrameError):
            check_pages("One", starts)


def test_where_no_process_can_be_started_one_sentence_says_so(monkeypatch, tmp_path):
    (tmp_path / "a.txt").write_text("Text.")
    monkeypatch.setattr("rag_ft.indexing.parsing.worker.sys.executable", "/no/such/python")
    with pytest.raises(CorpusError, match=r"read in a separate process, which cannot be started here \(.*No such"):
        list(read_corpus(tmp_path))
    monkeypatch.setattr("rag_ft.indexing.parsing.worker.sys.executable", "")
    with pytest.raises(CorpusError, match="does not report the path of its executable"):
        list(read_corpus(tmp_path))
    monkeypatch.undo()
    monkeypatch.setattr("rag_ft.indexing.parsing.worker._START", "raise SystemExit(3)")
    with pytest.raises(CorpusError, match=r"ended with status 3; 2,048 MB of memory are allowed"):
        list(read_corpus(tmp_path))
    monkeypatch.setattr("rag_ft.indexing.parsing.worker._START", "import time; time.sleep(600)")
    with Worker(start_seconds=0.2) as worker, pytest.raises(WorkerNotReady, match="not ready within"):
        ask(worker)


def test_a_limit_is_a_positive_number():
    for given in ({"seconds": 0}, {"max_chars": -1}, {"memory_bytes": "much"}, {"seconds": float("inf")}):
        with pytest.raises(UsageError, match="a limit is a positive number"):
            ReadLimits(**given)


def test_a_document_that_says_too_much_is_refused_by_each_limit():
    with limited_by(ReadLimits(max_chars=5, max_headings=2, max_pages=2)):
        check_document_size(5, 2, 2)
        for counts, said in (
            ((6, 0, 0), "gives more text than is read"),
            ((0, 3, 0), "3 headings"),
            ((0, 0, 3), "3 pages"),
        ):
            with pytest.raises(Unreadable, match=said):
                check_document_size(*counts)


# What the process can reach


PROBE = """
import ctypes
tried = {}
def attempt(name, action):
    try:
        action()
        tried[name] = 'done'
    except (OSError, MemoryError) as error:
        tried[name] = type(error).__name__
attempt('read', lambda: open('SECRET').read())
attempt('list', lambda: os.listdir('/'))
attempt('write', lambda: open('FOLDER/new.txt', 'w'))
attempt('remove', lambda: os.remove('SECRET'))
attempt('environment', lambda: open('/proc/%d/environ' % os.getppid(), 'rb').read())
attempt('socket', lambda: socket.socket())
attempt('unix', lambda: socket.socket(socket.AF_UNIX))
attempt('datagram', lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
if tried['read'] == 'PermissionError':  # else it would succeed, and end this process
    attempt('program', lambda: os.execv('/bin/true', ['true']))
attempt('kill', lambda: os.kill(os.getppid(), 0))
attempt('import', lambda: __import__('colorsys'))
import json
return [(wire.Reply(kind='document'), json.dumps({'env': dict(os.environ), 'tried': tried}))]
"""


@LINUX
def test_the_process_reaches_neither_files_nor_network_nor_secrets(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk_secret")
    secret = tmp_path / "secret.txt"
    secret.write_text("The secret.")
    code = PROBE.replace("SECRET", str(secret)).replace("FOLDER", str(tmp_path)).strip()
    child_that(monkeypatch, code)
    with Worker() as worker:
        (said,) = ask(worker)
        kept_from = worker.kept_from
    found = json.loads(said)
    assert not {"HF_TOKEN", "OPENAI_API_KEY", "HOME", "PATH"} & set(found["env"])
    assert "secret" not in json.dumps(found["env"])
    tried = found["tried"]
    assert tried["import"] == "done"
    assert "memory" in kept_from
    if "files" in kept_from:
        names = ("read", "list", "write", "remove", "environment", "program")
        assert {tried[name] for name in names} == {"PermissionError"}, tried
    if "network" in kept_from:
        assert {tried[name] for name in ("socket", "unix", "datagram")} == {"PermissionError"}, tried
    assert secret.read_text() == "The secret." and [*tmp_path.iterdir()] == [secret]


def test_all_formats_are_read_where_nothing_else_can_be(tmp_path):
    """What a library opens only when it first needs it must be open to it still."""
    from docx import Document
    from indexing.formats.fuzzing import seeds
    from indexing.formats.opendocument import packing as opened
    from indexing.formats.sheets import packing as sheets
    from indexing.formats.slides import packing as slides
    from indexing.formats.web.test_epub import book
    from reportlab.pdfgen.canvas import Canvas

    Document().save(tmp_path / "empty.docx")
    made = Document()
    made.add_heading("Leave", 1)
    made.add_paragraph("Thirty days.")
    made.save(tmp_path / "a.docx")
    canvas = Canvas(str(tmp_path / "a.pdf"))
    canvas.drawString(72, 720, "Thirty days.")
    canvas.save()
    (tmp_path / "a.epub").write_bytes(book({"a.xhtml": "<html><body><p>Thirty days.</p></body></html>"}))
    (tmp_path / "a.xlsx").write_bytes(sheets.workbook({"Leave": sheets.sheet(sheets.row("Days", 30))}))
    (tmp_path / "a.pptx").write_bytes(slides.deck(slides.slide(slides.shape("Thirty days."))))
    formula = '<math xmlns="http://www.w3.org/1998/Math/MathML"><mi>x</mi></math>'
    text = opened.p(f"Thirty days. <draw:frame><draw:object>{formula}</draw:object></draw:frame>")
    (tmp_path / "a.odt").write_bytes(opened.odt(text))
    (tmp_path / "a.csv").write_text("days,year\n30,2026\n")
    (tmp_path / "a.html").write_text("<html><body><p>Thirty days.</p></body></html>")
    (tmp_path / "a.md").write_text("---\nday: 2026-01-02\n---\nThirty days. <b>bold</b>\n\n<p>x</p>\n")
    (tmp_path / "a.txt").write_bytes("Dreißig Tage für Müller, größer als üblich.".encode("cp1252"))
    (tmp_path / "jp.txt").write_bytes("休暇は年に三十日です。会社の規則を見てください。".encode("euc_jp") * 20)
    for suffix in ("rst", "adoc", "ipynb", "eml", "msg", "py", "js"):
        (tmp_path / f"a.{suffix}").write_bytes(seeds(suffix)[0])
    contents = read_corpus(tmp_path, source_code=True).read_all()
    found = {document.id: document for document in contents.documents}
    assert [failure.reason for failure in contents.failures] == ["holds no text"]
    assert set(found) == {path.name for path in tmp_path.iterdir()} - {"empty.docx"}
    assert found["a.md"].metadata == {"day": "2026-01-02"} and "三十日" in found["jp.txt"].text


# What is left behind


def started(monkeypatch):
    """Ids of the processes that are started from now on."""
    ids = []
    popen = subprocess.Popen

    def noted(*args, **options):
        process = popen(*args, **options)
        ids.append(process.pid)
        return process

    monkeypatch.setattr("rag_ft.indexing.parsing.worker.subprocess.Popen", noted)
    return ids


@pytest.fixture
def folder(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text(f"Text {number}.")
    (tmp_path / "lines.jsonl").write_text('{"text": "One."}\n{"text": "Two."}\n')
    return tmp_path


def test_a_workbook_whose_only_sheet_is_damaged_names_the_sheet(tmp_path):
    from indexing.formats.sheets import packing as sheets

    (tmp_path / "a.xlsx").write_bytes(sheets.workbook({"Leave": "<worksheet><sheetData><row"}))
    contents = read_corpus(tmp_path).read_all()
    assert [failure.reason for failure in contents.failures] == [
        "holds no text that can be read: sheet Leave is damaged"
    ]


def test_no_process_is_left_by_an_iteration_that_ends_or_is_left(folder, monkeypatch):
    ids = started(monkeypatch)
    assert len(list(read_corpus(folder))) == 7 and len(ids) == 1 and gone(ids[0])
    for count in (1, 6):  # in the middle of the folder, and of a file of lines
        with contextlib.closing(iter(read_corpus(folder))) as documents:
            for _ in range(count):
                next(documents)
            assert not gone(ids[-1])
        assert gone(ids[-1])
    with pytest.raises(ZeroDivisionError):
        for _ in read_corpus(folder):
            1 / 0  # noqa: B018
    assert len(ids) == 4 and all(map(gone, ids))


def test_no_process_is_left_by_a_build_that_fails_while_its_error_is_kept(folder, tmp_path_factory, monkeypatch):
    ids = started(monkeypatch)
    embedder = HashingEmbedder()
    monkeypatch.setattr(builder, "BLOCK_PASSAGES", 2)
    monkeypatch.setattr(embedder, "encode_passages", lambda texts: 1 / 0)  # in the middle of the corpus
    with pytest.raises(ZeroDivisionError) as error:
        Index.build(folder, tmp_path_factory.mktemp("index"), embedder=embedder, progress=False)
    assert error.tb is not None and len(ids) == 1 and gone(ids[0])


def test_documents_in_memory_need_no_process(monkeypatch):
    from rag_ft.schema import Document

    ids = started(monkeypatch)
    assert len(list(read_corpus([Document(id="a", text="Text.")]))) == 1 and ids == []


def test_files_are_read_from_a_thread_too(folder):
    found = []
    thread = threading.Thread(target=lambda: found.extend(read_corpus(folder)))
    thread.start()
    thread.join()
    assert len(found) == 7


def test_an_interrupt_ends_both_processes_without_a_traceback_of_the_child(folder, tmp_path_factory):
    """The parent is interrupted while its child reads something without end; both are gone, and one has said so."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without it\n"
        "from rag_ft.indexing.parsing import worker\n"
        "from rag_ft.indexing.corpus import read_corpus\n"
        "worker._START = worker._START.replace('; serve_requests(', '; import time; import rag_ft.indexing.parsing"
        ".child as c; c._answers = lambda *a: time.sleep(600); serve_requests(')\n"
        "begin = worker.Worker.read\n"
        "def read(self, *a):\n"
        "    self._ready(); print(self.process_id, flush=True)\n"
        "    return begin(self, *a)\n"
        "worker.Worker.read = read\n"
        "list(read_corpus(sys.argv[1]))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    child = int(parent.stdout.readline())
    time.sleep(0.3)
    parent.send_signal(signal.SIGINT)
    said = parent.communicate(timeout=60)[1]
    assert said.count("KeyboardInterrupt") == 1 and "child.py" not in said
    assert gone(child)


@LINUX
def test_the_child_ends_when_its_parent_is_killed(folder):
    code = (
        "import sys, time\nfrom rag_ft.indexing.corpus import read_corpus\nfrom rag_ft.indexing.parsing import worker\n"
        "documents = iter(read_corpus(sys.argv[1])); next(documents)\n"
        "import psutil; print(psutil.Process().children()[0].pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert not gone(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while not gone(child) and time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(child).status() == psutil.STATUS_ZOMBIE:  # nobody fetches it where there is no init
                break
        time.sleep(0.05)
    else:
        assert gone(child)


# Lines


def test_a_line_that_is_too_long_is_named_and_the_others_are_read(tmp_path):
    path = tmp_path / "a.jsonl"
    long = b'{"text": "' + b"a" * 5_000_000 + b'"}\n'
    path.write_bytes(b'{"text": "One."}\n' + long + b'\n{"text": "Four."}\n' + b"b" * 2_000_000)
    corpus = read_corpus(path, limits=ReadLimits(line_bytes=1_000_000)).read_all()
    assert [(document.id, document.text) for document in corpus.documents] == [
        ("a.jsonl:1", "One."),
        ("a.jsonl:4", "Four."),
    ]
    told = [(failure.source.rpartition(":")[2], failure.reason) for failure in corpus.failures]
    assert told == [(line, "is longer than the 1 MB that a line may have") for line in ("2", "5")]


@LINUX
def test_a_line_that_ends_its_process_is_named_and_the_others_are_read(tmp_path):
    deep = b'{"text": "Two.", "x": [' + b"[]," * 1_500_000 + b"0]}\n"
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "One."}\n' + deep + b'{"text": "Three."}\n')
    corpus = read_corpus(tmp_path, limits=ReadLimits(memory_bytes=200_000_000)).read_all()
    assert [document.text for document in corpus.documents] == ["One.", "Three."]
    (failure,) = corpus.failures
    assert failure.source.endswith("a.jsonl:2") and "memory" in failure.reason


def test_a_line_that_gives_more_text_than_is_read_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n' + json.dumps({"text": "x" * 200, "id": "long"}) + "\n")
    corpus = read_corpus(tmp_path, limits=ReadLimits(max_chars=100)).read_all()
    assert [document.text for document in corpus.documents] == ["One."]
    (failure,) = corpus.failures
    assert failure.document == "long" and "gives more text than is read" in failure.reason


def test_a_reply_is_small_json():
    reply = Reply(kind="document", headings=((0, 3, 1),))
    assert Reply.model_validate_json(reply.model_dump_json()) == reply
