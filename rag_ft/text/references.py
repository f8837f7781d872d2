"""Words of a question that point outside of it: "this section", "the author", "it" with nothing before it to be meant.

English only. Rules and no parser: a pronoun counts as explained where something that it may mean stands before it.
"""

from __future__ import annotations

import re

_QUOTED = re.compile(
    r"`[^`\n]+`|\"[^\"\n]+\"|“[^”\n]+”|«[^»\n]+»|(?<![\w'’])'[^'\n]+'(?!\w)|(?<![\w'’])‘[^’\n]+’(?!\w)"
    r"|(?<!\S)\S*[\w)][_/\\.=][\w(]\S*"  # an identifier, a path, a number
    r"|(?<!\S)-{1,2}\w[\w-]*"  # an option
)
_MENTIONED = "Quoted"
"""Stands for quoted words and code, which mean themselves: a name that a pronoun may mean."""

_TEXT = (
    r"(?:passages?|excerpts?|extracts?|snippets?|paragraphs?|sections?|subsections?|texts?|articles?|documents?"
    r"|chapters?|pages?|tables?|figures?|diagrams?|charts?|lists?|sentences?|examples?|contexts?|stor(?:y|ies))"
)
_ONE_TEXT = (
    r"(?:passages?|excerpt|extract|snippets?|paragraphs?|section|text|article|document|chapter|table|figure|diagram|chart"
    r"|sentence|story)"
)
_WHO_WROTE = r"(?:authors?|writers?|speakers?|narrators?)"
_SAYS = (
    r"(?:am|is|are|was|were|be|been|do|does|did|has|have|had|can|could|will|would|shall|should|may|might|must"
    r"|says?|said|shows?|shown|states?|stated|mentions?|mentioned|describes?|described|lists?|gives?|given|suggests?"
    r"|explains?|recommends?|claims?|argues?|thinks?|uses?|used|calls?|refers?|means?|contains?|includes?|provides?"
    r"|defines?|discuss(?:es|ed)?|talks?|about|and|or|as|at|by|for|from|in|on|to|with|regarding|because|if|when|while"
    r"|that|which|who|not)"
)
_NOT_A_COMPOUND = rf"(?=\W*\Z|[,;:.?!)]|['’]s?\b|\s+{_SAYS}\b)"
_NAMED = r"(?!\s+(?:of|on|about|for|called|named|titled|in)\s+(?:the\s+|an?\s+)?[\w`\"“'])"
"""What names the text after all: "the table of contents", "the author of Emma"."""
_DOCUMENT = re.compile(
    rf"\b(?:this|that|these|those)\s+(?:[\w-]+\s+)?(?:{_TEXT}|{_WHO_WROTE})\b"
    rf"|\b(?:above|below|following|given|preceding|previous|provided|present)\s+(?:[\w-]+\s+)?{_TEXT}\b"
    r"|\bthe\s+(?:above|below|following|aforementioned|foregoing)\b"
    rf"|\bthe\s+{_WHO_WROTE}\b{_NAMED}(?!\s+(?:names?|fields?|index|pages?|lists?|entry|entries|tags?|systems?)\b)"
    rf"|\bthe\s+{_ONE_TEXT}{_NAMED}{_NOT_A_COMPOUND}"
    r"|\b(?:mentioned|described|listed|shown|given|stated|discussed|named|defined|quoted|cited)\s+"
    r"(?:above|below|here|earlier|previously|before)\b"
    r"|\bthe\s+(?:[\w-]+\s+){0,3}(?:page|section|chapter|article|paragraph|passage|text|document)\s+"
    r"(?:says?|explains?|describes?|discuss(?:es)?|mentions?|covers?|states?|tells?|recommends?|talks?)\b"
    rf"|\baccording\s+to\s+the\s+(?:{_TEXT}|{_WHO_WROTE})\b{_NAMED}",
    re.IGNORECASE,
)
"""Words for the text that a question was written from, which who asks does not have before them."""

_AUXILIARY = (
    r"(?:am|is|are|was|were|do|does|did|has|have|had|can|could|will|would|shall|should|may|might|must)(?:n['’]t)?"
)
_WEATHER = r"(?:rain|snow|freez|hail|thunder|cold|hot|warm|dark|late|early|sunny|windy|dawn|night|noon|midnight)"
_FOR_NO_THING = (
    r"(?:possible|impossible|necessary|unnecessary|important|better|best|good|bad|safe|unsafe|eas(?:y|ier)|hard|harder"
    r"|difficult|worth|ok|okay|fine|true|legal|illegal|allowed|permitted|forbidden|recommended|advisable|useful|essential|unlikely|wise|enough"
    r"|common|usual|normal|mandatory|cheaper|faster|sensible|reasonable|helpful|likely\s+that|clear|known\s+that|said\s+that"
    r"|required\s+to|needed\s+to)"
)
"""What is said with an "it" that means nothing."""
_EMPTY_IT = re.compile(
    # it is possible to, is it safe for, does it make sense to, how long does it take to
    rf"\b(?:{_AUXILIARY}\s+(?:not\s+)?it|it\s+{_AUXILIARY})\s+(?:(?:not|ever|always|still|more|less|very|so|too|be|been|an?)"
    rf"\s+)*{_FOR_NO_THING}\b"
    r"|\bit\s+(?:takes?|took|costs?|requires?|makes?\s+sense|pays?|helps?)\b(?:\s+[\w-]+){0,4}?\s+to\b"
    r"|\b(?:make|makes|making|find|finds|made)\s+it\s+[\w-]+(?:\s+[\w-]+)?\s+(?:to|for|that)\b"
    r"|\b(?:does|did|will|would)\s+it\s+(?:ever\s+|really\s+)?(?:matter\b|make\s+(?:any|an?)\b)|\bhow\s+far\s+is\s+it\s+from\b"
    rf"|\b(?:{_AUXILIARY}\s+it|it\s+{_AUXILIARY}|it)\s+(?:be\s+|getting\s+)?{_WEATHER}\w*\b"
    r"|\bwhat\s+(?:time|day|date|year)\s+is\s+it\b"
    r"|\bwhat\s+is\s+it\s+called\s+(?:when|if)\b"
    r"|\bwhat\s+does\s+it\s+mean\s+(?:to|for|that|when|if)\b",
    re.IGNORECASE,
)
""" "It" that means nothing: it is raining, is it safe to."""

_THINGS = re.compile(r"\b(?:it|its|they|them|their|theirs|ones)\b(?!['’]?\w)|\bit['’]s\b", re.IGNORECASE)
_PEOPLE = re.compile(r"\b(?:he|him|his|himself|she|her|hers|herself)\b", re.IGNORECASE)

_FUNCTION = (
    r"(?:a|an|the|and|or|but|if|when|while|where|why|how|who|whom|whose|what|which|that|this|these|those|it|its|they|them"
    r"|their|he|him|his|she|her|you|your|I|we|us|our|my|me|not|no|so|as|than|then|there|here|be|been|being|much|many"
    r"|long|often|far|soon|ever|always|never|also|only|just|still|to|of|in|on|at|by|for|from|with|into|about|after"
    rf"|before|between|during|without|through|over|under|up|down|out|off|please|{_AUXILIARY})"
)
_DETERMINER = r"(?:an?|the|each|every|any|some|all|both|no|two|three|many|most|several|one|my|your|our)"
_BEFORE_A_NOUN = (
    rf"(?:{_DETERMINER}|{_AUXILIARY}|of|in|on|at|by|for|from|with|into|about|after|before|between|during|without|through"
    r"|than|like|if|when|while|because|which|whose|to)"
)
_NOUN_BEFORE = re.compile(rf"\b{_BEFORE_A_NOUN}\s+(?:{_DETERMINER}\s+)?(?!{_FUNCTION}\b)[\w'’-]{{2,}}", re.IGNORECASE)
_WHICH_DID = re.compile(rf"\bwhich\s+[\w'’-]+\s+(?={_AUXILIARY}\b)", re.IGNORECASE)
"""What is asked for is not what a pronoun after the verb means: "Which prize did it win?" """
_NAME_BEFORE = re.compile(r"(?<=\s)[A-Z][\w.’'-]*")
_PERSON_BEFORE = re.compile(
    r"\b(?:an?|the|each|every|any|one|my|your|our)\s+(?:[\w-]+\s+){0,2}[\w-]+|\b(?:who|whose|someone|somebody|anyone|people)\b",
    re.IGNORECASE,
)

_THESE = re.compile(
    r"\b(?P<word>this|these|those|such(?:\s+an?\b)?|that(?=\s+(?:case|point|time|way|moment)\b))"
    r"(?P<noun>(?:\s+[\w-]+){1,2})?",
    re.IGNORECASE,
)
_EXPLAINED_AFTER = re.compile(
    r"\s+(?:[\w-]+(?:ing|ed)\s+\w|(?:responsible|able|present)\b|who|whose|that|which|with|without|of|in|from|as|to|where|when)\b",
    re.IGNORECASE,
)
_THAT_ALONE = re.compile(
    rf"\b(?:{_AUXILIARY}|of|about|like|by|for|from|with|after|before|to|than|at|in)\s+that(?=\W*\Z|\s+(?:{_AUXILIARY}|\w+ed|"
    r"possible|allowed|safe|true|necessary|important|work|happen|mean|so|the)\b)",
    re.IGNORECASE,
)
_TRUE_THAT = re.compile(
    r"\b(?:is|was)\s+(?:it\s+)?that\s+(?:the|an?|it)\b|\b(?:of|for|with|by|about|from)\s+that\s+(?:the|an?)\b",
    re.IGNORECASE,
)
_THE_SAME = re.compile(r"\bthe\s+same(?:\s+[\w-]+)?\W*\Z", re.IGNORECASE)
"""As what? "Is it scored in the same way?" """
_COMPARED = re.compile(r"\b(?:and|or|all|both|each|every|two|always|as)\b|\w{3,}s\b", re.IGNORECASE)
_OTHER_OF_TWO = re.compile(rf"\bthe\s+(?:former|latter)(?=\W*\Z|\s+(?:called|{_SAYS})\b)", re.IGNORECASE)
_AND = re.compile(rf"\b(?!{_FUNCTION}\b)[\w-]+ and (?!{_FUNCTION}\b)[\w-]+")
_IS_FUNCTION = re.compile(_FUNCTION, re.IGNORECASE)
_DESCRIBED = re.compile(r"(?:\b(?:the|these|those|which|what)\s+)?[\w-]+\s+\Z", re.IGNORECASE)
"""What describes "ones", and does not name them: "the unanswerable ones"."""
_CHOICE = re.compile(r"\b(?:and|or)\b", re.IGNORECASE)
_THERE = re.compile(r"(?<!\bare\s)(?<!\bis\s)(?<!\bwere\s)(?<!\bwas\s)(?<!\bbe\s)\bthere\W*\Z", re.IGNORECASE)
_WORD = re.compile(r"[\w-]+")
_STEM = 5
"""Letters by which a noun named before is recognised in another number: study, studies."""


def points_to_its_text(question: str) -> str:
    """The words by which a question points to the text that it was asked of, such as "this section"; else empty."""
    match = _DOCUMENT.search(without_quotes(question))
    return match[0] if match else ""


def unexplained_word(question: str) -> str:
    """A pronoun or demonstrative of a question that stands for something which the question does not name; else empty.

    "How does a reranker decide if it helps?" names it. Quoted words and code mean themselves, and "it" may mean nothing
    ("when it rains", "is it safe to").
    """
    text = without_quotes(question)
    empty = [match.span() for match in _EMPTY_IT.finditer(text)]
    for match in _THINGS.finditer(text):
        within = any(start <= match.start() < end for start, end in empty)
        word, before = match[0].lower(), text[: match.start()]
        if word == "ones":
            before = _DESCRIBED.sub("", before)
        if not within and not _names_a_thing(before, word in ("its", "their")):
            return match[0]
    for match in _PEOPLE.finditer(text):
        before = text[: match.start()]
        if not _NAME_BEFORE.search(before) and not _PERSON_BEFORE.search(before):
            return match[0]
    return _demonstrative(text)


def without_quotes(question: str) -> str:
    """A question with one word in place of each quotation and each piece of code."""
    return _QUOTED.sub(_MENTIONED, question)


def _names_a_thing(before: str, belongs: bool) -> bool:
    """Whether a pronoun may mean something that stands before it; `belongs`: "its" may also mean what is asked for."""
    if _MENTIONED in before or _NAME_BEFORE.search(before) or _AND.search(before):
        return True
    if belongs and any(not _IS_FUNCTION.fullmatch(word) for word in _WORD.findall(before)[:-1]):
        return True
    return _NOUN_BEFORE.search(_WHICH_DID.sub("", before)) is not None


def _demonstrative(text: str) -> str:
    for match in _THESE.finditer(text):
        if match["word"].lower() == "such" and text[match.end("word") :].lower().startswith(" as "):
            continue
        if match["word"].lower() == "those" and _EXPLAINED_AFTER.match(text, match.end("word")):
            continue
        named = {word.lower()[:_STEM] for word in _WORD.findall(text[: match.start()])}
        nouns = {word.lower()[:_STEM] for word in _WORD.findall(match["noun"] or "")}
        if not named & nouns:
            return match[0].strip()
    if (that := _THAT_ALONE.search(text)) and not _TRUE_THAT.search(text):
        return that[0]
    if (other := _OTHER_OF_TWO.search(text)) and not _CHOICE.search(text, 0, other.start()):
        return other[0]
    if (same := _THE_SAME.search(text)) and not _COMPARED.search(text, 0, same.start()):
        return same[0].rstrip(" ?.!")
    there = _THERE.search(text)
    return there[0].strip(" ?.!") if there else ""
