"""The rule, the labels, and the access.toml files of folders."""

import re
from pathlib import Path, PurePosixPath

import pytest
from fakes import HashingEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_ft.errors import CorpusError, UsageError
from rag_ft.indexing.access import AccessRules, _matches, audience, label_of, labelled, narrowed
from rag_ft.indexing.corpus import read_corpus
from rag_ft.indexing.index import Index
from rag_ft.schema import Document


@pytest.mark.parametrize(
    ("metadata", "label"),
    [
        ({}, None),
        ({"access": "staff"}, ("staff",)),
        ({"access": ["staff", "legal", "staff"]}, ("legal", "staff")),
        ({"access": []}, ()),
    ],
)
def test_a_label_is_a_list_of_groups_or_one_group(metadata, label):
    assert label_of(metadata) == label


@pytest.mark.parametrize(
    "value",
    [None, 3, True, {"a": "b"}, [["staff"]], [3], [None], [True], "", "staff, legal", "a b", "-x", "x" * 65, ["ä"]],
)
def test_what_is_no_label_is_refused_and_never_public(value):
    with pytest.raises(UsageError, match="access"):
        label_of({"access": value})
    assert not audience(["staff", "legal"]).may_read({"access": value})


@pytest.mark.parametrize("key", ["Access", "ACCESS", " access"])
def test_a_label_in_other_letters_is_refused_and_never_public(key):
    with pytest.raises(UsageError, match="write it 'access'"):
        label_of({key: "staff"})
    assert not audience(["staff"]).may_read({key: "staff"})


@pytest.mark.parametrize(
    ("groups", "default", "readable"),
    [
        ([], None, "u"),
        (["staff"], None, "us"),
        ("legal", None, "ub"),
        (["staff"], ["legal"], "s"),
        (["staff", "legal"], ["legal"], "usb"),
        (["staff", "legal"], [], "sb"),
    ],
)
def test_who_may_read_what(groups, default, readable):
    documents = {"u": {}, "s": {"access": ["staff"]}, "b": {"access": ["legal", "board"]}, "n": {"access": []}}
    reader = audience(groups, default)
    assert "".join(name for name, metadata in documents.items() if reader.may_read(metadata)) == readable


def test_a_ceiling_narrows_and_never_widens():
    assert narrowed(None, None) is None
    assert narrowed(None, ("hr",)) == narrowed(("hr",), None) == ("hr",)
    assert narrowed(("hr", "staff"), ("board", "hr")) == ("hr",)
    assert narrowed(("staff",), ()) == ()


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("hr", "hr/pay.md", True),
        ("hr", "deep/hr/2024/pay.md", True),
        ("hr/", "deep/hr/2024/pay.md", True),
        ("hr", "hr.md", False),
        ("*.pdf", "a.pdf", True),
        ("*.pdf", "deep/er/a.pdf", True),
        ("/*.pdf", "deep/a.pdf", False),
        ("hr/*.md", "hr/pay.md", True),
        ("hr/*.md", "hr/old/pay.md", False),
        ("hr/*", "hr/old/pay.md", True),  # a folder on the way
        ("hr/**", "hr/old/pay.md", True),
        ("**/pay.md", "pay.md", True),
        ("**/pay.md", "a/b/pay.md", True),
        ("**", "a/b", True),
        ("a?.md", "ab.md", True),
        ("a?.md", "a/.md", False),
        ("[x].md", "[x].md", True),
        ("[x].md", "x.md", False),
        ("caf\u00e9", "cafe\u0301/menu.md", True),
    ],
)
def test_patterns(pattern, path, matches):
    assert _matches(pattern, PurePosixPath(path)) is matches


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def labels(source: Path) -> dict[str, object]:
    contents = read_corpus(source).read_all()
    return {document.id: document.metadata.get("access") for document in contents.documents} | {
        failure.document: "refused" for failure in contents.failures
    }


DOCS = {
    "open.md": "Open to all.",
    "own.md": "---\naccess: [legal, staff]\n---\nOwn label.",
    "hr/pay.md": "---\naccess: staff\n---\nOpens itself up.",
    "hr/plan.md": "---\naccess: hr\n---\nPlan.",
    "hr/deep/old.txt": "Old.",
    "hr/rows.jsonl": '{"id": "r1", "text": "One."}\n{"id": "r2", "text": "Two.", "access": ["hr", "board"]}\n',
    "bad.md": "---\naccess: 7\n---\nBad label.",
    "access.toml": '[access]\n"hr/deep" = ["board"]\n"hr" = ["hr", "board"]\n',
}


def test_a_folders_file_is_a_ceiling_for_all_below_it(tmp_path):
    assert labels(write(tmp_path, DOCS)) == {
        "open.md": None,
        "own.md": ["legal", "staff"],
        "hr/pay.md": [],
        "hr/plan.md": ["hr"],
        "hr/deep/old.txt": ["board"],
        "r1": ["board", "hr"],
        "r2": ["board", "hr"],
        "bad.md": "refused",
    }


def test_a_file_of_a_folder_below_narrows_and_never_widens(tmp_path):
    write(tmp_path, {**DOCS, "hr/access.toml": '[access]\n"**" = ["board", "staff"]\n'})
    found = labels(tmp_path)
    assert found["hr/plan.md"] == [] and found["r1"] == ["board"] and found["hr/deep/old.txt"] == ["board"]


def test_a_part_of_a_folder_is_read_under_the_same_rules(tmp_path):
    write(tmp_path, DOCS)
    assert labels(tmp_path / "hr" / "deep") == {"old.txt": ["board"]}
    assert labels(tmp_path / "hr" / "plan.md") == {"plan.md": ["hr"]}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(tmp_path / "hr")
    assert labels(tmp_path / "elsewhere")["link/deep/old.txt"] == ["board"]
    (tmp_path / "elsewhere" / "file.txt").symlink_to(tmp_path / "hr" / "deep" / "old.txt")
    assert ["board"] in labels(tmp_path / "elsewhere").values()


@pytest.mark.parametrize(
    "text",
    [
        "not toml [",
        "[acess]\nhr = 'x'",
        "[access]\n'hr' = 3",
        "[access]\n'hr' = ['a b']",
        "[access]\n'' = ['a']",
        "[access]\n'../x' = ['a']",
        "[access]\n'a' = 'a'\n[more]",
        "access = 'staff'",
        "",
        "[access]\n\"\\ud800\" = 'a'",
    ],
)
def test_rules_that_cannot_be_understood_stop_the_build_and_leave_the_index(tmp_path, text):
    docs = write(tmp_path / "docs", {"a.md": "One.", "hr/b.md": "Two."})
    before = Index.build(docs, tmp_path / "index", embedder=HashingEmbedder(), progress=False).fingerprint
    (docs / "hr" / "access.toml").write_text(text)
    with pytest.raises(CorpusError, match=re.escape(str(docs / "hr" / "access.toml")) + ".*repair it"):
        Index.build(docs, tmp_path / "index", embedder=HashingEmbedder(), progress=False)
    assert Index.load(tmp_path / "index").fingerprint == before


PATTERNS = st.sampled_from(["**", "*", "a", "b", "a/b", "*.txt", "b/*.txt", "a/**", "x"])
LABELS = st.lists(st.sampled_from("pqrs"), unique=True)


@given(above=st.dictionaries(PATTERNS, LABELS), below=st.dictionaries(PATTERNS, LABELS), own=st.none() | LABELS)
@settings(max_examples=60, deadline=None)
def test_whatever_the_rules_say_together_is_never_wider_than_one_of_them(above, below, own, tmp_path_factory):
    top = tmp_path_factory.mktemp("rules")
    write(top, {"a/b/one.txt": "One."})
    for folder, rules in ((top, above), (top / "a", below)):
        lines = "".join(f"'{pattern}' = {label!r}\n" for pattern, label in rules.items())
        (folder / "access.toml").write_text("[access]\n" + lines)
    path = PurePosixPath("a/b/one.txt")
    matching = [set(label) for pattern, label in above.items() if _matches(pattern, path)]
    matching += [set(label) for pattern, label in below.items() if _matches(pattern, PurePosixPath("b/one.txt"))]
    matching += [] if own is None else [set(own)]
    document = Document(id="one", text="One.", metadata={} if own is None else {"access": own})
    label = labelled(document, AccessRules().ceiling(top / path)).metadata.get("access")
    assert label == (sorted(set.intersection(*matching)) if matching else None)


def test_groups_that_exclude_each_other_are_told(tmp_path, caplog):
    rules = '[access]\n"**" = ["staff"]\n"hr" = ["hr"]\n"none" = []\n'
    write(tmp_path, {"hr/a.md": "One.", "b.md": "Two.", "none/c.md": "Three.", "access.toml": rules})
    assert labels(tmp_path) == {"hr/a.md": [], "b.md": ["staff"], "none/c.md": []}
    assert caplog.text.count("no group in common") == 1 and "a.md" in caplog.text


def test_a_pattern_that_matches_nothing_is_told(tmp_path, caplog):
    write(tmp_path, {"hr/a.md": "One.", "access.toml": '[access]\n"HR" = ["hr"]\n'})
    assert labels(tmp_path) == {"hr/a.md": None}
    assert "'HR' matches no document" in caplog.text


def test_another_access_takes_effect_when_built_again_and_embeds_nothing(tmp_path):
    docs = write(tmp_path / "docs", {"a.md": "One fox.", "b.md": "---\naccess: staff\n---\nTwo foxes."})
    build = lambda: Index.build(docs, tmp_path / "index", embedder=HashingEmbedder(), progress=False)  # noqa: E731
    first = build()
    assert list(first.visible_to([]).documents()) == ["a.md"]
    (docs / "b.md").write_text("---\naccess: legal\n---\nTwo foxes.")
    second = build()
    assert second.build_report.changed == ("b.md",) and second.build_report.passages_embedded == 0
    assert list(second.visible_to("staff").documents()) == ["a.md"]
    (docs / "access.toml").write_text('[access]\n"*" = ["board"]\n')
    third = build()
    assert third.build_report.changed == ("a.md", "b.md") and third.build_report.passages_embedded == 0
    assert third.fingerprint != second.fingerprint
    assert list(third.visible_to(["legal", "staff"]).documents()) == []


def test_a_document_that_cannot_be_read_stays_under_the_rules_of_today(tmp_path):
    docs = write(tmp_path / "docs", {"a.md": "One.", "pay.docx": ""})
    (docs / "pay.docx").unlink()
    (docs / "pay.txt").write_text("Pay.")
    build = lambda: Index.build(docs, tmp_path / "index", embedder=HashingEmbedder(), progress=False)  # noqa: E731
    build()
    (docs / "pay.txt").write_bytes(b"")
    (docs / "access.toml").write_text('[access]\n"pay.*" = ["hr"]\n')
    again = build()
    assert again.build_report.kept == ("pay.txt",) and again.build_report.passages_embedded == 0
    assert list(again.visible_to([]).documents()) == ["a.md"]
    assert list(again.visible_to(["hr"]).documents()) == ["a.md", "pay.txt"]


def test_a_document_whose_label_is_wrong_is_refused_and_what_was_indexed_of_it_goes(tmp_path):
    docs = write(tmp_path / "docs", {"a.md": "One.", "b.md": "Two.", "c.jsonl": '{"id": "r", "text": "Three."}\n'})
    build = lambda: Index.build(docs, tmp_path / "index", embedder=HashingEmbedder(), progress=False)  # noqa: E731
    build()
    (docs / "b.md").write_text("---\naccess: [staff, 7]\n---\nTwo.")
    (docs / "c.jsonl").write_text('{"id": "r", "text": "Three.", "access": null}\nno json\n')
    again = build()
    assert list(again.documents()) == ["a.md"]
    assert [failure.reason[:40] for failure in again.build_report.failures][:1] == [
        "has no valid 'access': it names the group"[:40]
    ]


def test_an_addition_does_not_leave_a_document_whose_new_label_is_wrong(tmp_path):
    documents = [Document(id=name, text=f"Text {name}.") for name in "abc"]
    made = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder(), progress=False)
    again = [documents[0].model_copy(update={"metadata": {"access": 3}}), Document(id="d", text="Text d.")]
    report = made.add(again, progress=False)
    assert list(made.documents()) == ["b", "c", "d"]
    assert report.removed == ("a",) and "'access'" in report.failures[0].reason


def test_documents_in_memory_have_the_label_that_they_carry(tmp_path):
    documents = [
        Document(id="a", text="One."),
        Document(id="b", text="Two.", metadata={"access": "staff"}),
        Document(id="c", text="Three.", metadata={"access": {}}),
    ]
    made = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder(), progress=False)
    assert list(made.documents()) == ["a", "b"] and made.document("b").metadata["access"] == ["staff"]
    assert "'access'" in made.build_report.failures[0].reason


def test_each_rules_file_is_read_once(tmp_path, monkeypatch):
    write(tmp_path, {**DOCS})
    rules = AccessRules()
    assert rules.ceiling(tmp_path / "hr" / "a") == ("board", "hr")
    (tmp_path / "access.toml").write_text("nonsense")
    assert rules.ceiling(tmp_path / "hr" / "b") == ("board", "hr")
