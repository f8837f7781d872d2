"""Documents and question records for tests: little worlds with facts that a tiny model can learn."""

from pathlib import Path

from rag_ft.questions.records import write_questions
from rag_ft.schema import Document, Evidence, Question

CITIES = ("Oslo", "Lima", "Cairo", "Quito", "Hanoi", "Dakar", "Turin", "Perth")


def little_world(count: int = 8) -> tuple[list[Document], list[Question]]:
    """One document for each city with three facts, two answerable questions and one without an answer."""
    documents, questions = [], []
    for number, city in enumerate(CITIES[:count]):
        height, year = str(100 + 7 * number), str(1900 + 3 * number)
        text = f"The tower of {city} is {height} metres high. It was built in {year} by a guild of masons."
        documents.append(Document(id=f"{city}.txt", text=text, title=city))

        def evidence(quote: str, text: str = text, city: str = city) -> tuple[Evidence, ...]:
            start = text.index(quote)
            return (Evidence(document_id=f"{city}.txt", start=start, end=start + len(quote), quote=quote),)

        questions += [
            Question(
                id=f"{city}-1",
                question=f"How high is the tower of {city}?",
                answers=(f"{height} metres",),
                evidence=evidence(f"{height} metres"),
            ),
            Question(
                id=f"{city}-2",
                question=f"When was the tower of {city} built?",
                answers=(year,),
                evidence=evidence(year),
            ),
            Question(
                id=f"{city}-3",
                question=f"Who sold the tower of {city}?",
                answerable=False,
                evidence=evidence("a guild of masons"),
            ),
        ]
    return documents, questions


def write_little_world(folder: Path) -> Path:
    """The same as files: a folder `docs` of texts and `qa.jsonl`; the folder they are in."""
    documents, questions = little_world()
    (folder / "docs").mkdir()
    for one in documents:
        (folder / "docs" / one.id).write_text(one.text)
    write_questions(questions, folder / "qa.jsonl")
    return folder


def bigger_world(count: int = 10) -> tuple[list[Document], list[Question]]:
    """One document for each of some towers with six facts, six answerable questions and two without an answer."""
    documents, questions = [], []
    for number in range(count):
        name = f"Tower{number:02}"
        facts = {
            f"How high is {name}?": f"{100 + 7 * number} metres",
            f"When was {name} built?": str(1800 + 3 * number),
            f"Who planned {name}?": f"the guild of street {number}",
            f"What did {name} cost?": f"{number + 2} thousand crowns",
            f"How many steps has {name}?": f"{300 + number} steps",
            f"Where does {name} stand?": f"on hill {number}",
        }
        high, year, guild, cost, steps, hill = facts.values()
        text = (
            f"{name} is {high} high. It was built in {year} by {guild}.\n\n{name} did cost {cost}. It has {steps}.\n\n"
            f"{name} stands {hill}."
        )
        documents.append(Document(id=f"{name}.txt", text=text, title=name))

        def evidence(quote: str, text: str = text, name: str = name) -> tuple[Evidence, ...]:
            start = text.index(quote)
            return (Evidence(document_id=f"{name}.txt", start=start, end=start + len(quote), quote=quote),)

        questions += [
            Question(id=f"{name}-{i}", question=question, answers=(answer,), evidence=evidence(answer))
            for i, (question, answer) in enumerate(facts.items())
        ]
        questions += [
            Question(id=f"{name}-{verb}", question=f"Who {verb} {name}?", answerable=False, evidence=evidence(guild))
            for verb in ("sold", "painted")
        ]
    return documents, questions
