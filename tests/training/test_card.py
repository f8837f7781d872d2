import pytest
from huggingface_hub import ModelCard, ModelCardData

from rag_ft.training.card import card_body, model_card, render_card


@pytest.fixture
def record():
    return {
        "licence": "apache-2.0",
        "data_note": "The handbook's questions.",
        "data": {"train_questions": 1200, "train_documents": 30, "held_out_questions": 20, "held_out_documents": 5},
        "certificate": {"null_share": 0.4, "examples": 2000},
        "lora": {"rank": 16, "target_modules": ["q_proj", "v_proj"]},
        "training": {"epochs": 3.0},
        "verdict": {"outcome": "healthy", "sentence": "the held-out loss settled"},
        "history": [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 1.0}, {"step": 2, "eval_loss": 1.5}],
        "results": {
            "untuned": {"questions": 20},
            "tuned": {"questions": 20, "must_answer_f1": 0.7, "answerable_f1": 0.5, "null_recognised": None},
        },
        "threshold": {
            "value": 0.25,
            "chosen_on": {
                "questions": 20,
                "k": 3,
                "recognise": 0.65,
                "answerable_f1": 0.5,
                "null_recognised": 0.7,
                "must_answer_f1": 0.7,
            },
        },
    }


def test_the_front_matter_is_what_model_hubs_read(record):
    card = ModelCard(model_card(record, "some/base"))
    assert (card.data.base_model, card.data.library_name, card.data.license) == ("some/base", "peft", "apache-2.0")
    assert card.data.pipeline_tag == "text-generation" and "lora" in card.data.tags


def test_every_table_is_whole(record):
    lines = model_card(record, "base").splitlines()
    assert "Trained on 1,200 questions about 30 documents; 20 questions about 5 other documents were held out." in next(
        line for line in lines if line.startswith("Trained on")
    )
    for table in (
        ["| setting | value |", "|---|---|", "| rank | 16 |", "| target_modules | ['q_proj', 'v_proj'] |"],
        ["| step | training loss | held-out loss |", "|---|---|---|", "| 2 | 2.000 | 1.500 |", ""],
        [
            "| reader | questions | F1 with abstention off | F1 on answerable | abstention recall |",
            "|---|---|---|---|---|",
            "| untuned | 20 | – | – | – |",
            "| tuned | 20 | 70.0 | 50.0 | – |",
            "",
        ],
    ):
        start = lines.index(table[0])
        assert lines[start : start + len(table)] == table
    assert any("below 0.25 becomes null. The" in line and "sure to recognise 65%" in line for line in lines)


def test_thresholds_of_kinds_are_on_the_card(record):
    record["threshold"]["kinds"] = {"part": {"value": 0.3}, "yes/no": {"value": 0.6}}
    wanted = "below 0.25 becomes null: for the kind part, below 0.30, for the kind yes/no, below 0.60. The threshold"
    assert wanted in model_card(record, "base")


def test_an_average_lists_its_members_in_place_of_training_settings(record):
    member = {
        "fingerprint": "0123456789abcdef",
        "training": {"epochs": 2.0, "seed": 7},
        "kept_step": 5,
        "verdict": {"outcome": "healthy"},
    }
    card = model_card({**record, "averaged": [member], "history": [], "results": {}, "threshold": {}}, "base")
    assert "| 0123456789ab | 2.0 |  |  |  |  | 7 | 5 | healthy |\n" in card
    for absent in ("| epochs | 3.0 |", "| step | training loss", "## Results", "## Threshold"):
        assert absent not in card


def test_another_template_is_filled_the_same_way(tmp_path):
    template = tmp_path / "card.md.jinja"
    template.write_text("---\n{{ card_data }}\n---\n\n# {{ title }}\n\n{{ percent(share) }}% {{ percent(None) }}\n")
    card = render_card(template, ModelCardData(license="mit"), title="Merged", share=0.5)
    assert card == "---\nlicense: mit\n---\n\n# Merged\n\n50.0% –\n"
    assert card_body(card) == "# Merged\n\n50.0% –\n" and card_body("no front matter") == "no front matter"


def test_where_the_records_come_from_is_said_if_people_did_not_write_all(record):
    assert "records to train on" not in model_card(record, "base")
    record["certificate"]["origins"] = {"human": 1000, "feedback": 200}
    assert "The records to train on: 1,000 by people, 200 from feedback." in model_card(record, "base")
