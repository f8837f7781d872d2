"""Question records made from documentation without a model, beside its FAQ: how-to questions, and yes or no.

    python benchmarks/documentation_records.py PATH/TO/data OUTPUT [--other-files N] [--headings N]

Writes OUTPUT/documents.jsonl and OUTPUT/questions.jsonl from the FAQ repositories marked `train`.

A heading ("Installing a proxy") becomes a question ("How do I install a proxy?") whose answer is the text below it.
Four of five such headings are taken out of their documents, so that nothing is learned from a question's own words. A
plain sentence ("You do not need to restart it.") becomes a question ("Do I need to restart it?"); half of those that
would be yes become no, by a number that is changed or an opposite ("enabled" for "disabled").
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from training_records import NO_SUBJECT, NUMBER, faq_question, first_of_each_id, write_documents

from rag_ft.indexing.corpus import read_corpus
from rag_ft.questions.records import write_questions
from rag_ft.schema import Document, Evidence, Question
from rag_ft.text.opposites import SOFTWARE_OPPOSITES
from rag_ft.text.sentences import sentence_spans

MOST_FAQ_RECORDS = 120
"""Of one repository."""
MOST_OTHER_FILES = 10
"""Of one repository: files without FAQ records."""
MOST_HEADINGS = 8
"""Of one document."""
MOST_NO, MOST_YES = 5, 2
"""Of one document."""
MOST_CHARACTERS = 60_000

VERBS = dict(
    pair.split("=")
    for pair in (
        "installing=install, configuring=configure, creating=create, adding=add, using=use, running=run, "
        "building=build, setting up=set up, setting=set, enabling=enable, disabling=disable, testing=test, "
        "debugging=debug, updating=update, upgrading=upgrade, removing=remove, deleting=delete, writing=write, "
        "reading=read, defining=define, deploying=deploy, managing=manage, customizing=customize, "
        "customising=customise, handling=handle, importing=import, exporting=export, connecting=connect, "
        "changing=change, getting=get, loading=load, generating=generate, specifying=specify, accessing=access, "
        "passing=pass, working with=work with, starting=start, stopping=stop, contributing=contribute, "
        "migrating=migrate, publishing=publish, verifying=verify, validating=validate, checking=check, "
        "selecting=select, sharing=share, registering=register, extending=extend, overriding=override, mocking=mock, "
        "sending=send, storing=store, restoring=restore, resolving=resolve, fixing=fix, finding=find, listing=list, "
        "opening=open, viewing=view, editing=edit, requesting=request, submitting=submit, monitoring=monitor, "
        "uninstalling=uninstall, launching=launch, pinning=pin, filtering=filter, querying=query, searching=search, "
        "rendering=render, caching=cache, joining=join, mounting=mount, compiling=compile, linking=link, logging "
        "in=log in, signing=sign, securing=secure, rotating=rotate, waiting for=wait for, avoiding=avoid"
    ).split(", ")
)
NOUNS_TOO = set(
    "test request filter list search start link sign cache query view monitor get load find access share mock "
    "set".split()
)
"""Verbs that as a heading's first word are as often nouns."""
HOW_TO = ("How do I {}?", "How can I {}?", "How do you {}?", "how to {}", "What do I have to do to {}?")


def heading_question(heading: str, chooser: random.Random) -> tuple[str, str] | None:
    """The question that a heading answers, and its kind; None where it names a subject only."""
    heading = re.sub(r"[`*_]|\{#.*\}|<[^>]+>", "", heading).strip().rstrip(".:#").strip()
    heading = re.sub(r"^(?:\d+[.)]\s*|step \d+[:.]?\s*)", "", heading, flags=re.IGNORECASE)
    if not 2 <= len(heading.split()) <= 10 or heading.endswith("?") or "](" in heading:
        return None
    lower = heading.lower()
    if lower.startswith("how to "):
        return chooser.choice(HOW_TO).format(heading[7:]), "howto"
    if works := re.match(r"how (.+) works?$", heading, re.IGNORECASE):
        return f"How does {works[1]} work?", "how"
    if asked := re.match(r"(what|why|when) .", heading, re.IGNORECASE):
        return f"{heading[0].upper()}{heading[1:]}?", {"what": "whatis"}.get(asked[1].lower(), asked[1].lower())
    for gerund, verb in VERBS.items():
        if lower.startswith(f"{gerund} "):
            return chooser.choice(HOW_TO).format(f"{verb} {heading[len(gerund) + 1 :]}"), "howto"
    if lower.split()[0] in set(VERBS.values()) - NOUNS_TOO and len(lower.split()) > 2:
        first, rest = heading.split(None, 1)
        return chooser.choice(HOW_TO).format(f"{first.lower()} {rest}"), "howto"
    return None


class Section(NamedTuple):
    """A heading of a Markdown file and what stands below it, up to the next one."""

    line: int
    heading: str
    body: str


def sections(lines: list[str]) -> Iterator[Section]:
    """The sections of a Markdown file; marks in blocks of code are no headings."""
    headings: list[tuple[int, str]] = []
    fenced = False
    for i, line in enumerate(lines):
        if re.match(r"\s*(```|~~~)", line):
            fenced = not fenced
        if not fenced and (match := re.match(r"#{1,5}\s+(.+?)\s*#*$", line)):
            headings.append((i, match[1]))
    for (i, heading), (following, _) in itertools.pairwise([*headings, (len(lines), "")]):
        yield Section(i, heading, "\n".join(lines[i + 1 : following]))


def shown(markdown: str) -> str:
    """Markdown as far as its words go: links and images by their text, no tags."""
    markdown = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", markdown)
    markdown = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", markdown)
    return re.sub(r"<[^>]+>", "", markdown)


FIRST_PERSON = (
    (r"\byou're\b", "I'm"),
    (r"\byourself\b", "myself"),
    (r"\byour\b", "my"),
    (r"\byou are\b", "I am"),
    (r"\byou\b", "I"),
)
THIRD_PERSON = {
    f"{verb}s": verb
    for verb in (
        "support require use provide include allow need handle contain create return run work come store send follow"
        " ignore override depend read generate"
    ).split()
} | {"has": "have", "applies": "apply"}
_REST = r"(?P<rest>[^,;:()\n]{10,110}?)(?=[,;.]|\s(?:because|which|but|although|while|unless|so that|in order)\b)"
_SUBJECT = r"(?P<subject>(?:The |A |An )?[A-Z`][\w`./-]*(?: [\w`./-]+){0,3}?)"
_NOT_A_SUBJECT = re.compile(
    NO_SUBJECT.pattern
    + r"|(?:Note|Since|While|All|Because|Although|Also|However|Finally|Then|After|Before|During|Instead|Either"
    r"|Neither)\b"
)
Asked = tuple[tuple[str, ...], bool | None]
"""Forms of the question, one of which is chosen, and what the sentence says to it; None where it depends."""


def _plain(match: re.Match[str]) -> Asked:
    verb = match["verb"]
    return (f"{verb.capitalize()} {{subject}} {{rest}}?",), not match["negation"]


def _possible(match: re.Match[str]) -> Asked:
    asked = "Is it possible to {rest}?" if match["how"] == "possible" else "Should I {rest}?"
    return (asked,), not match["negation"]


RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Asked]], ...] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (
            r"You (?:can|may) (?P<negation>not |only )?" + _REST,
            lambda match: (("Can I {rest}?",), None if match["negation"] == "only " else not match["negation"]),
        ),
        (r"You (?:cannot|can't|may not) " + _REST, lambda match: (("Can I {rest}?",), False)),
        (
            r"(?:You|Users|Developers) (?:must|should) (?P<negation>not |never )" + _REST,
            lambda match: (("Should I {rest}?",), False),
        ),
        (
            r"(?:You|Users|Developers) (?:must|should) " + _REST,
            lambda match: (("Should I {rest}?", "Do I have to {rest}?"), True),
        ),
        (r"You (?:need|have) to " + _REST, lambda match: (("Do I need to {rest}?",), True)),
        (r"You (?:don't|do not) (?:need|have) to " + _REST, lambda match: (("Do I need to {rest}?",), False)),
        (
            r"(?:Do not|Don't|Never|do not|don't) " + _REST,
            lambda match: (
                ("Should I {rest}?", "Can I {rest}?", "Is it OK to {rest}?", "Is it a good idea to {rest}?"),
                False,
            ),
        ),
        (
            r"(?:Always|Please|Make sure to|Be sure to|Remember to) " + _REST,
            lambda match: (("Should I {rest}?", "Do I have to {rest}?"), True),
        ),
        (
            r"It(?:'s| is) (?P<negation>not |im)?(?P<how>recommended|advised|possible|necessary|safe) to " + _REST,
            _possible,
        ),
        (
            _SUBJECT + r" (?:does not|doesn't) (?P<verb>[a-z]+) " + _REST,
            lambda match: (("Does {subject} {verb} {rest}?",), False),
        ),
        (
            _SUBJECT + r" (?:do not|don't) (?P<verb>[a-z]+) " + _REST,
            lambda match: (("Do {subject} {verb} {rest}?",), False),
        ),
        (
            _SUBJECT
            + rf" (?:also |automatically |always |currently |only )?(?P<verb>{'|'.join(THIRD_PERSON)}) "
            + _REST,
            lambda match: (("Does {subject} {verb} {rest}?",), True),
        ),
        (
            _SUBJECT + r" (?P<verb>is|are|was|were|can|will|should|must) (?P<negation>not |never )?" + _REST,
            _plain,
        ),
    )
)


class Stated(NamedTuple):
    """A question of yes or no, and where the sentence stands that says it."""

    question: str
    yes: bool
    start: int
    end: int


def stated_questions(document: Document, chooser: random.Random) -> Iterator[Stated]:
    """The questions that plain sentences of a document answer with yes or no."""
    for start, end in sentence_spans(document.text):
        if "|" in document.text[start:end] or not 5 <= len(document.text[start:end].split()) <= 40:
            continue
        for pattern, rule in RULES:
            if (match := pattern.match(document.text, start, end)) is None:
                continue
            asked = _asked(match, rule, chooser)
            if asked is not None:
                yield Stated(*asked, start, end)
            break


def _asked(
    match: re.Match[str], rule: Callable[[re.Match[str]], Asked], chooser: random.Random
) -> tuple[str, bool] | None:
    groups = match.groupdict()
    subject = groups.get("subject") or ""
    forms, yes = rule(match)
    if yes is None or _NOT_A_SUBJECT.match(subject):
        return None
    rest = match["rest"].strip()
    for second, first in FIRST_PERSON:
        rest = re.sub(second, first, rest, flags=re.IGNORECASE)
    if re.match(r"(?:The|A|An) ", subject):
        subject = subject[0].lower() + subject[1:]
    verb = groups.get("verb") or ""
    question = chooser.choice(forms).format(subject=subject, verb=THIRD_PERSON.get(verb, verb), rest=rest)
    question = re.sub(r"\s+", " ", question).replace("`", "")
    if not 5 <= len(question.split()) <= 22:
        return None
    return _opposite(question, rest, chooser) if yes and chooser.random() < 0.55 else (question, yes)


def _opposite(question: str, rest: str, chooser: random.Random) -> tuple[str, bool]:
    """The question with an opposite or another number in it, to which the sentence says no; unchanged without any."""
    words = [word for word in rest.split() if word.lower() in SOFTWARE_OPPOSITES and f" {word}" in question]
    if words:
        word = chooser.choice(words)
        return question.replace(f" {word}", f" {SOFTWARE_OPPOSITES[word.lower()]}", 1), False
    if number := NUMBER.search(question):
        other = max(1, int(number[0]) + chooser.choice([-2, -1, 1, 2, 3, 5]))
        return question[: number.start()] + str(other) + question[number.end() :], other == int(number[0])
    return question, True


def from_repository(
    home: Path,
    repository: str,
    target: Path,
    chooser: random.Random,
    other_files: int = MOST_OTHER_FILES,
    headings: int = MOST_HEADINGS,
) -> Iterator[tuple[Document, list[Question]]]:
    """The documents of a repository, as they are trained on, with the questions about each; writes them to `target`.

    At most `other_files` without FAQ records, and `headings` questions made of the headings of one document.
    """
    records = [json.loads(line) for line in (home / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    chooser.shuffle(records)
    by_file: dict[str, list[dict[str, object]]] = {}
    for record in records[:MOST_FAQ_RECORDS]:
        by_file.setdefault(record["source_file"], []).append(record)
    docs = home / "docs"
    others = [
        path.relative_to(docs).as_posix()
        for path in sorted(docs.rglob("*"))
        if path.suffix in (".md", ".mdx", ".rst", ".txt") and 1_500 < path.stat().st_size < 50_000
    ]
    others = [name for name in others if name not in by_file]
    chooser.shuffle(others)
    asked: dict[str, list[tuple[Section, tuple[str, str]]]] = {}
    for name in [*by_file, *others[:other_files]]:
        try:
            lines = (docs / name).read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError:
            continue
        if chooser.random() < 0.8:
            for record in by_file.get(name, []):
                lines[record["heading_line"] - 1] = ""
        asked[name] = []
        if name.endswith((".md", ".mdx")):
            for section in sections(lines):
                question = heading_question(section.heading, chooser)
                body = section.body.strip()
                if question and len(shown(body).split()) >= 15 and not re.match(r"\||<|!\[|```", body):
                    asked[name].append((section, question))
            if chooser.random() < 0.8:
                for section, _ in asked[name]:
                    lines[section.line] = ""
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines), encoding="utf-8")
    if not target.exists():
        return
    prefix = f"faq/{repository}"
    for document in read_corpus(target):
        if len(document.text) > MOST_CHARACTERS:
            continue
        questions = [
            question for record in by_file.get(document.id, []) if (question := faq_question(record, document, prefix))
        ]
        for section, (text, kind) in asked.get(document.id, [])[:headings]:
            record = {
                "answer_text": shown(section.body),
                "yesno": None,
                "kind": kind,
                "id": f"h-{repository}-{document.id}-{section.line}",
                "question": text,
            }
            if question := faq_question(record, document, prefix):
                questions.append(question.model_copy(update={"tags": ("heading", kind)}))
        questions += [_yes_no_record(stated, document, prefix) for stated in _chosen(document, chooser)]
        if questions:
            yield document.model_copy(update={"id": f"{prefix}/{document.id}", "metadata": {}}), questions


def _chosen(document: Document, chooser: random.Random) -> list[Stated]:
    stated = list(stated_questions(document, chooser))
    chooser.shuffle(stated)
    return [*[s for s in stated if not s.yes][:MOST_NO], *[s for s in stated if s.yes][:MOST_YES]]


def _yes_no_record(stated: Stated, document: Document, prefix: str) -> Question:
    quote = document.text[stated.start : stated.end]
    evidence = Evidence(document_id=f"{prefix}/{document.id}", start=stated.start, end=stated.end, quote=quote)
    return Question(
        id=f"yn-{prefix}-{document.id}-{stated.start}",
        question=stated.question,
        answers=(quote,),
        evidence=(evidence,),
        kind="part",
        yes=stated.yes,
        tags=("stated",),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--other-files", type=int, default=MOST_OTHER_FILES)
    parser.add_argument("--headings", type=int, default=MOST_HEADINGS)
    given = parser.parse_args()
    chooser = random.Random(5)
    rows = [line.split("\t") for line in (given.data / "faq/sources.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    documents: list[Document] = []
    questions: list[Question] = []
    for repository in (row[0] for row in rows if row[4] == "train"):
        name = repository.replace("/", "+")
        for document, about in from_repository(
            given.data / "faq" / name,
            repository,
            given.output / "corpus" / name,
            chooser,
            given.other_files,
            given.headings,
        ):
            documents.append(document)
            questions += about
    write_documents(documents, given.output / "documents.jsonl")
    write_questions(first_of_each_id(questions), given.output / "questions.jsonl")
    counts = Counter((question.tags[0], question.yes) for question in questions)
    print(len(questions), "questions", sorted(counts.items(), key=str), "about", len(documents), "documents")


if __name__ == "__main__":
    main()
