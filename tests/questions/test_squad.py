import json

from rag_ft.questions.squad import parse_squad


def test_articles_of_one_title_keep_their_questions(tmp_path):
    articles = [{"title": title, "paragraphs": [{"context": "Rank 16 is usual."}]} for title in ("A-3", "A", "A")]
    text = json.dumps({"data": articles})
    assert [name for name, _ in parse_squad(text)] == ["A-3", "A", "A-3-3"]
