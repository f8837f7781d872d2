from __future__ import annotations

import json

import numpy as np
import pytest

from rag_ft.errors import IndexCorruptError
from rag_ft.indexing.storage.folder import offsets_path
from rag_ft.indexing.storage.lines import LinesReader, LinesWriter, json_line


def test_lines_are_read_in_any_order(tmp_path):
    writer = LinesWriter(tmp_path / "x.jsonl")
    writer.write(b'{"a":1}\n"b"\n', [8, 4])
    writer.write(b"[3]\n", [4])
    writer.close()
    lines = LinesReader(tmp_path / "x.jsonl")
    assert [lines[2], lines[0], lines[1], len(lines)] == [[3], {"a": 1}, "b", 3]
    assert lines.raw(1, 3) == b'"b"\n[3]\n'
    assert [*lines.lengths(0, 3)] == [8, 4, 4]


def test_no_lines_are_no_lines(tmp_path):
    LinesWriter(tmp_path / "x.jsonl").close()
    assert len(LinesReader(tmp_path / "x.jsonl")) == 0


def test_a_line_is_one_line_whatever_it_holds():
    line = json_line({"text": "one\ntwo\u2028three"})
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert json.loads(line) == {"text": "one\ntwo\u2028three"}


def test_a_file_that_its_offsets_do_not_fit_is_refused(tmp_path):
    path = tmp_path / "x.jsonl"
    writer = LinesWriter(path)
    writer.write(b"[1]\n[2]\n", [4, 4])
    writer.close()
    with path.open("ab") as file:
        file.write(b"[3]\n")
    with pytest.raises(IndexCorruptError, match="does not have the length that its offsets give"):
        LinesReader(path)
    np.save(offsets_path(path), np.array([0, 8, 4, 12], dtype=np.int64))
    with pytest.raises(IndexCorruptError, match="line starts that are not ascending"):
        LinesReader(path)
