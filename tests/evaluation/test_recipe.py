from pathlib import Path

import pytest

from rag_ft.errors import EvaluationError
from rag_ft.evaluation.arms.build import build_arms, curve_arms
from rag_ft.evaluation.recipe import Recipe, read_recipe

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


def test_as_many_passages_are_retrieved_as_the_arm_with_most_reads(tmp_path):
    deep = '\n[[arm]]\nname = "deep"\nkind = "reader"\nadapter = "none"\nk = 7\n'
    assert read_recipe(_write(tmp_path, "k = 2\n" + GOOD)).deepest_k == 2
    assert read_recipe(_write(tmp_path, "k = 2\n" + GOOD + deep)).deepest_k == 7
    assert read_recipe(_write(tmp_path, "k = 9\n" + GOOD + deep)).deepest_k == 9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('pick = "random"', 'pick = "worst"'), r"recipe\.toml: arm\.1\.passage\.pick: "),
        (('pick = "random"', 'pik = "random"'), r"recipe\.toml: arm\.1\.passage\.pik: "),
        (('kind = "passage"\n\n', 'kind = "pasage"\n\n'), r"recipe\.toml: arm\.0: "),
        (('title = "Little"', 'title = "Little"\nsede = 3'), r"recipe\.toml: sede: "),
        (('first = "top"', 'first = "tpo"'), r"primary names the arm 'tpo', but the arms are top, any"),
        (('name = "any"', 'name = "top"'), r"two arms are named 'top'"),
        (("title", "title title"), r"is not valid TOML .*line 1"),
        (
            ('kind = "passage"\npick = "random"', 'kind = "reader"\nthreshold = "dev"'),
            r"recipe\.toml: arm\.1\.reader\.threshold",
        ),
        (
            ('kind = "passage"\npick = "random"', 'kind = "reader"\nthreshold = "development"'),
            r"no \[development\] tab",
        ),
        (
            ('kind = "passage"\npick = "random"', 'kind = "reader"\nmode = "schema"\nwhole_sentences = true'),
            r"arm\.1\.reader: .*whole_sentences is true, but mode is 'schema'",
        ),
        (('"any" }', '"any" }\n[development]\nshare = 2.0'), r"recipe\.toml: development\.share: "),
    ],
)
def test_a_typo_is_reported_with_its_key(tmp_path, change, words):
    with pytest.raises(EvaluationError, match=words):
        read_recipe(_write(tmp_path, GOOD.replace(*change)))


def test_a_recipe_that_is_not_there_is_reported(tmp_path):
    with pytest.raises(EvaluationError, match=r"none\.toml cannot be read"):
        read_recipe(tmp_path / "none.toml")


def test_a_folder_to_rerank_with_counts_from_the_recipes_own(tmp_path):
    (tmp_path / "recipe.toml").write_text('rerank = "mine"\n' + GOOD)
    assert read_recipe(tmp_path / "recipe.toml").rerank == str(tmp_path / "mine")


def test_a_threshold_of_words_is_not_chosen_where_sentences_are_given(tmp_path):
    alone = 'kind = "cross-encoder"\nwhole_sentences = true\nthreshold = "development"'
    with pytest.raises(EvaluationError, match="is for words, and whole_sentences gives sentences"):
        read_recipe(_write(tmp_path, GOOD.replace('kind = "passage"\npick = "random"', alone)))


def test_what_people_ask_is_asked_of_the_same_arms_and_of_some_that_say_more_than_a_reader_chose():
    folder = Path(__file__).resolve().parents[2] / "evals"
    asked, written = (read_recipe(folder / f"{name}.toml") for name in ("asked", "handbook"))
    more = [arm for arm in asked.arm if arm not in written.arm]
    plain_arms = [arm for arm in written.arm if arm.kind != "cross-encoder"]
    (alone,) = [arm for arm in more if arm.kind == "cross-encoder"]
    more.remove(alone)
    assert alone.whole_sentences and alone.cross_encoder == "packaged"
    assert {arm.name for arm in plain_arms} == {arm.name for arm in asked.arm if arm not in [*more, alone]}
    in_own_words, *whole = more
    assert (in_own_words.kind, in_own_words.adapter, in_own_words.mode) == ("reader", "none", "schema")
    # Each differs from one of the others by whole sentences alone.
    plain = {arm.name: arm for arm in written.arm}
    assert len(whole) == 4 and {arm.kind for arm in whole} == {"reader"}
    (by_cross_encoder,) = [arm for arm in whole if arm.cross_encoder == "packaged"]
    whole.remove(by_cross_encoder)
    (same,) = [arm for arm in whole if arm.name == "tuned, with passages, whole sentences"]
    assert same == by_cross_encoder.model_copy(update={"name": same.name, "cross_encoder": "none"})
    for arm in whole:
        name = arm.name.removesuffix(", whole sentences")
        assert arm == plain[name].model_copy(update={"name": arm.name, "whole_sentences": True})
    assert asked.primary == written.primary and Path(asked.questions).is_file()


def _recipe(**more):
    arm = [{"name": "top", "kind": "passage"}, {"name": "any", "kind": "passage", "pick": "random"}]
    fields = {"title": "t", "questions": "q", "documents": "d", "primary": {"first": "top", "second": "any"}}
    return Recipe.model_validate({**fields, "arm": arm, **more})


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
    with pytest.raises(ValueError, match="needs the arm 'any', but no arm of kind 'reader'"):
        _curved(folder="curve", arm="any")
    with pytest.raises(ValueError, match="or adapters with their records"):
        _curved()
    with pytest.raises(ValueError, match="two adapters were trained on 5 records"):
        _curved(adapter=[{"records": 5, "adapter": "a"}, {"records": 5, "adapter": "b"}])
    with pytest.raises(EvaluationError, match="holds no learning curve: make one with rag-ft train --curve"):
        list(curve_arms(_curved(folder="nowhere"), None))
    assert list(curve_arms(_recipe(), None)) == []


def test_paths_of_a_learning_curve_count_from_the_recipes_folder(tmp_path):
    more = '\n[learning_curve]\nadapter = [{ records = 9, adapter = "nine" }]\n'
    text = GOOD.replace('kind = "passage"\npick = "random"', 'kind = "reader"') + more
    assert read_recipe(_write(tmp_path, text)).learning_curve.adapter[0].adapter == str(tmp_path / "nine")
    text = text.replace('adapter = [{ records = 9, adapter = "nine" }]', 'folder = "all"')
    assert read_recipe(_write(tmp_path, text)).learning_curve.folder == str(tmp_path / "all")
    with pytest.raises(EvaluationError, match=r"recipe\.toml: learning_curve\.fodler"):
        read_recipe(_write(tmp_path, text.replace("folder", "fodler")))


def test_a_function_that_cannot_be_imported_is_reported():
    arm = [{"name": "top", "kind": "function", "function": "no_such_module:ask"}]
    recipe = _recipe(arm=arm, primary={"first": "top", "second": "top"})
    with pytest.raises(EvaluationError, match=r"no_such_module:ask cannot be imported"):
        build_arms(recipe, None)


def test_a_recipe_asks_questions_feedback_or_both(tmp_path):
    path = _write(tmp_path, GOOD.replace('questions = "qa.jsonl"', 'feedback = "indexes/docs"'))
    recipe = read_recipe(path)
    assert (recipe.questions, recipe.feedback) == ("", str(tmp_path / "indexes" / "docs"))
    assert "feedback" not in read_recipe(_write(tmp_path, GOOD)).model_dump()
    with pytest.raises(EvaluationError, match="give questions, a file of records, or feedback"):
        read_recipe(_write(tmp_path, GOOD.replace('questions = "qa.jsonl"', "")))
