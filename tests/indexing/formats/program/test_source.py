import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_ft.indexing.chunking import Chunker, ChunkingConfig
from rag_ft.indexing.conservation.check import check
from rag_ft.indexing.formats import SOURCE_SUFFIXES, extract
from rag_ft.indexing.formats.extracted import Unreadable
from rag_ft.schema import Document

CRANES = '''\
#!/usr/bin/env python3
"""Cranes of the port."""

import math


class Crane(Base):
    """A crane on rails."""

    height = 40

    # Lifts slowly.
    @checked
    def lift(self, load: float) -> bool:
        """Lift a load of at most forty tonnes.

        A heavier load is refused.
        """
        def inner():
            return load

        return inner() < 40


async def main():
    pass
'''


def headings(name, text):
    found = extract(name, text.encode())
    assert found.text == text
    assert all(text[heading.start :].startswith(heading.text) for heading in found.headings)
    return [(heading.level, heading.text) for heading in found.headings]


def passages(name, text, max_tokens=60):
    found = extract(name, text.encode())
    document = Document(id="a", text=found.text, headings=found.headings, blocks=found.blocks)
    cut = Chunker(ChunkingConfig(max_tokens=max_tokens), lambda text: len(text.split())).passages(document)
    assert all(document.text[passage.start : passage.end] == passage.text for passage in cut)
    return cut


def test_python_keeps_its_text_and_heads_it_by_classes_and_functions():
    assert headings("a.py", CRANES) == [(1, "Crane"), (2, "lift"), (1, "main")]
    found = extract("a.py", CRANES.encode())
    assert found.metadata == {"language": "python"}
    between = [CRANES[a.end : b.start].strip() for a, b in zip(found.blocks, found.blocks[1:], strict=False)]
    assert [text for text in between if text] == [
        '"""Cranes of the port."""',
        '"""A crane on rails."""',
        '"""Lift a load of at most forty tonnes.\n\n        A heavier load is refused.\n        """',
    ]


def test_passages_of_code_are_cut_at_functions_and_named_by_their_path():
    cut = passages("a.py", CRANES)
    assert [passage.headings for passage in cut] == [(), ("Crane",), ("Crane", "lift"), ("main",)]
    lift = cut[2]
    assert lift.text.startswith("# Lifts slowly.\n    @checked\n    def lift") and lift.text.endswith("inner() < 40")
    assert "forty tonnes.\n\n        A heavier" in lift.text


def test_a_class_that_begins_with_a_method_is_no_passage_of_one_line():
    cut = passages("a.py", "class Crane:\n    def lift(self):\n        pass\n\n    def lower(self):\n        pass\n")
    assert [(passage.headings, passage.text.split("\n")[0]) for passage in cut] == [
        (("Crane", "lift"), "class Crane:"),
        (("Crane", "lower"), "def lower(self):"),
    ]
    braces = passages("a.cs", "public class Crane\n{\n\n    public void Lift(int load)\n    {\n    }\n}\n")
    assert [passage.headings for passage in braces] == [("Crane", "Lift")]


def test_a_docstring_is_cut_between_sentences_and_code_between_lines():
    text = f'def f():\n    """{"One sentence of six words here. " * 8}\n    """\n' + "    step(a, b)\n" * 40
    cut = passages("a.py", text, max_tokens=20)
    assert cut[0].text.startswith('def f():\n    """One') and cut[0].text.endswith("here.") and cut[0].kind == "prose"
    assert all(passage.text.endswith("b)") for passage in cut[-3:]) and cut[-1].kind == "code"


@pytest.mark.parametrize(
    "broken", ["def f(:\n    pass\n", "print 'x'\ndef f():\n\tpass\n", "def f():\n    '\0'\n", "\ufeffdef f(): pass\n"]
)
def test_what_is_no_python_of_today_is_read_by_its_lines(broken):
    if "\0" not in broken:
        assert [text for _, text in headings("a.py", broken.lstrip("\ufeff"))] == ["f"]
    else:
        with pytest.raises(Unreadable, match="binary"):
            extract("a.py", broken.encode())


CASES = {
    "a.js": (
        "// About.\nimport x from 'y';\n\n/**\n * Lifts.\n */\nexport async function lift(load) {\n"
        "  if (load) {\n    go();\n  }\n}\n\n"
        "export class Crane extends Base {\n  constructor(a) {\n    while (a) {\n    }\n  }\n\n"
        "  static async lower(b) {\n  }\n}\n"
        "const turn = (by) => by * 2;\n",
        [(1, "lift"), (1, "Crane"), (2, "constructor"), (2, "lower"), (1, "turn")],
    ),
    "a.ts": (
        "export interface Load {\n  weight: number;\n}\nexport type Name = string;\nabstract class A<T> {\n"
        "  private async get(x: number): Promise<T> {\n  }\n}\n"
        "export const f = async (x: number): Promise<void> => {\n};\n",
        [(1, "Load"), (1, "Name"), (1, "A"), (2, "get"), (1, "f")],
    ),
    "a.java": (
        "package port;\n\n/** A crane. */\n@Entity\npublic class Crane {\n"
        "    private final int height;\n\n    public Crane(int h) {\n"
        "        this.height = h;\n    }\n\n    @Override\n"
        "    public Map<String, List<Load>> lift(Load load)\n            throws Busy {\n"
        "        if (load.heavy()) {\n            return null;\n        }\n    }\n\n    interface Part {\n    }\n}\n",
        [(1, "Crane"), (2, "Crane"), (2, "lift"), (2, "Part")],
    ),
    "a.go": (
        "package port\n\n// Crane lifts.\ntype Crane struct {\n\th int\n}\n\n"
        "func (c *Crane) Lift(l int) bool {\n\treturn true\n}\n"
        "func main() {\n}\n",
        [(1, "Crane"), (1, "(c *Crane) Lift"), (1, "main")],
    ),
    "a.rs": (
        "/// A crane.\n#[derive(Debug)]\npub struct Crane {\n    h: u32,\n}\n\nimpl Lifts for Crane {\n"
        "    pub fn lift(&self) -> bool {\n"
        "        true\n    }\n}\n\nmod tests {\n    fn works() {}\n}\n",
        [(1, "Crane"), (1, "Lifts for Crane"), (2, "lift"), (1, "tests"), (2, "works")],
    ),
    "a.c": (
        "#include <x.h>\n\nstruct crane {\n    int h;\n};\n\nint proto(int a);\n\n/* Lifts. */\n"
        "static struct crane *lift(int load)\n{\n"
        "    while (load) {\n    }\n    return call(load);\n}\n",
        [(1, "crane"), (1, "lift")],
    ),
    "a.cpp": (
        "namespace port {\nclass Crane {\n};\n}\nbool port::Crane::lift(const Load& l) {\n}\n",
        [(1, "port"), (1, "Crane"), (1, "port::Crane::lift")],
    ),
    "a.cs": (
        "namespace Port {\n    public sealed class Crane : Base\n    {\n"
        "        public async Task<bool> LiftAsync(Load load)\n"
        "        {\n            if (x) { }\n        }\n    }\n}\n",
        [(1, "Port"), (2, "Crane"), (3, "LiftAsync")],
    ),
    "a.rb": (
        "module Port\n  class Crane\n    # Lifts.\n    def lift?(load)\n    end\n  end\nend\n",
        [(1, "Port"), (2, "Crane"), (3, "lift?")],
    ),
    "a.php": (
        "<?php\nclass Crane {\n    public function lift($l) {\n    }\n}\nfunction f() {}\n",
        [(1, "Crane"), (2, "lift"), (1, "f")],
    ),
    "a.kt": ("data class Load(val w: Int)\nfun Load.heavy(): Boolean = w > 4\n", [(1, "Load"), (1, "Load.heavy")]),
    "a.sh": ("#!/bin/sh\n# Lifts.\nlift() {\n  echo\n}\nfunction lower {\n  :\n}\n", [(1, "lift"), (1, "lower")]),
    "a.sql": (
        "-- Loads.\nCREATE TABLE IF NOT EXISTS port.loads (\n  id int\n);\nselect 1;\n"
        "create or replace function f() returns int as $$\n",
        [(1, "port.loads"), (1, "f")],
    ),
    "a.yaml": (
        "# About.\nservices:\n  web:\n    image: x\nversion: 3\nvolumes: # here\n  a:\n",
        [(1, "services"), (1, "volumes")],
    ),
    "a.toml": ("[project]\nname = 'x'\n\n[[tool.part]]\na = 1\n", [(1, "project"), (1, "tool.part")]),
    "a.ini": ("; About.\n[server]\nport = 80\n", [(1, "server")]),
    "a.lua": ("local function f(x)\nend\nfunction A.b(c)\nend\n", [(1, "f"), (1, "A.b")]),
    "a.swift": ("public struct Crane {\n  public func lift(_ l: Int) -> Bool {\n  }\n}\n", [(1, "Crane"), (2, "lift")]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_other_languages_are_headed_by_what_their_lines_declare(name):
    text, expected = CASES[name]
    assert headings(name, text) == expected


def test_comments_and_attributes_stand_with_what_they_describe():
    cut = passages("a.java", CASES["a.java"][0], max_tokens=20)
    starts = {passage.headings: passage.text.split("\n")[0] for passage in reversed(cut)}
    assert starts[("Crane",)] == "/** A crane. */"
    assert starts[("Crane", "lift")].strip() == "@Override"


def test_a_minified_file_is_refused_in_a_sentence():
    with pytest.raises(Unreadable, match=r"^is minified"):
        extract("a.js", b"function a(b){return b};" * 1_000)


def test_a_folder_gives_its_source_only_on_request(tmp_path):
    from rag_ft.indexing.corpus import read_corpus

    (tmp_path / "a.md").write_text("# Rules\n\nText.\n")
    (tmp_path / "crane.py").write_text(CRANES)
    contents = read_corpus(tmp_path).read_all()
    assert [document.id for document in contents.documents] == ["a.md"]
    assert "source code" in contents.skipped[0].reason and "--source-code" in contents.skipped[0].reason
    documents = read_corpus(tmp_path, source_code=True).read_all().documents
    assert [document.id for document in documents] == ["a.md", "crane.py"]
    assert [heading.text for heading in documents[1].headings] == ["Crane", "lift", "main"]
    assert [document.id for document in read_corpus(tmp_path / "crane.py")] == ["crane.py"]
    known = read_corpus(tmp_path, known={"crane.py"}).read_all()
    assert [document.id for document in known.documents] == ["a.md", "crane.py"]


PIECES = st.sampled_from(
    [
        "x",
        "def f(x):\n",
        "class A:\n",
        "    ",
        "\t",
        '"""',
        "'''",
        "x = 1\n",
        "\r\n",
        "\r",
        "\x0c",
        "# c\n",
        "@d\n",
        "{",
        "}\n",
        "(",
        "/*",
        "*/",
        "//",
        "function f() {\n",
        "public int f(int a) {\n",
        "é字😀",
        "\u2028",
        "\\\n",
        "if x:\n",
        "a:\n",
        "[b]\n",
        "\n\n",
    ]
)


@pytest.mark.parametrize("suffix", [".py", ".js", ".java", ".rs", ".yaml"])
def test_any_text_is_kept_with_headings_and_blocks_in_it(suffix):
    @given(st.lists(PIECES, min_size=1, max_size=30).map("".join).filter(str.strip))
    def try_it(text):
        found = extract(f"a{suffix}", text.encode())
        assert found.text == text
        assert all(text[heading.start :].startswith(heading.text) and heading.text for heading in found.headings)
        assert all(0 <= block.start < block.end <= len(text) for block in found.blocks)
        assert all(a.end <= b.start for a, b in zip(found.blocks, found.blocks[1:], strict=False))
        cut = passages(f"a{suffix}", text)
        assert "".join("".join(passage.text.split()) for passage in cut) == "".join(text.split())
        conservation = check(f"a{suffix}", text.encode(), found)
        assert conservation is None or conservation.complete

    try_it()


@pytest.mark.parametrize("suffix", sorted(SOURCE_SUFFIXES))
def test_hostile_lines_take_no_time(suffix):
    for line in (
        "public " * 50,
        "a<" * 150,
        "(" * 390,
        "* " * 190,
        "x" * 390,
        "const a" + "=" * 300,
        "[" * 390,
        "/*\n" * 100,
    ):
        found = extract(f"a{suffix}", f"{line}\n".encode() * 200)
        assert found.text
