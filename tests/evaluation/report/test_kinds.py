from little_evaluation import asking, little_arms

from rag_ft.evaluation.arms.baselines import FunctionArm
from rag_ft.evaluation.evaluate import evaluate_recipe
from rag_ft.evaluation.predictions import cites_part
from rag_ft.evaluation.report.kinds import kind_tables, origin_tables
from rag_ft.evaluation.report.results import differences, read_results
from rag_ft.questions.records import read_questions
from rag_ft.schema import Answer, Citation, Provenance, Question, Usage


def _mixed(path):
    """The little world's questions: heights stay spans, years become parts or yes and no by turns."""
    questions = []
    for i, question in enumerate(read_questions(path)):
        if question.id.endswith("-2"):
            kept = {"id": question.id, "question": question.question, "evidence": question.evidence}
            yes = (None, True, False)[i % 9 // 3]
            whole = f"It was built in {question.answers[0]} by a guild of masons."
            question = Question(**kept, answers=(whole,), kind="part", yes=yes)
        questions.append(question)
    return questions


def _says_yes(question, passages):
    """A text that begins with yes, then the second sentence."""
    return "Yes. " + passages[0].text.split(". ")[1]


def _run(prepared, folder, says=_says_yes):
    index, recipe = prepared
    recipe = asking(recipe, folder, _mixed(recipe.questions))

    def arms(recipe, index):
        return [FunctionArm("reads", says), *little_arms(recipe, index)[1:]]

    return evaluate_recipe(recipe, folder / "run", arms=arms, index=index)


def test_a_report_shows_the_kinds_apart_and_says_what_is_right_for_each(prepared, tmp_path):
    report = _run(prepared, tmp_path)
    kinds = report.results.arms[0].kinds
    assert {kind: figures.questions for kind, figures in kinds.items()} == {"span": 16, "part": 3, "yes/no": 5}
    # Its text, which begins with yes, is not a passage's, so that it cites nothing; a whole passage cites itself.
    assert (kinds["part"].figures["right"].mean, kinds["part"].figures["cited_part"].mean) == (1.0, 0.0)
    assert report.results.arms[1].kinds["part"].figures["cited_part"].mean == 1.0
    decided = kinds["yes/no"].figures
    assert (decided["accuracy"].mean, decided["decided"].mean) == (3 / 5, 1.0)
    assert "decided" not in report.results.arms[1].figures
    assert report.results.arms[1].kinds["yes/no"].figures["decided"].mean == 0.0
    page, text = ((tmp_path / "run" / name).read_text() for name in ("report.html", "report.md"))
    for table in kind_tables(report.results.arms):
        assert f"<h3>{table.title}</h3>" in page and f"### {table.title}\n" in text
        assert table.words in text and [row[0] for row in table.rows] == ["reads", "top", "sentence"]
    assert "### Spans: 16 questions (8 answerable)" in text and "### Yes or no: 5 questions\n" in text
    assert "Always saying yes would be right for 3 of 5." in text and kinds["yes/no"].yes == 3
    assert "decides by beginning its text with yes or no" in text
    assert "| wrong yes or no | " in text and "wrong yes or no</th>" in page
    assert "accepted: Yes: It was built" in page
    assert read_results(tmp_path / "run") == report.results


def test_the_bins_add_up_with_all_kinds_in_them(prepared, tmp_path):
    for arm in _run(prepared, tmp_path).results.arms:
        assert sum(arm.budget.values()) == 24 and "wrong yes or no" in arm.budget


def _tuned_to_decide(question, passages):
    """The second sentence of the passage as a part that says no, with its place."""
    (passage, *_), second = passages, passages[0].text.split(". ")[1]
    start = passage.start + passage.text.index(second)
    place = {"start": start, "end": start + len(second)}
    citation = Citation(
        passage_id=passage.id,
        document_id=passage.document_id,
        source="",
        title="",
        page=None,
        quote=second,
        verdict="supported",
        answer_start=place["start"],
        answer_end=place["end"],
        **place,
    )
    cost = dict.fromkeys(
        ("prompt_tokens", "completion_tokens", "retrieve_seconds", "read_seconds", "verify_seconds"), 1
    )
    origin = dict.fromkeys(("index", "embedder", "base_model", "adapter", "prompt", "mode", "reading"), "")
    return Answer(
        question=question,
        answer=second,
        kind="part",
        yes=False,
        citations=(citation,),
        confidence=0.5,
        abstained=False,
        complete=True,
        completion="",
        usage=Usage.model_validate(cost),
        provenance=Provenance.model_validate(origin),
    )


def test_a_readers_decision_and_the_place_of_its_part_count_and_not_its_words(prepared, tmp_path):
    report = _run(prepared, tmp_path, _tuned_to_decide)
    reads = report.results.arms[0]
    decided = reads.kinds["yes/no"].figures
    assert (decided["accuracy"].mean, decided["cited_part"].mean) == (2 / 5, 1.0)
    assert reads.budget["wrong yes or no"] == 3
    assert reads.kinds["part"].figures["cited_part"].mean == 1.0
    # The evidence of the heights is in the first sentence of the same passage, which is not what is cited.
    replies = {reply.question_id: reply for reply in report.predictions["reads"]}
    questions = {question.id: question for question in report.questions}
    assert not cites_part(replies["Oslo-1"], questions["Oslo-1"])
    assert "No: It was built in 1900" in (tmp_path / "run" / "report.html").read_text()


def test_spans_alone_have_no_tables_of_kinds_and_no_bin_of_decisions(prepared, tmp_path):
    index, recipe = prepared
    report = evaluate_recipe(recipe, tmp_path, arms=little_arms, index=index)
    assert kind_tables(report.results.arms) == []
    assert "By kind of question" not in (tmp_path / "report.md").read_text() + (tmp_path / "report.html").read_text()
    assert "wrong yes or no" not in "".join(path.read_text() for path in tmp_path.glob("re*.*"))
    assert '"kinds"' not in (tmp_path / "results.json").read_text()


def test_a_figure_that_moved_on_one_kind_only_is_a_difference(prepared, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()

    def says_no(question, passages):
        return "No. " + passages[0].text.split(". ")[1]

    before, after = _run(prepared, tmp_path / "a").results, _run(prepared, tmp_path / "b", says_no).results
    lines = differences(before, after)
    assert "arm 'reads', yes/no, accuracy of decisions: 0.6000 → 0.4000" in lines
    assert not any("arm 'reads', part" in line for line in lines)


def test_origins_are_shown_apart_only_where_people_did_not_write_all(prepared, tmp_path):
    index, recipe = prepared
    records = read_questions(recipe.questions)
    mixed = [records[0].model_copy(update={"origin": "made"}), *records[1:]]
    report = evaluate_recipe(asking(recipe, tmp_path, mixed), tmp_path / "run", arms=little_arms, index=index)
    tables = origin_tables(report.results.arms)
    assert [table.title for table in tables] == [
        "23 questions by people (15 answerable)",
        "1 questions made by a program (1 answerable)",
    ]
    assert tables[0].heads[0] == "right" and [row[0] for row in tables[1].rows] == ["reads", "top", "sentence"]
    own = evaluate_recipe(recipe, tmp_path / "own", arms=little_arms, index=index)
    assert origin_tables(own.results.arms) == []
