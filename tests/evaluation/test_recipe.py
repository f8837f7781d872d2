import pytest
from data import little_world

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.build import build_arms, curve_arms
from rag_ft.evaluation.recipe import Recipe, read_recipe
from rag_ft.evaluation.selection import choose_questions, development_questions

GOOD = """title = "Little"
questions = "qa.jsonl"
documents = "docs"
primary = { first = "top", second = "any" }

[[arm]]
name = "top"
kind = "passage"

[[arm]]
name = "any"
kind = "passage"
pick = "random"
"""


def _write(tmp_path, text):
    (tmp_path / "recipe.toml").write_text(text)
    return tmp_path / "recipe.toml"


def test_paths_count_from_the_recipes_folder(tmp_path):
    recipe = read_recipe(_write(tmp_path, GOOD))
    assert recipe.questions == str(tmp_path / "qa.jsonl") and recipe.arm[1].pick == "random"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('pick = "random"', 'pick = "worst"'), r"line 13: arm\.1\.passage\.pick"),
        (('pick = "random"', 'pik = "random"'), r"line 13: arm\.1\.passage\.pik"),
        (('kind = "passage"\n\n', 'kind = "pasage"\n\n'), r"line 6: arm\.0"),
        (('title = "Little"', 'title = "Little"\nsede = 3'), r"line 2: sede"),
        (('first = "top"', 'first = "tpo"'), r"primary names the arm 'tpo', and the arms are top, any"),
        (('name = "any"', 'name = "top"'), r"two arms are named 'top'"),
        (("title", "title title"), r"is not TOML .*line 1"),
        (('kind = "passage"\npick = "random"', 'kind = "reader"\nthreshold = "dev"'), r"line 13: arm\.1\.reader"),
        (
            ('kind = "passage"\npick = "random"', 'kind = "reader"\nthreshold = "development"'),
            r"no \[development\] tab",
        ),
        (('"any" }', '"any" }\n[development]\nshare = 2.0'), r"line 6: development\.share"),
    ],
)
def test_a_typo_is_told_with_its_line(tmp_path, change, words):
    with pytest.raises(EvaluationError, match=words):
        read_recipe(_write(tmp_path, GOOD.replace(*change)))


def test_a_recipe_that_is_not_there_is_told(tmp_path):
    with pytest.raises(EvaluationError, match=r"none\.toml cannot be read"):
        read_recipe(tmp_path / "none.toml")


def _recipe(**more):
    arm = [{"name": "top", "kind": "passage"}, {"name": "any", "kind": "passage", "pick": "random"}]
    fields = {"title": "t", "questions": "q", "documents": "d", "primary": {"first": "top", "second": "any"}}
    return Recipe.model_validate({**fields, "arm": arm, **more})


def test_questions_are_chosen_by_document_split_and_sample():
    _, questions = little_world()
    assert choose_questions(_recipe(), questions, frozenset()) == questions
    oslo = choose_questions(_recipe(only=("Oslo.txt",)), questions, frozenset())
    assert [one.id for one in oslo] == ["Oslo-1", "Oslo-2", "Oslo-3"]
    held = choose_questions(_recipe(split="held out"), questions, frozenset({"Oslo.txt", "Lima.txt"}))
    assert len(held) == len(questions) - 6 and not any(one.id.startswith(("Oslo", "Lima")) for one in held)
    few = choose_questions(_recipe(sample=5, seed=1), questions, frozenset())
    assert few == choose_questions(_recipe(sample=5, seed=1), questions, frozenset()) and len(few) == 5
    assert [one for one in questions if one in few] == few


def test_a_question_set_that_matches_nothing_is_told():
    _, questions = little_world()
    with pytest.raises(EvaluationError, match="none of 24 questions is about Rome"):
        choose_questions(_recipe(only=("Rome.txt",)), questions, frozenset())
    everything = frozenset(piece.document_id for one in questions for piece in one.evidence)
    with pytest.raises(EvaluationError, match="was trained on the documents of all 24 questions"):
        choose_questions(_recipe(split="held out"), questions, everything)


def _cities(questions):
    return {one.id.split("-")[0] for one in questions}


def test_development_questions_are_about_documents_that_are_not_judged():
    _, questions = little_world()
    recipe = _recipe(development={"questions": 6, "share": 0.4})
    apart, judged = (ask(recipe, questions, frozenset()) for ask in (development_questions, choose_questions))
    assert len(apart) == 6 and len(judged) == 15  # three of eight documents are kept apart
    assert not _cities(apart) & _cities(judged)
    assert development_questions(recipe, questions, frozenset()) == apart
    other = recipe.model_copy(update={"seed": 1})
    assert _cities(choose_questions(other, questions, frozenset())) != _cities(judged)
    # A smaller sample is judged on the same documents.
    few = recipe.limited(2)
    assert _cities(choose_questions(few, questions, frozenset())) <= _cities(judged)
    assert len(development_questions(few, questions, frozenset())) == 2
    assert development_questions(_recipe(), questions, frozenset()) == []


def test_development_documents_are_named_or_those_outside_only():
    _, questions = little_world()
    named = _recipe(development={"documents": ["Oslo.txt"]})
    assert _cities(development_questions(named, questions, frozenset())) == {"Oslo"}
    assert "Oslo" not in _cities(choose_questions(named, questions, frozenset()))
    outside = _recipe(only=("Oslo.txt",), development={"questions": 100})
    assert len(development_questions(outside, questions, frozenset())) == 21
    assert _cities(choose_questions(outside, questions, frozenset())) == {"Oslo"}
    held = _recipe(only=("Oslo.txt",), split="held out", development={"questions": 100})
    assert "Lima" not in _cities(development_questions(held, questions, frozenset({"Lima.txt"})))


def test_a_question_about_a_document_of_either_side_is_on_neither():
    _, questions = little_world(2)
    both = questions[0].model_copy(update={"id": "Both-1", "evidence": questions[0].evidence + questions[3].evidence})
    recipe = _recipe(development={"documents": ["Oslo.txt"]})
    for ask in (choose_questions, development_questions):
        assert "Both" not in _cities(ask(recipe, [*questions, both], frozenset()))


def test_a_development_split_that_cannot_be_is_told():
    _, questions = little_world(1)
    with pytest.raises(EvaluationError, match="about one document"):
        development_questions(_recipe(development={}), questions, frozenset())
    with pytest.raises(EvaluationError, match="is about development documents alone"):
        development_questions(_recipe(development={"documents": ["Rome.txt"]}), questions, frozenset())
    with pytest.raises(EvaluationError, match="name fewer documents"):
        choose_questions(_recipe(development={"documents": ["Oslo.txt"]}), questions, frozenset())
    with pytest.raises(ValueError, match=r"'Oslo\.txt' is in both"):
        _recipe(only=("Oslo.txt",), development={"documents": ["Oslo.txt"]})


READS = [
    {"name": "perfect", "kind": "reader", "gold": True},
    {"name": "tuned", "kind": "reader", "k": 2},
    {"name": "any", "kind": "passage"},
]


def _curved(**curve):
    return _recipe(arm=READS, primary={"first": "tuned", "second": "any"}, learning_curve=curve)


def test_a_learning_curve_is_asked_as_a_tuned_reader_is():
    assert _curved(folder="curve").curve_arm.name == "tuned"
    assert _curved(folder="curve", arm="perfect").curve_arm.name == "perfect"
    with pytest.raises(ValueError, match="asks as the arm 'any' does, and no arm of kind 'reader'"):
        _curved(folder="curve", arm="any")
    with pytest.raises(ValueError, match="or adapters with their records"):
        _curved()
    with pytest.raises(ValueError, match="two adapters were trained on 5 records"):
        _curved(adapter=[{"records": 5, "adapter": "a"}, {"records": 5, "adapter": "b"}])
    with pytest.raises(EvaluationError, match="holds no learning curve: make one by rag-ft train --curve"):
        list(curve_arms(_curved(folder="nowhere"), None))
    assert list(curve_arms(_recipe(), None)) == []


def test_paths_of_a_learning_curve_count_from_the_recipes_folder(tmp_path):
    more = '\n[learning_curve]\nadapter = [{ records = 9, adapter = "nine" }]\n'
    text = GOOD.replace('kind = "passage"\npick = "random"', 'kind = "reader"') + more
    assert read_recipe(_write(tmp_path, text)).learning_curve.adapter[0].adapter == str(tmp_path / "nine")
    text = text.replace('adapter = [{ records = 9, adapter = "nine" }]', 'folder = "all"')
    assert read_recipe(_write(tmp_path, text)).learning_curve.folder == str(tmp_path / "all")
    with pytest.raises(EvaluationError, match=r"line 15: learning_curve\.fodler"):
        read_recipe(_write(tmp_path, text.replace("folder", "fodler")))


def test_a_function_that_cannot_be_imported_is_told():
    arm = [{"name": "top", "kind": "function", "function": "no_such_module:ask"}]
    recipe = _recipe(arm=arm, primary={"first": "top", "second": "top"})
    with pytest.raises(EvaluationError, match=r"no_such_module:ask cannot be imported"):
        build_arms(recipe, None)


def test_documents_trained_on_are_found_by_fingerprint_under_another_name(tmp_path):
    from fakes import HashingEmbedder

    from rag_ft.indexing.index import Index
    from rag_ft.models.adapter_record import trained_documents

    documents, _ = little_world(2)
    index = Index.build(documents, tmp_path / "index", embedder=HashingEmbedder())
    prints = [index.document_fingerprint("Oslo.txt")[:16]]
    record = {"data": {"documents": ["was-called-this.txt", "Lima.txt"], "document_fingerprints": prints}}
    assert trained_documents(record, index.document_fingerprints()) == {"Oslo.txt"}
    assert trained_documents({"data": {"documents": ["Lima.txt"]}}, index.document_fingerprints()) == {"Lima.txt"}
    assert trained_documents({}, index.document_fingerprints()) == frozenset()
