import json

import pytest

from rag_ft.cli.terminal import printed_lines
from rag_ft.errors import TrainingError, UsageError
from rag_ft.training.curve import curve_sizes, train_curve
from rag_ft.training.lora import AdapterConfig
from rag_ft.training.run import train_reader
from rag_ft.training.steps.config import TrainConfig

SMALL = {"lora": AdapterConfig(rank=4), "training": TrainConfig(bits=32, max_steps=2, evaluations=1)}


@pytest.fixture(scope="module")
def trained(world, tiny_llama_dir, tmp_path_factory):
    index, questions = world
    folder, lines = tmp_path_factory.mktemp("curve"), []
    reader = str(tiny_llama_dir)
    with printed_lines("rag_ft.training", lines.append):
        return train_curve(questions, index, folder, halvings=2, reader=reader, **SMALL), lines


def _records(folder):
    record = json.loads((folder / "rag_ft.json").read_text())
    return record["data"]


def test_sizes_are_halves_of_halves_from_the_smallest_to_all():
    assert curve_sizes(21, 2) == [5, 10, 21]
    assert curve_sizes(8, 3) == [1, 2, 4, 8]
    with pytest.raises(UsageError, match="7 training records cannot be halved 3 times"):
        curve_sizes(7, 3)
    with pytest.raises(UsageError, match="halvings is 0"):
        curve_sizes(8, 0)


def test_every_size_is_a_finished_adapter_measured_on_the_same_held_out_records(trained):
    curve, lines = trained
    sizes = [point.records for point in curve.points]
    assert sizes == [5, 10, 21] and [point.path.name for point in curve.points] == ["5", "10", "21"]
    data = [_records(point.path) for point in curve.points]
    assert [record["train_questions"] for record in data] == sizes
    assert data[0]["held_out"] == data[1]["held_out"] == data[2]["held_out"]
    documents = [set(record["documents"]) for record in data]
    assert documents[0] <= documents[1] <= documents[2]  # parts of each other
    assert len({point.score.questions for point in curve.points}) == 1
    assert sum("held-out questions with" in line and line.startswith("untuned") for line in lines) == 1
    assert lines[-1].startswith("curve               21 records: F1 ")


def test_the_adapter_of_all_records_is_where_a_training_without_a_curve_leaves_it(trained):
    curve, _ = trained
    whole = curve.points[-1].path
    for name in ("adapter_model.safetensors", "adapter_config.json", "rag_ft.json", "README.md"):
        assert (curve.path / name).read_bytes() == (whole / name).read_bytes()
    assert (curve.path / "training" / "curves.png").is_file()


def test_an_evaluation_asks_every_adapter_of_the_folder(trained, world, tiny_llama_dir):
    from rag_ft.evaluation.arms.build import curve_arms
    from rag_ft.evaluation.recipe import Recipe

    curve, _ = trained
    recipe = Recipe.model_validate(
        {
            "title": "t",
            "questions": "q",
            "documents": "d",
            "primary": {"first": "tuned", "second": "tuned"},
            "learning_curve": {"folder": str(curve.path)},
            "arm": [{"name": "tuned", "kind": "reader", "k": 2}],
        }
    )
    arms = list(curve_arms(recipe, world[0], str(tiny_llama_dir)))
    assert [records for records, _ in arms] == [5, 10, 21]
    assert [arm.settings["adapter"] for _, arm in arms] == ["5", "10", "21"] and arms[0][1].k == 2
    assert len({arm.settings["adapter fingerprint"] for _, arm in arms}) == 3
    for (_, arm), point in zip(arms, curve.points, strict=True):
        assert arm.reader.threshold == (point.score.threshold if point.score.weighed else None)


def test_an_interrupted_curve_resumes(trained, world, tiny_llama_dir, monkeypatch):
    curve, _ = trained
    index, questions = world
    sizes = []

    def counted(questions, index, output, **settings):
        sizes.append(output.name)
        return train_reader(questions, index, output, **settings)

    monkeypatch.setattr("rag_ft.training.curve.train_reader", counted)
    arguments = {"halvings": 2, "reader": str(tiny_llama_dir), **SMALL}
    assert train_curve(questions, index, curve.path, **arguments) == curve and sizes == []
    # Weights that are not what was left there are trained again; a smaller size is added to what is there.
    (curve.points[1].path / "adapter_model.safetensors").write_bytes(b"cut")
    again = train_curve(questions, index, curve.path, **{**arguments, "halvings": 3})
    assert sizes == ["3", "10"] and [point.records for point in again.points] == [3, 5, 10, 21]
    assert again.points[2].score == curve.points[1].score


def test_a_folder_with_another_curve_is_refused(trained, world, tiny_llama_dir):
    curve, _ = trained
    index, questions = world
    with pytest.raises(TrainingError, match="holds a curve of other records or settings"):
        train_curve(questions[1:], index, curve.path, halvings=2, reader=str(tiny_llama_dir), **SMALL)


def test_a_curve_made_when_the_shape_had_its_former_class_name_is_still_the_same_curve(world):
    import hashlib

    from rag_ft.questions.split import Split
    from rag_ft.training.curve import _identity
    from rag_ft.training.data.examples import ExampleConfig

    index, shape = world[0], AdapterConfig(rank=8)
    content = (
        f"{ExampleConfig().model_dump_json()}lora LoraSettings{repr(shape).removeprefix('AdapterConfig')}reader 'r'"
    )
    former = hashlib.sha256(f"{index.fingerprint}\0\0{content}".encode()).hexdigest()
    assert _identity(Split((), ()), index, ExampleConfig(), {"reader": "r", "lora": shape}) == former
