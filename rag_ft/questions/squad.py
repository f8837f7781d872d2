"""SQuAD's JSON format, 1.1 and 2.0: the records of a file, and how its articles become documents."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PARAGRAPH_GAP = "\n\n"
"""Text between the paragraphs of an article that becomes one document."""


class SquadAnswer(BaseModel):
    """An answer and where it starts in its paragraph."""

    text: str
    answer_start: Annotated[int, Field(ge=0)]


class SquadQuestion(BaseModel):
    """A question about a paragraph."""

    id: str | int
    question: str
    answers: list[SquadAnswer] = []
    plausible_answers: list[SquadAnswer] = []
    is_impossible: bool = False


class SquadParagraph(BaseModel):
    """A paragraph with its questions."""

    context: str
    qas: list[SquadQuestion] = []


class SquadArticle(BaseModel):
    """A titled article of paragraphs."""

    title: str = ""
    paragraphs: list[SquadParagraph]

    @property
    def text(self) -> str:
        """The article as one text."""
        return PARAGRAPH_GAP.join(paragraph.context for paragraph in self.paragraphs)


class SquadFile(BaseModel):
    """A whole SQuAD file."""

    model_config = ConfigDict(extra="allow")
    data: list[SquadArticle]


def parse_squad(text: str) -> list[tuple[str, SquadArticle]]:
    """The articles of a file, each with the id of its document.

    The id is the title; `article-<n>` without a title; `<title>-<n>` where the title repeats, with further `-<n>` until
    it is unique. Raises ValueError (pydantic's or json's) where the text is not in SQuAD's format.
    """
    articles: dict[str, SquadArticle] = {}
    for n, article in enumerate(SquadFile.model_validate(json.loads(text)).data, start=1):
        document_id = article.title or f"article-{n}"
        while document_id in articles:
            document_id = f"{document_id}-{n}"
        articles[document_id] = article
    return list(articles.items())
