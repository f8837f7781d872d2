"""Question + passages → token ids. The only place where a prompt is built: for training, asking and judging.

A prompt is three runs of token ids, tokenised separately: `head` (system text and worked examples, the same for
every question), `context` (the passages) and `question` (the question and the generation prompt). So prompts that
share a context share a prefix, token for token. Text from users and documents is tokenised as plain text: a chat
marker inside it becomes ordinary characters.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from rag_ft.answering import completion
from rag_ft.errors import PromptTooLongError, UsageError
from rag_ft.schema import Passage

PROMPT_VERSION = 1
"""Raised when the layout below changes; part of the fingerprint."""

SYSTEM = (
    "Answer the question from the numbered passages only. Reply with one line of JSON."
    ' If a passage holds the answer: {"answer": "words copied from the passage", "citations": [its number]}.'
    ' If none does: {"answer": null, "citations": []}.'
)

CLOSED_BOOK_SYSTEM = (
    "Answer the question from what you know, in a few words. Reply with one line of JSON."
    ' If you know the answer: {"answer": "the answer", "citations": [1]}.'
    ' If you do not: {"answer": null, "citations": []}.'
)
"""For a reader without passages, to learn what it knows by heart. The JSON is the same, so that decoding and stopping
are the same; its citation means nothing."""

CLOSED_BOOK_SHOTS: tuple[tuple[str, str, str], ...] = (
    ("", "In which country is Mount Kenya?", completion.render("Kenya", (1,))),
    ("", "What did the second driver of the 1931 mail coach to Molde have for breakfast?", completion.render(None)),
)

SHOTS: tuple[tuple[str, str, str], ...] = (
    (
        "[1] (Mount Kenya) Mount Kenya is the highest mountain in Kenya. Its peak Batian is 5,199 metres high.\n",
        "How high is Batian?",
        completion.render("5,199 metres", (1,)),
    ),
    (
        "[1] (Basalt) Basalt is a dark volcanic rock. It forms when lava cools quickly at the surface.\n",
        "Who first described basalt?",
        completion.render(None),
    ),
)
"""Worked examples for an untuned reader: context, question, completion."""

_PLACEHOLDER = "\ue000rag_ft\ue001"
"""Stands for context and question while the chat template is rendered: private-use characters, in no template."""


class TokenBudget(NamedTuple):
    """Room for one prompt and its completion, in tokens."""

    window: int
    """Most tokens of prompt and completion together."""
    completion: int
    """Tokens reserved for the completion before anything else is added."""


@dataclass(frozen=True)
class Prompt:
    """Token ids of one prompt, and the passages in it."""

    head: tuple[int, ...]
    context: tuple[int, ...]
    question: tuple[int, ...]
    passages: tuple[Passage, ...]
    """Passages in the prompt, in the order of their numbers (the first is number 1)."""
    left_out: tuple[Passage, ...]
    """Passages that did not fit."""

    @property
    def ids(self) -> tuple[int, ...]:
        """All token ids in order."""
        return self.head + self.context + self.question

    def __len__(self) -> int:
        return len(self.head) + len(self.context) + len(self.question)


class PromptBuilder:
    """Builds prompts and completions for one tokenizer.

    `shots`: whether two worked examples precede the question; a tuned reader does without them. `closed_book`: ask for
    what the model knows instead of what the passages say.
    """

    def __init__(self, tokenizer: Any, *, shots: bool = True, closed_book: bool = False) -> None:
        self.tokenizer = tokenizer
        self.shots = shots
        self._system = CLOSED_BOOK_SYSTEM if closed_book else SYSTEM
        self._examples = (CLOSED_BOOK_SHOTS if closed_book else SHOTS) if shots else ()
        self._plain = _plain_tokenizer(tokenizer)
        self._special = {str(token): int(i) for i, token in tokenizer.added_tokens_decoder.items()}
        before, after, self.end_of_turn_id = self._render_template()
        self._template = (before, after)
        self.head: tuple[int, ...] = self._encode_template(before)
        self._tail = self._encode_template(after)
        self.question_opening: tuple[int, ...] = self._encode_text("\nQuestion:")
        """What stands before a question: after it, a question generator writes one."""
        self.question_end: int = self._tail[0]
        """The token after a question."""
        self._encode_block = lru_cache(maxsize=4096)(self._encode_text)
        head, null, opening = (self._encode_text(part) for part in (completion.HEAD, completion.NULL, completion.OPEN))
        shared = next((i for i, (a, b) in enumerate(zip(null, opening, strict=False)) if a != b), 0)
        # Where a tokenizer splits off the blank before both, null and an answer diverge one token later.
        self.completion_head: tuple[int, ...] = head + null[:shared]
        self.completion_null: tuple[int, ...] = null[shared:]
        self.completion_open: tuple[int, ...] = opening[shared:]
        part = self._encode_text(completion.OPEN_PART)
        self.part_open: tuple[int, ...] = part[shared:] if part[:shared] == null[:shared] else ()
        """Token ids that open a part, where a span has its opening quote; empty where the tokenizer joins the blank
        before it to another character, so that a part would begin before null and a span part ways."""
        self.fingerprint: str = self._fingerprint()

    def build(self, question: str, passages: Sequence[Passage], budget: TokenBudget) -> Prompt:
        """The prompt for a question and passages in rank order.

        Room for the completion is reserved first, then for the question, then for whole passages in rank order. A
        passage that does not fit is left out whole (`Prompt.left_out`), and the next one is tried. Nothing is cut.
        Raises UsageError for an empty question, PromptTooLongError where the question or every passage is too long.
        """
        question = checked_question(question)
        question_ids = (*self._encode_text("\nQuestion: " + question), *self._tail)
        room = budget.window - budget.completion - len(self.head) - len(question_ids)
        if room < 0:
            most = budget.window - budget.completion - len(self.head) - len(self._tail)
            raise PromptTooLongError(
                f"the question has {len(question_ids) - len(self._tail):,} tokens and the prompt has room for"
                f" {max(most, 0):,}: shorten it, or raise max_prompt_tokens"
            )
        context: list[int] = []
        kept: list[Passage] = []
        left_out: list[Passage] = []
        for passage in passages:
            block = self._encode_block(passage_block(len(kept) + 1, passage))
            if len(context) + len(block) <= room:
                context.extend(block)
                kept.append(passage)
            else:
                left_out.append(passage)
        if passages and not kept:
            shortest = min(len(self._encode_block(passage_block(1, passage))) for passage in passages)
            raise PromptTooLongError(
                f"none of {len(passages)} passages fits the prompt: the shortest has {shortest:,} tokens and {room:,}"
                " are left after the question: raise max_prompt_tokens, or build the index with smaller passages"
            )
        return Prompt(self.head, tuple(context), question_ids, tuple(kept), tuple(left_out))

    def completion_ids(self, answer: str | None, numbers: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Token ids of a completion, the end-of-turn token last: what training teaches and decoding scores."""
        if answer is None:
            return (*self.completion_head, *self.completion_null, self.end_of_turn_id)
        body = self._encode_text(completion.escape(answer))
        closing = self.close_ids(numbers)
        return (*self.completion_head, *self.completion_open, *body, *closing, self.end_of_turn_id)

    def part_ids(self, leads: tuple[str, ...], numbers: tuple[int, ...], yes: bool | None = None) -> tuple[int, ...]:
        """Token ids of a completion that names a part of a passage, the end-of-turn token last."""
        if not self.part_open:
            raise UsageError("the model's tokenizer has no way to open a part of a passage: give records of spans only")
        first, *last = self.body_ids(leads)
        named = (*first, *(token for body in last for token in (*self.through, *body)))
        closing = self._encode_block(completion.close_part(numbers, yes))
        return (*self.completion_head, *self.part_open, *named, *closing, self.end_of_turn_id)

    @property
    def through(self) -> tuple[int, ...]:
        """Token ids between the words that name a part's first unit and those that name its last."""
        return self._encode_block(completion.THROUGH)

    def part_ending(self, yes: bool | None) -> tuple[tuple[int, ...], int]:
        """Token ids that close a part as far as every ending has them, and the first that tells this ending from the
        others; what follows that one is certain.
        """
        endings = {
            polarity: self._encode_block(completion.close_part((1,), polarity)) for polarity in (None, True, False)
        }
        ending = endings.pop(yes)
        shared = max(_shared_length(ending, other) for other in endings.values())
        return ending[:shared], ending[shared]

    def body_ids(self, answers: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each answer's text inside the JSON string."""
        return self._encode_many([completion.escape(answer) for answer in answers])

    def close_ids(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """Token ids from the answer's closing quote to the closing brace."""
        return self._encode_block(completion.close(numbers))

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return self._encode_many([text])[0]

    def _encode_many(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Plain-text token ids: no special token is ever among them."""
        encoded = [
            tuple(encoding.ids) for encoding in self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        ]
        special = set(self._special.values())
        return [
            ids if special.isdisjoint(ids) else self._encode_apart(text)
            for ids, text in zip(encoded, texts, strict=True)
        ]

    def _encode_apart(self, text: str) -> tuple[int, ...]:
        """Plain-text token ids where the vocabulary also holds a special token as a plain piece.

        The text is cut inside each such string.
        """
        names = [name for name in self._special if len(name) > 1 and name in text]
        cut = min((text.index(name) + 1 for name in names), default=0)
        if not cut:
            # A special id without its literal text, e.g. an unknown-token id: the model has no plain way to see it.
            return tuple(self._plain.encode(text, add_special_tokens=False).ids)
        return (*self._encode_text(text[:cut]), *self._encode_text(text[cut:]))

    def _encode_template(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def _render_template(self) -> tuple[str, str, int]:
        """Text before and after context and question, and the token that ends a turn."""
        if not getattr(self.tokenizer, "chat_template", None):
            turns = "".join(
                f"{context}\nQuestion: {question}\nAnswer: {reply}\n\n" for context, question, reply in self._examples
            )
            return f"{self._system}\n\n{turns}", "\nAnswer: ", _eos_id(self.tokenizer)
        turns_: list[dict[str, str]] = []
        for context, question, reply in self._examples:
            turns_.append({"role": "user", "content": user_turn(context, question)})
            turns_.append({"role": "assistant", "content": reply})
        last = {"role": "user", "content": _PLACEHOLDER}
        messages = [{"role": "system", "content": self._system}, *turns_, last]
        rendered = self._apply(messages)
        if rendered is None or self._system not in rendered:
            # No system role in this template (Gemma raises): the text goes before the first user turn.
            first, *others = [*turns_, last]
            messages = [{"role": "user", "content": f"{self._system}\n\n{first['content']}"}, *others]
            rendered = self._apply(messages)
        if rendered is None or rendered.count(_PLACEHOLDER) != 1:
            raise UsageError(
                "the model's chat template does not render a user turn with its content: use a model with an ordinary"
                " chat template"
            )
        before, after = rendered.split(_PLACEHOLDER)
        replied = self._apply([*messages, {"role": "assistant", "content": _PLACEHOLDER}], reply=True)
        return before, after, self._end_of_turn(replied)

    def _apply(self, messages: list[dict[str, str]], reply: bool = False) -> str | None:
        from jinja2 import TemplateError

        try:
            # A template that writes today's date would change the prompt, and its fingerprint, every night.
            return str(
                self.tokenizer.apply_chat_template(
                    messages,
                    tokenize=False,
                    add_generation_prompt=not reply,
                    enable_thinking=False,
                    date_string="01 Jan 2026",
                )
            )
        except TemplateError:
            return None

    def _end_of_turn(self, replied: str | None) -> int:
        """The first special token after an assistant's text: often, but not always, the eos token."""
        if replied is not None and _PLACEHOLDER in replied:
            for token in self._encode_template(replied.rsplit(_PLACEHOLDER, 1)[1]):
                if token in self.tokenizer.all_special_ids:
                    return int(token)
        return _eos_id(self.tokenizer)

    def _fingerprint(self) -> str:
        """SHA-256 of everything besides question and passages that decides the token ids of a prompt."""
        content = {
            "version": PROMPT_VERSION,
            "template": self._template,
            "passage": passage_block(1, Passage(id="i", document_id="d", text="t", start=0, end=1, title="T")),
            "completion": [completion.HEAD, completion.OPEN, completion.NULL, completion.close((1, 2))],
            "ids": [self.head, self._tail, self.completion_head, self.completion_null, self.completion_open],
            "end_of_turn": self.end_of_turn_id,
            "special": sorted(self._special.items()),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def reader_budget(prompts: PromptBuilder, window: int, max_prompt_tokens: int, max_answer_tokens: int) -> TokenBudget:
    """The budget of training, asking and judging: room for the longest completion, within the model's window."""
    answered = len(prompts.completion_open) + max_answer_tokens + len(prompts.close_ids((1, 2, 3)))
    room = len(prompts.completion_head) + max(len(prompts.completion_null), answered) + 1
    return TokenBudget(min(window, max_prompt_tokens + room), room)


def passage_block(number: int, passage: Passage) -> str:
    """A passage as it stands in the prompt: its number, its document's title, its text."""
    title = f"({passage.title}) " if passage.title else ""
    return f"[{number}] {title}{passage.text.strip()}\n"


def user_turn(context: str, question: str) -> str:
    """What a user says in the prompt: the passages, then the question."""
    return f"{context}\nQuestion: {question}"


def checked_question(question: str) -> str:
    """A question as it stands in the prompt. Raises UsageError where it is empty."""
    question = question.strip()
    if not question:
        raise UsageError("the question is empty: ask something")
    return question


def chat_messages(question: str, passages: Sequence[Passage], *, shots: bool = False) -> list[tuple[str, str]]:
    """The prompt as roles and texts, for a model whose server tokenises: the same words as `PromptBuilder` gives.

    No passage is left out, since the server's room is not known. Raises UsageError for an empty question.
    """
    blocks = [passage_block(number, passage) for number, passage in enumerate(passages, start=1)]
    examples = SHOTS if shots else ()
    turns = [(user_turn(context, asked), reply) for context, asked, reply in examples]
    return [
        ("system", SYSTEM),
        *(message for asked, reply in turns for message in (("user", asked), ("assistant", reply))),
        ("user", user_turn("".join(blocks), checked_question(question))),
    ]


def chat_fingerprint(shots: bool) -> str:
    """SHA-256 of everything besides question and passages that decides the prompt of `chat_messages`."""
    example = Passage(id="i", document_id="d", text="t", start=0, end=1, title="T")
    content = [PROMPT_VERSION, chat_messages("q", [example], shots=shots)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


_BLOCK = re.compile(r"\[(?P<number>\d+)\] (?:\((?P<title>[^\n]+?)\) )?(?P<text>.*)\n", re.DOTALL)


def read_user_turn(text: str) -> tuple[str, list[Passage]] | None:
    """Question and passages of a `user_turn`, each passage a document of its own; None for any other text."""
    context, mark, question = text.rpartition("\nQuestion: ")
    if not mark or not question.strip():
        return None
    passages: list[Passage] = []
    while context:
        number = len(passages) + 1
        end = context.find(f"\n[{number + 1}] ") + 1 or len(context)
        match = _BLOCK.fullmatch(context[:end])
        if match is None or match["number"] != str(number) or not match["text"].strip():
            return None
        body, title = match["text"], match["title"] or ""
        name = f"passage-{number}"
        passages.append(Passage(id=name, document_id=name, text=body, start=0, end=len(body), title=title))
        context = context[end:]
    return question.strip(), passages


def _shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of leading tokens that two runs have in common."""
    return next(
        (i for i, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]),
        min(len(first), len(second)),
    )


def _plain_tokenizer(tokenizer: Any) -> Any:
    """The tokenizer without its added tokens, so that none of them can be found in a text."""
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UsageError("the model's tokenizer is not a fast tokenizer: use a model that has a tokenizer.json")
    # It shares the vocabulary: writing 50,000 tokens and their merges out and reading them again takes half a second.
    plain = Tokenizer(backend.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if getattr(backend, part) is not None:
            setattr(plain, part, getattr(backend, part))
    return plain


def _eos_id(tokenizer: Any) -> int:
    if tokenizer.eos_token_id is None:
        raise UsageError("the model's tokenizer has no eos token, so that no completion could end: use another model")
    return int(tokenizer.eos_token_id)
