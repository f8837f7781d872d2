"""SQuAD's JSON format, 1.1 and 2.0: the file's records, and how its articles become documents."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PARAGRAPH_GAP = "\n\n"
"""Between the paragraphs of an article when it becomes one document."""


class SquadAnswer(BaseModel):
    """An answer and where it stands in its paragraph."""

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
    """An article."""

    title: str = ""
    paragraphs: list[SquadParagraph]

    @property
    def text(self) -> str:
        """The article as one text."""
        return PARAGRAPH_GAP.join(paragraph.context for paragraph in self.paragraphs)


class SquadFile(BaseModel):
    """A whole file."""

    model_config = ConfigDict(extra="allow")
    data: list[SquadArticle]


def parse_squad(text: str) -> list[tuple[str, SquadArticle]]:
    """The articles of a file with the ids of their documents: the title; `article-<n>` where it is missing;
    `<title>-<n>` where it repeats, longer where another article is called that. Raises ValueError (pydantic's or
    json's) where it is not the format.
    """
    named: dict[str, SquadArticle] = {}
    for number, article in enumerate(SquadFile.model_validate(json.loads(text)).data, start=1):
        name = article.title or f"article-{number}"
        while name in named:
            name = f"{name}-{number}"
        named[name] = article
    return list(named.items())
