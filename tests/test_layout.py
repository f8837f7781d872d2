"""The tests mirror the package: `rag_ft/a/b.py` is tested in `tests/a/test_b.py`, or is named here with the reason."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "rag_ft"

TESTED_ELSEWHERE = {
    # What is measured is no test's to judge: that every side runs is.
    "benchmarking/asking.py": ("benchmarking/test_run.py", "a row of the table"),
    "benchmarking/processes.py": ("benchmarking/test_run.py", "a row of the table"),
    "benchmarking/vectors.py": ("benchmarking/test_run.py", "a row of the table"),
    "serving/http/tickets.py": ("serving/routes/test_originals.py", "links that expire, and lose their right"),
    "indexing/sources/original.py": ("indexing/storage/test_originals.py", "kept and found again"),
    # Parts of one algorithm, which are right when their results equal those of the whole.
    "answering/forward/padded.py": ("answering/forward/test_decoder.py", "equal to the decoder row by row"),
    "answering/forward/rows.py": ("answering/forward/test_decoder.py", "equal to the decoder row by row"),
    "answering/forward/row_cache.py": ("answering/forward/test_row_attention.py", "read by the attention over rows"),
    "answering/forward/token_tree.py": ("answering/forward/test_decoder.py", "one pass equals a pass per branch"),
    # What the workers of a build do, seen in the index that comes of it.
    "indexing/distributed/blocks.py": (
        "indexing/distributed/test_run.py",
        "which files are read together, and which again",
    ),
    "indexing/distributed/finished.py": ("indexing/distributed/test_run.py", "blocks kept, damaged and removed"),
    "indexing/distributed/reader.py": ("indexing/distributed/test_run.py", "an index equal to one built directly"),
    "indexing/distributed/records.py": ("indexing/distributed/test_run.py", "an index equal to one built directly"),
    "indexing/building/cutting.py": ("indexing/building/test_builder.py", "what is embedded, and what is kept"),
    "indexing/building/selecting.py": ("indexing/building/test_changes.py", "which documents a removal means"),
    "indexing/formats/readers.py": ("indexing/formats/test_fuzz.py", "every reader, by its suffix"),
    "indexing/sources/reader.py": ("indexing/sources/test_reading_ahead.py", "reads, and is stopped"),
    "indexing/sources/stamp.py": ("indexing/sources/test_known.py", "which files count as unchanged"),
    "cluster.py": ("answering/bulk/test_on_ray.py", "clusters that are reached, refused and left"),
    "indexing/building/rows.py": ("indexing/building/test_builder.py", "what is embedded, and what is kept"),
    "indexing/databases/generation.py": ("indexing/databases/test_index.py", "searched as a folder is"),
    "indexing/databases/lance.py": ("indexing/databases/test_index.py", "every test over PostgreSQL and LanceDB"),
    "indexing/databases/postgresql_session.py": ("indexing/databases/test_index.py", "every test over both databases"),
    "indexing/databases/searcher.py": ("indexing/databases/test_index.py", "searched as a folder is"),
    "indexing/databases/store.py": ("indexing/databases/test_postgresql.py", "what is refused, and how it is said"),
    "indexing/databases/verify.py": ("indexing/databases/test_index.py", "removals with their proof"),
    "indexing/storage/generation.py": ("indexing/storage/test_store.py", "a write is right when it can be read"),
    # What one index is searched by, done with several: right when the results are those of one.
    "indexing/shards/generation.py": ("indexing/shards/test_index.py", "documents and rows as in one index"),
    "indexing/shards/searcher.py": ("indexing/shards/test_index.py", "rankings as in one index"),
    "indexing/shards/opening.py": ("indexing/shards/test_index.py", "which shards are searched"),
    "evaluation/studies/run.py": ("evaluation/test_runner.py", "calls the studies, in the order of the runner"),
    "training/steps/callbacks.py": ("training/steps/test_trainer.py", "act only within a run of the trainer"),
    "training/steps/setup.py": ("training/steps/test_kbit.py", "the base model as the trainer gets it"),
    # A process of its own, which can be tested only together with the side that starts it.
    "indexing/parsing/child.py": ("indexing/parsing/test_worker.py", "runs in the reading process"),
    "indexing/parsing/sandbox.py": ("indexing/parsing/test_worker.py", "runs in the reading process"),
    "indexing/parsing/records.py": ("indexing/test_corpus.py", "lines of JSONL files, read by the process"),
    "indexing/parsing/input.py": ("indexing/sources/test_file.py", "opens the files of a source"),
    # What several formats use, seen in the text that those give.
    "indexing/formats/web/elements.py": ("indexing/formats/web/test_html.py", "what an element is"),
    "indexing/formats/web/dom.py": ("indexing/formats/web/test_html.py", "elements as text"),
    "indexing/formats/limits.py": ("indexing/parsing/test_worker.py", "limits of the reading process"),
    "indexing/formats/plain_text.py": ("indexing/formats/test_decoding.py", "decoding is all it does"),
    "indexing/formats/web/xhtml.py": ("indexing/formats/web/test_epub.py", "chapters of an EPUB"),
    "indexing/formats/markup/front_matter.py": (
        "indexing/formats/markup/test_markdown.py",
        "what stands before a page's text",
    ),
    "indexing/formats/grid.py": ("indexing/formats/web/test_html.py", "cells that span rows and columns"),
    "indexing/formats/web/mathml.py": ("indexing/formats/web/test_html.py", "formulas on one line"),
    "indexing/formats/web/numbering.py": ("indexing/formats/web/test_html.py", "numbers of lists"),
    "indexing/formats/markup/asciidoc_inline.py": (
        "indexing/formats/markup/test_asciidoc.py",
        "marks within a line",
    ),
    "indexing/formats/markup/asciidoc_blocks.py": ("indexing/formats/markup/test_asciidoc.py", "blocks of lines"),
    "indexing/formats/markup/asciidoc_lines.py": ("indexing/formats/markup/test_asciidoc.py", "forms of lines"),
    "indexing/formats/markup/asciidoc_table.py": ("indexing/formats/markup/test_asciidoc.py", "tables"),
    "indexing/formats/markup/rst_parser.py": ("indexing/formats/markup/test_rst.py", "directives and roles"),
    "indexing/formats/sheets/cells.py": ("indexing/formats/sheets/test_header.py", "records of cells and rows"),
    "indexing/formats/sheets/dialect.py": ("indexing/formats/sheets/test_delimited.py", "how cells are parted"),
    "indexing/formats/sheets/tables.py": ("indexing/formats/sheets/test_delimited.py", "rows of a table"),
    "indexing/formats/sheets/workbook.py": ("indexing/formats/sheets/test_xlsx.py", "the parts of a workbook"),
    "indexing/formats/slides/paragraphs.py": ("indexing/formats/slides/test_pptx.py", "bullets and raised text"),
    "indexing/formats/slides/shapes.py": ("indexing/formats/slides/test_pptx.py", "the order of shapes"),
    "indexing/formats/mail/letter.py": ("indexing/formats/mail/test_eml.py", "a mail as text"),
    "indexing/formats/mail/rtf.py": ("indexing/formats/mail/test_msg.py", "rich text of a message"),
    "indexing/formats/program/declarations.py": ("indexing/formats/program/test_source.py", "headings of a file"),
    "indexing/formats/program/python.py": ("indexing/formats/program/test_source.py", "headings of a file"),
    "indexing/formats/office/code_styles.py": ("indexing/formats/word/test_story.py", "names of styles for code"),
    "indexing/formats/office/package.py": ("indexing/formats/word/test_docx.py", "the parts of a document"),
    "indexing/formats/office/xml.py": ("indexing/formats/opendocument/test_odt.py", "XML with entities"),
    "indexing/formats/opendocument/container.py": ("indexing/formats/opendocument/test_odt.py", "parts of a document"),
    "indexing/formats/opendocument/line.py": ("indexing/formats/opendocument/test_odt.py", "text of a paragraph"),
    "indexing/formats/opendocument/story.py": ("indexing/formats/opendocument/test_odt.py", "lists and tables"),
    "indexing/formats/opendocument/styles.py": ("indexing/formats/opendocument/test_odt.py", "numbers and hidden text"),
    "indexing/formats/scripts.py": ("indexing/formats/web/test_html.py", "raised and lowered characters"),
    "indexing/formats/web/visibility.py": ("indexing/formats/web/test_html.py", "what a page hides"),
    "indexing/formats/pdf/calls.py": ("indexing/formats/pdf/test_reading.py", "characters as pdfium gives them"),
    "indexing/formats/pdf/frames.py": ("indexing/formats/pdf/test_structure.py", "tables with rules"),
    "indexing/formats/pdf/headings.py": ("indexing/formats/pdf/test_structure.py", "what is a heading"),
    "indexing/formats/pdf/layout.py": ("indexing/formats/pdf/test_structure.py", "columns and tables of a page"),
    "indexing/formats/pdf/lines.py": ("indexing/formats/pdf/test_structure.py", "words and lines"),
    "indexing/formats/pdf/pieces.py": ("indexing/formats/pdf/test_reading.py", "text with boxes"),
    "indexing/formats/pdf/slices.py": ("indexing/formats/pdf/test_reading.py", "what stands side by side"),
    "indexing/formats/pdf/words.py": ("indexing/formats/pdf/test_reading.py", "words by gaps"),
    "indexing/formats/pdf/paragraphs.py": ("indexing/formats/pdf/test_structure.py", "paragraphs, items and code"),
    "indexing/formats/pdf/rules.py": ("indexing/formats/pdf/test_structure.py", "rows of a ruled table"),
    "indexing/formats/pdf/running.py": ("indexing/formats/pdf/test_reading.py", "headers and footers"),
    "indexing/formats/pdf/table.py": ("indexing/formats/pdf/test_structure.py", "rows of a table"),
    "indexing/formats/pdf/writing.py": ("indexing/formats/pdf/test_reading.py", "blocks and pages"),
    "indexing/formats/word/drawings.py": ("indexing/formats/word/test_story.py", "text boxes and pictures of a story"),
    "indexing/formats/word/names.py": ("indexing/formats/word/test_styles.py", "names of elements"),
    "indexing/formats/word/notes.py": ("indexing/formats/word/test_story.py", "notes and comments of a story"),
    "indexing/formats/word/running.py": ("indexing/formats/word/test_story.py", "headers and footers"),
    "indexing/formats/word/symbols.py": ("indexing/formats/word/test_line.py", "characters of symbol fonts"),
    "indexing/ocr/child.py": ("indexing/ocr/test_engine.py", "runs in the recognising process"),
    "indexing/watching/notices.py": ("indexing/watching/test_watcher.py", "what starts a look at the folder"),
    "indexing/structure.py": ("indexing/test_chunking.py", "what stays whole in a passage"),
    # Simple on purpose: each is right when what is lost of its format is found.
    "indexing/conservation/source.py": ("indexing/conservation/test_check.py", "what every reader gives"),
    "indexing/conservation/words.py": ("indexing/conservation/test_compare.py", "words as they are compared"),
    "indexing/conservation/readers/delimited.py": (
        "indexing/formats/sheets/test_delimited.py",
        "words of a table",
    ),
    "indexing/conservation/readers/spreadsheet.py": (
        "indexing/formats/sheets/test_xlsx.py",
        "cells that are left out or lost",
    ),
    "indexing/conservation/readers/opendocument.py": (
        "indexing/formats/opendocument/test_odt.py",
        "words of texts, sheets and slides",
    ),
    "indexing/conservation/readers/presentation.py": (
        "indexing/formats/slides/test_pptx.py",
        "words of slides, notes and comments",
    ),
    "indexing/conservation/readers/epub.py": ("indexing/conservation/test_check.py", "a format that loses words"),
    "indexing/conservation/readers/html.py": ("indexing/conservation/test_check.py", "a format that loses words"),
    "indexing/conservation/readers/markdown.py": (
        "indexing/conservation/test_check.py",
        "a format that loses words",
    ),
    "indexing/conservation/readers/office.py": ("indexing/conservation/test_check.py", "a format that loses words"),
    "indexing/conservation/readers/pdf.py": ("indexing/conservation/test_check.py", "a format that loses words"),
    "indexing/conservation/readers/asciidoc.py": (
        "indexing/formats/markup/test_asciidoc.py",
        "each document compared",
    ),
    "indexing/conservation/readers/mail.py": ("indexing/formats/mail/test_eml.py", "each mail compared"),
    "indexing/conservation/readers/outlook.py": ("indexing/formats/mail/test_msg.py", "each message compared"),
    "indexing/conservation/readers/notebook.py": ("indexing/formats/markup/test_notebook.py", "each cell compared"),
    "indexing/conservation/readers/rst.py": ("indexing/conservation/test_check.py", "a format that loses words"),
    "indexing/conservation/readers/plain_text.py": (
        "indexing/conservation/test_check.py",
        "a format that loses words",
    ),
    "indexing/formats/zip_container.py": ("indexing/formats/word/test_docx.py", "the file that holds a DOCX"),
    # Arms are judged by the figures of a run.
    "evaluation/arms/base.py": ("evaluation/test_runner.py", "called by the runner"),
    "evaluation/arms/baselines.py": ("evaluation/test_runner.py", "called by the runner"),
    "evaluation/arms/build.py": ("evaluation/test_recipe.py", "arms as a recipe describes them"),
    "evaluation/predictions.py": ("evaluation/test_runner.py", "the file that a run resumes from"),
    "evaluation/report/plots.py": ("evaluation/report/test_pages.py", "drawn into the pages"),
    # Commands with the same few lines around a call, called together.
    "answering/provenance.py": ("cli/test_commands.py", "what `rag-ft why` prints"),
    "cli/index.py": ("cli/test_commands.py", "builds the index that other commands ask"),
    "cli/models.py": ("cli/test_commands.py", "called with the others"),
    "cli/options.py": ("cli/test_commands.py", "options that several commands share"),
    "cli/why.py": ("cli/test_commands.py", "explains what `ask` has printed"),
    "cli/data.py": ("cli/test_train.py", "checks the records of a run"),
    "cli/pipeline.py": ("cli/test_bulk.py", "loads what the options choose"),
    "cli/plan.py": ("cli/test_train.py", "plans a run"),
    "cli/records.py": ("cli/test_review.py", "checks what would be overwritten"),
    "serving/review.py": ("serving/routes/test_review.py", "what the routes show and keep"),
    "cli/review_screen.py": ("cli/test_review.py", "what the keys are pressed at"),
    "cli/settings.py": ("cli/test_train.py", "turns options into settings of a run"),
    "cli/mcp.py": ("serving/test_access.py", "the groups that an assistant reads for"),
    "cli/token.py": ("serving/http/test_tokens.py", "writes the file of tokens"),
    # Parts of the server, asked over HTTP.
    "serving/config.py": ("serving/test_app.py", "settings of a server that runs"),
    "serving/engine.py": ("serving/test_app.py", "asked over HTTP"),
    "serving/messages.py": ("serving/http/test_openapi.py", "every reply against its description"),
    "serving/server.py": ("serving/test_app.py", "asked over HTTP"),
    "serving/http/metrics.py": ("serving/test_app.py", "read over HTTP"),
    "serving/http/rights.py": ("serving/test_access.py", "every route with every token"),
    "serving/routes/chat.py": ("serving/test_openai.py", "asked by OpenAI's client"),
    "serving/routes/documents.py": ("serving/test_app.py", "asked over HTTP"),
    "serving/routes/page.py": ("serving/test_page.py", "used in a browser"),
    "serving/routes/questions.py": ("serving/test_app.py", "asked over HTTP"),
    "serving/routes/status.py": ("serving/test_app.py", "asked over HTTP"),
    "serving/routes/streams.py": ("serving/test_app.py", "asked over HTTP"),
    # Stages of an adaptation, run one after the other.
    "adapting/judge.py": ("adapting/test_adapt.py", "the comparison in a whole adaptation"),
    "adapting/run.py": ("adapting/test_adapt.py", "whole adaptations"),
    "answering/bulk/work.py": ("answering/bulk/test_run.py", "what a killed run resumes from"),
    # Definitions without behaviour.
    "answering/reading.py": ("answering/test_outcome.py", "records that a reader gives"),
    "errors.py": ("test_public_names.py", "the tree of errors"),
    "indexing/formats/extracted.py": ("indexing/formats/markup/test_markdown.py", "the record that a format gives"),
    "indexing/sources/events.py": ("indexing/sources/test_folder.py", "the records that a source gives"),
    "question_generation/batches.py": ("question_generation/test_make.py", "what is kept, rejected and resumed"),
    "question_generation/made.py": ("question_generation/test_make.py", "what a run gives"),
    "question_generation/source.py": ("question_generation/test_make.py", "records that a source gives"),
    "training/steps/config.py": ("training/test_run.py", "settings of a run"),
}
"""Modules without a test file of their own: the file that tests them, and why there."""

BESIDE_THE_MODULES = {
    "cli/test_databases.py": "commands with the address of a database instead of a folder",
    "serving/test_databases.py": "a server over an index in a database",
    "cli/test_commands.py": "commands one after the other, as a person calls them",
    "evaluation/report/test_html.py": "the report in a browser",
    "indexing/conservation/test_index_losses.py": "losses from a folder to the index and its report",
    "indexing/test_copies.py": "equal passages, from the build to the hits",
    "indexing/test_index_places.py": "places of characters from the build to the index, and their removal",
    "indexing/test_index_locations.py": "slides and cells from the files to the citations",
    "indexing/test_index_before.py": "an index that an earlier version wrote",
    "indexing/formats/test_fuzz.py": "damaged files of all formats",
    "serving/test_access.py": "who may read what, through every route",
    "serving/test_page.py": "the page in a browser",
    "serving/test_sharded.py": "an index of shards through the server and MCP",
    "serving/test_replicas.py": "compose.yaml and haproxy.cfg, with two servers as processes",
    "serving/test_review_page.py": "the page of the review in a browser",
    "test_architecture.py": "docs/architecture.md against the folders",
    "test_conftest_fixtures.py": "the tiny model that other tests use",
    "test_containerfile.py": "Containerfile",
    "test_cuda.py": "what needs a GPU, of all rooms",
    "indexing/formats/pdf/test_structure.py": "columns, tables, lists and headings of a PDF, by whichever module",
    "test_docs.py": "README.md and docs/",
    "test_layout.py": "this file",
    "test_public_names.py": "what the package exports, and the order of its rooms",
    "test_requirements.py": "requirements/ and .ci/run",
    "test_scale.py": "docs/scale.md",
}
"""Test files that belong to no single module."""


def own_test(module: str) -> str:
    """Where the tests of a module are, unless it is listed above."""
    folder, _, name = module.rpartition("/")
    return f"{folder}/test_{name}" if folder else f"test_{name}"


MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py") and "_bundled" not in path.parts
)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_its_test_file_or_is_listed_with_the_reason(module):
    has_its_own = (TESTS / own_test(module)).is_file()
    assert has_its_own != (module in TESTED_ELSEWHERE), f"write tests/{own_test(module)}, or list why there is none"


def test_what_is_listed_is_there():
    assert not TESTED_ELSEWHERE.keys() - set(MODULES)
    listed = {file for file, _ in TESTED_ELSEWHERE.values()} | BESIDE_THE_MODULES.keys()
    assert not [file for file in sorted(listed) if not (TESTS / file).is_file()]


def test_every_test_file_belongs_to_a_module_or_is_listed():
    files = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    assert files - set(map(own_test, MODULES)) == BESIDE_THE_MODULES.keys()
