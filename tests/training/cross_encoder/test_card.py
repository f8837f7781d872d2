from rag_ft.training.cross_encoder.card import cross_encoder_card

SCORE = {
    "questions": 20,
    "hit_at_1": 0.5,
    "hit_at_3": 0.75,
    "covered": 0.4,
    "quote_f1": 0.35,
    "words": 8,
    "words_f1": 0.6,
}
RECORD = {
    "licence": "mit",
    "data_note": "Our handbook.",
    "data": {"train_questions": 1200, "train_documents": 30, "held_out_questions": 20, "held_out_documents": 4},
    "started_from": {"name": "packaged", "fingerprint": "0123456789abcdef", "licence": "cc-by-sa-4.0"},
    "training": {"epochs": 3.0, "seed": 0},
    "history": [
        {"step": 0, "worth": 0.4, "eval_loss": 5.0, "hit_at_1": 0.45, "answer_f1": 0.35},
        {"step": 1, "loss": 4.0},
        {"step": 60, "worth": 0.5, "eval_loss": 4.0, "hit_at_1": 0.5, "answer_f1": 0.35},
    ],
    "kept_step": 60,
    "results": {"start": SCORE, "tuned": SCORE},
    "calibration_note": "20 held-out questions",
}


def test_the_card_says_what_it_was_made_from_and_what_it_reaches():
    card = cross_encoder_card(RECORD, "all-MiniLM-L6-v2")
    assert card.startswith("---\nbase_model: all-MiniLM-L6-v2\nlicense: mit\n")
    for part in (
        "Our handbook.",
        "Trained on 1,200 questions about 30 documents",
        "started from the cross-encoder packaged (0123456789ab, licence cc-by-sa-4.0)",
        "| epochs | 3.0 |",
        "| tuned | 20 | 50.0 | 75.0 | 40.0 | 35.0 | 60.0 (8) |",
        "| 60 | 4.000 | 50.0 | 35.0 |",
        "Confidence: 20 held-out questions.",
    ):
        assert part in card, part
    assert "No step was better" not in card and "\n\n\n" not in card


def test_the_card_says_that_the_start_was_kept():
    assert "No step was better" in cross_encoder_card({**RECORD, "kept_step": 0}, "b")
    fresh = cross_encoder_card({**RECORD, "started_from": None, "results": {"tuned": SCORE}}, "b")
    assert "It started from" not in fresh and "| start |" not in fresh


def test_the_card_has_no_figure_of_words_where_none_were_measured():
    without = {**SCORE, "words": 0, "words_f1": 0.0}
    assert "| 35.0 | – |" in cross_encoder_card({**RECORD, "results": {"tuned": without}}, "b")
