"""Documents and question records of public sets to train an adapter on that answers with parts and yes or no, too.

    python benchmarks/training_records.py PATH/TO/data OUTPUT

Writes OUTPUT/documents.jsonl, questions.jsonl (to train on) and chosen.jsonl (a tenth of the documents of each set, to
choose by). Nothing of SQuAD's four held-out articles and of the FAQ repositories marked `dev` is among them. The
questions of those repositories are OUTPUT/faq-dev.jsonl, about the folder OUTPUT/dev/corpus, for evals/asked.toml.
"""

import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path

from rag_ft.indexing.corpus import read_corpus
from rag_ft.questions.records import write_questions
from rag_ft.questions.squad import parse_squad
from rag_ft.schema import Document, Evidence, Question
from rag_ft.text.sentences import sentence_spans

HELD_OUT = ("Imperialism", "Warsaw", "French_and_Indian_War", "Force")
CHOSEN_SQUAD = ("Scottish_Parliament", "Islamism", "Spectre_(2015_film)")
SETS = {
    "squad1": "squad1/train-4323-paragraphs.json",
    "squad2": "squad2/train-10-articles.json",
    "squad2dev": "squad2/dev.json",
    "amazon": "squadshifts/amazon_reviews.json",
    "reddit": "squadshifts/reddit.json",
    "nq": "nq_oracle/nq_oracle.json",
    "policy": "policyqa/dev.json",
    "fairytale": "fairytaleqa/train.json",
    "cooking": "doqa/cooking-test.json",
    "cooking2": "doqa/cooking-dev.json",
    "movies": "doqa/movies-test.json",
}
PART_WORDS = 12
"""An answer of so many words is a part of whole sentences and no span."""
MOST_OF_A_PARAGRAPH_SET = {"amazon": 6000, "reddit": 6000, "policy": 2000}
MOST_OF_A_REPOSITORY = 120
MOST_DOCUMENT_CHARACTERS = 40_000


def from_squad_format(folder, name, path, chooser):
    """One document for each article, or each paragraph where an article is a whole set."""
    documents, questions = [], []
    content = json.loads((folder / path).read_text(encoding="utf-8"))
    raw = {}
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                raw[str(qa["id"])] = (qa, article.get("title", ""))
    for title, article in parse_squad(json.dumps(content)):
        if title in HELD_OUT:
            continue
        if name in ("amazon", "reddit"):
            pieces = [(f"{name}/{title}/{i}", [paragraph]) for i, paragraph in enumerate(article.paragraphs)]
        else:
            pieces = [(f"{name}/{title}", article.paragraphs)]
        for document_id, paragraphs in pieces:
            text, found = "", []
            for paragraph in paragraphs:
                start = len(text) + (2 if text else 0)
                text += ("\n\n" if text else "") + paragraph.context
                found.extend((paragraph, start, qa) for qa in paragraph.qas)
            shown = "" if name in ("amazon", "reddit", "cooking", "cooking2", "movies", "policy") else article.title
            documents.append(Document(id=document_id, text=text, title=shown.replace("_", " ")))
            for paragraph, start, qa in found:
                question = record_of(name, document_id, paragraph, start, qa, *raw[str(qa.id)])
                if question is not None:
                    questions.append(question)
    most = MOST_OF_A_PARAGRAPH_SET.get(name)
    if most is not None and len(questions) > most:
        kept_documents = [document.id for document in documents]
        chooser.shuffle(kept_documents)
        by_document = {}
        for question in questions:
            by_document.setdefault(question.evidence[0].document_id, []).append(question)
        chosen, kept = [], set()
        for document_id in kept_documents:
            if len(chosen) >= most:
                break
            chosen.extend(by_document.get(document_id, []))
            kept.add(document_id)
        questions, documents = chosen, [document for document in documents if document.id in kept]
    return documents, questions


def record_of(name, document_id, paragraph, start, qa, raw, title):
    asked = qa.question.strip()
    if raw.get("turn", 0) and title and not raw.get("first_turn"):
        asked = f"{title} {asked}"
    whole = Evidence(document_id=document_id, start=start, end=start + len(paragraph.context), quote=paragraph.context)
    if qa.is_impossible or not qa.answers:
        return Question(id=f"{name}-{qa.id}", question=asked, answerable=False, evidence=(whole,))
    answer = qa.answers[0]
    end = answer.answer_start + len(answer.text)
    if paragraph.context[answer.answer_start : end] != answer.text or not answer.text.strip():
        return None
    evidence = Evidence(document_id=document_id, start=start + answer.answer_start, end=start + end, quote=answer.text)
    yes = {"yes": True, "no": False}.get(raw.get("yesno") or "")
    part = yes is not None or len(answer.text.split()) >= PART_WORDS
    texts = tuple(dict.fromkeys(accepted.text for accepted in qa.answers if accepted.text.strip()))
    return Question(
        id=f"{name}-{qa.id}",
        question=asked,
        answers=(answer.text,) if part else texts,
        evidence=(evidence,),
        kind="part" if part else "span",
        yes=yes,
        tags=(name,),
    )


def from_faq(folder, output, split, chooser):
    """Documentation with the questions' own headings taken out of three files in four, and their records."""
    documents, questions = [], []
    rows = [line.split("\t") for line in (folder / "faq/sources.tsv").read_text().splitlines()[1:]]
    for repository in (row[0] for row in rows if row[4] == split):
        home = folder / "faq" / repository.replace("/", "+")
        records = [json.loads(line) for line in (home / "questions.jsonl").read_text().splitlines()]
        chooser.shuffle(records)
        by_file = {}
        for record in records[:MOST_OF_A_REPOSITORY] if split == "train" else records:
            by_file.setdefault(record["source_file"], []).append(record)
        target = output / "corpus" / repository.replace("/", "+")
        # Development questions name documents as an index of their corpus does.
        prefix = f"faq/{repository}" if split == "train" else target.name
        for source, asked in by_file.items():
            lines = (home / "docs" / source).read_text(encoding="utf-8").split("\n")
            keep = split == "train" and chooser.random() < 0.25
            if not keep:
                for record in asked:
                    lines[record["heading_line"] - 1] = ""
            path = target / source
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines), encoding="utf-8")
        if not target.exists():
            continue
        read = {document.id: document for document in read_corpus(target)}
        for source, asked in by_file.items():
            document = read.get(source)
            if document is None:
                continue
            made = [q for record in asked if (q := faq_question(record, document, prefix))]
            if made:
                document = document.model_copy(update={"id": f"{prefix}/{document.id}", "metadata": {}})
                documents.append(document)
                questions.extend(made)
    return documents, questions


def faq_question(record, document, prefix):
    """The record of an answer that stands in the document word for word, markup apart; None where it does not."""
    words = re.findall(r"\w+", record["answer_text"].lower())
    there = [(found[0].lower(), found.start(), found.end()) for found in re.finditer(r"\w+", document.text)]
    opening = words[:8]
    starts = [
        i
        for i in range(len(there) - len(opening) + 1)
        if [word for word, _, _ in there[i : i + len(opening)]] == opening
    ]
    yes = {"yes": True, "no": False}.get(record["yesno"] or "")
    if len(starts) != 1 or len(words) < 3 or (record["kind"] == "yesno" and yes is None):
        return None
    count = min(len(words), 60 if record["kind"] in ("howto", "list") else 40)
    last = min(starts[0] + count, len(there)) - 1
    start, end = there[starts[0]][1], there[last][2]
    stop = re.search(r"[.:!?](?=\s)|\n\n|\Z", document.text[end:])
    end += stop.end() if stop[0].strip() else stop.start()
    # What stands before the first word and belongs to it: a bracket, a prompt sign, a dash of an option.
    while start and not document.text[start - 1].isspace():
        start -= 1
    quote = document.text[start:end]
    document_id = f"{prefix}/{document.id}"
    return Question(
        id=f"faq-{record['id']}",
        question=record["question"],
        answers=(quote,),
        evidence=(Evidence(document_id=document_id, start=start, end=end, quote=quote),),
        kind="part",
        yes=yes,
        tags=("faq", record["kind"]),
    )


STATEMENT = re.compile(
    r"(?P<subject>(?:The |A |An |Each |Every |All )?[A-Z]?[\w'.-]+(?: [\w'.-]+){0,4}?) "
    r"(?P<verb>is|are|was|were|can|could|will|must|should|has|have) ?(?P<negation>not |n't )?"
    r"(?P<rest>[^,;:()\n]{12,90}?)"
    r"(?=[,;.]|\s(?:because|which|but|although|while|unless|if)\b)"
)
NO_SUBJECT = re.compile(
    r"(?:It|This|That|These|Those|They|He|She|We|You|I|There|What|Which|Who|How|Why|When|Where|If|In|On|At|For|As|And|But"
    r"|Or|So|Some|Most|Many|Another|Other|Such|Both|None|One|Its|Their|His|Her|My|Your|Our)\b"
)
ARTICLES = re.compile(r"(?:The|A|An|Each|Every|All) ")
NUMBER = re.compile(r"(?<![\w.])\d{1,4}(?![\w.]*\d)")


def yes_no_questions(documents, most, chooser):
    """Questions made from plain statements: "X is not Y." gives "Is X Y?" and no; a number changed gives no, too."""
    made = {True: [], False: []}
    order = list(documents)
    chooser.shuffle(order)
    for document in order:
        here = 0
        for start, end in sentence_spans(document.text):
            statement = STATEMENT.match(document.text, start, end)
            length = len(document.text[start:end].split())
            if statement is None or NO_SUBJECT.match(statement["subject"]) or not 6 <= length <= 30:
                continue
            subject, verb, rest = statement["subject"], statement["verb"], statement["rest"].strip()
            if verb in ("has", "have") and not re.match(r"(?:not |been |\w+ed )", rest):
                continue
            if ARTICLES.match(subject):
                subject = subject[0].lower() + subject[1:]
            yes = not statement["negation"]
            if yes and (number := NUMBER.search(rest)) and chooser.random() < 0.7:
                other = str(max(1, int(number[0]) + chooser.choice([-3, -2, -1, 1, 2, 3, 5, 10])))
                rest, yes = rest[: number.start()] + other + rest[number.end() :], other == number[0]
            if here >= 2 or len(made[yes]) >= (most // 2 if not yes else most // 4):
                continue
            here += 1
            evidence = Evidence(document_id=document.id, start=start, end=end, quote=document.text[start:end])
            made[yes].append(
                Question(
                    id=f"stated-{document.id}-{start}",
                    question=f"{verb.capitalize()} {subject} {rest}?",
                    answers=(evidence.quote,),
                    evidence=(evidence,),
                    kind="part",
                    yes=yes,
                    tags=("stated",),
                )
            )
    return made[True] + made[False]


def first_of_each_id(questions):
    """The public sets repeat a few ids."""
    return list({question.id: question for question in reversed(questions)}.values())[::-1]


def write_documents(documents, path):
    """Documents as JSON lines, from which an index can be built."""
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            file.write(document.model_dump_json(exclude_defaults=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    chooser = random.Random(0)
    documents, train, chosen = [], [], []
    for name, path in SETS.items():
        new_documents, questions = from_squad_format(given.data, name, path, chooser)
        documents.extend(new_documents)
        ids = sorted({document.id for document in new_documents})
        if name in ("squad1", "squad2"):
            apart = set()
        elif name == "squad2dev":
            apart = {f"{name}/{title}" for title in CHOSEN_SQUAD}
        else:
            apart = set(chooser.sample(ids, max(1, len(ids) // 10)))
        for question in questions:
            (chosen if question.evidence[0].document_id in apart else train).append(question)
    new_documents, questions = from_faq(given.data, given.output, "train", chooser)
    documents.extend(new_documents)
    repositories = sorted({document.id.rsplit("/", 1)[0] for document in new_documents})
    names = sorted({"/".join(name.split("/")[:3]) for name in repositories})
    apart = set(chooser.sample(names, len(names) // 10))
    for question in questions:
        repository = "/".join(question.evidence[0].document_id.split("/")[:3])
        (chosen if repository in apart else train).append(question)
    reserved = {question.evidence[0].document_id for question in chosen}
    usable = [d for d in documents if d.id not in reserved and not d.id.startswith(("fairytale", "amazon", "reddit"))]
    train.extend(yes_no_questions(usable, 3000, chooser))
    given.output.mkdir(parents=True, exist_ok=True)
    write_documents(documents, given.output / "documents.jsonl")
    write_questions(first_of_each_id(train), given.output / "questions.jsonl")
    write_questions(first_of_each_id(chosen), given.output / "chosen.jsonl")
    _, dev = from_faq(given.data, given.output / "dev", "dev", chooser)
    write_questions(dev, given.output / "faq-dev.jsonl")
    for name, questions in (("train", train), ("chosen", chosen), ("faq dev", dev)):
        kinds = Counter((q.tags[0] if q.tags else "null", q.kind, q.yes) for q in questions)
        print(name, len(questions), "questions", sorted(kinds.items(), key=str))
    print(len(documents), "documents", sum(len(document.text) for document in documents), "characters")


if __name__ == "__main__":
    main()
