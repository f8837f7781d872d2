"""Has the reader learned to read, or learned the answers by heart? A verdict in words, and what to try first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from rag_ft.text.answer_swap import swap_answer
from rag_ft.training.data.examples import Example

if TYPE_CHECKING:
    from rag_ft.answering.reader import Reader

FIXES = (
    "fewer epochs (1 to 5)",
    "more dropout: .05, then .10, then .15",
    "a lower rank: half of it, with alpha at twice the rank",
    "more questions, or more varied ones: other documents, other wordings, questions without an answer",
    "a lower learning rate: a half, then a quarter",
)
"""In the order in which they are worth trying."""

_TURN = 0.05
"""The held-out loss has turned where it ends this share above its lowest."""

_FALL = 0.05
"""A held-out loss that fell by more than this share in the last third of a run is still falling."""

_GAP = 0.5
"""A training loss this share below the held-out loss at the end is a gap worth naming."""


class Memorisation(BaseModel):
    """What the reader does where memory and passage disagree, on training questions. Shares of `questions`."""

    model_config = ConfigDict(frozen=True)

    questions: int
    recited: float
    """Gives the trained answer with no passage in the prompt."""
    followed: float
    """Says the answer that was swapped into the gold passage."""
    remembered: float
    """Says the trained answer although the passage no longer holds it."""
    swapped: int
    """Questions whose answer could be swapped for another of its type."""


class Verdict(BaseModel):
    """The outcome of a run."""

    model_config = ConfigDict(frozen=True)

    outcome: Literal["healthy", "overfitting", "still learning", "unmeasured"]
    sentence: str
    fixes: tuple[str, ...]
    best_step: int | None
    """Where the held-out loss was lowest."""
    best_loss: float | None
    train_loss: float | None
    """Mean over the last tenth of the steps."""
    held_out_loss: float | None
    """At the end."""
    memorisation: Memorisation | None = None

    def lines(self) -> list[str]:
        """As a person reads it."""
        lines = [f"{self.outcome}: {self.sentence}"]
        if self.memorisation is not None:
            found = self.memorisation
            lines.append(
                f"memory: of {found.questions} training questions {found.recited:.0%} are answered without a passage;"
                f" with another answer swapped into the passage {found.followed:.0%} of {found.swapped} follow the"
                f" passage and {found.remembered:.0%} repeat the trained answer"
            )
        if self.fixes:
            lines.append("worth trying, in this order:")
            lines.extend(f"  {number}. {fix}" for number, fix in enumerate(self.fixes, start=1))
        return lines


def judge(
    history: Sequence[Mapping[str, float]], memorisation: Memorisation | None = None, kept: int | None = None
) -> Verdict:
    """The verdict on the measurements of a run (records with step, loss, eval_loss), and on the memory probe.

    `kept`: the step of the adapter that was kept, where that is not the one of the lowest held-out loss.
    """
    losses = [one["loss"] for one in history if "loss" in one]
    measured = [(int(one["step"]), one["eval_loss"]) for one in history if "eval_loss" in one]
    tail = losses[-max(1, len(losses) // 10) :]
    train = sum(tail) / len(tail) if tail else None
    recites = memorisation is not None and (
        memorisation.recited > 0.5 or (memorisation.swapped >= 5 and memorisation.remembered > 0.25)
    )
    if len(measured) < 2 or train is None:
        outcome: Literal["healthy", "overfitting", "still learning", "unmeasured"] = "unmeasured"
        sentence = "the held-out loss was measured fewer than twice, so that no turn can be seen"
        if recites:
            outcome, sentence = "overfitting", "the reader gives training answers from memory"
        fixes = FIXES if recites else ()
        best = measured[0] if measured else None
        return Verdict(
            outcome=outcome,
            sentence=sentence,
            fixes=fixes,
            best_step=best[0] if best else None,
            best_loss=best[1] if best else None,
            train_loss=train,
            held_out_loss=measured[-1][1] if measured else None,
            memorisation=memorisation,
        )
    best_step, best_loss = min(measured, key=lambda one: one[1])
    last_step, last = measured[-1]
    turned = last > best_loss * (1 + _TURN) and best_step < last_step
    # Over the last third: the cosine's small steps at the very end would make any loss look settled.
    before = [loss for step, loss in measured[:-1] if step <= last_step * 2 / 3 or step == measured[0][0]][-1]
    gap = train < last * (1 - _GAP)
    fixes = ()
    if turned:
        outcome = "overfitting"
        sentence = (
            f"the held-out loss was lowest at step {best_step} ({best_loss:.3f}) and rose to {last:.3f} by step"
            f" {last_step} while the training loss went on to {train:.3f}; the adapter of step"
            f" {best_step if kept is None else kept} was kept"
        )
        fixes = FIXES
    elif recites:
        outcome, fixes = "overfitting", FIXES
        sentence = f"the held-out loss ({last:.3f}) has not turned, but the reader gives training answers from memory"
    elif before > last * (1 + _FALL) and best_step == last_step:
        outcome = "still learning"
        sentence = (
            f"the held-out loss was still falling at the end ({before:.3f} to {last:.3f} in the last third): more"
            " epochs, or more data, would pay before anything else"
        )
    else:
        outcome = "healthy"
        sentence = f"the held-out loss settled at {last:.3f} (lowest {best_loss:.3f} at step {best_step})"
        if gap:
            sentence += f"; the training loss is {train:.3f}, so that more epochs would mostly teach memory"
    return Verdict(
        outcome=outcome,
        sentence=sentence,
        fixes=fixes,
        best_step=best_step,
        best_loss=best_loss,
        train_loss=train,
        held_out_loss=last,
        memorisation=memorisation,
    )


def swapped(example: Example, others: Sequence[str]) -> tuple[Example, str] | None:
    """The example with its answer replaced in the gold passage by another of its type; None where none fits."""
    if example.answer is None:
        return None
    passage = example.passages[example.numbers[0] - 1]
    swap = swap_answer(passage, example.answer, others)
    if swap is None:
        return None
    passages = tuple(swap.passage if one is passage else one for one in example.passages)
    return example._replace(passages=passages, answer=swap.answer), swap.answer


def probe_memory(reader: Reader, examples: Sequence[Example], count: int = 40) -> Memorisation:
    """Ask training questions without passages, and with another answer swapped into the gold passage.

    `reader` must be in mode "schema", whose answers are not bound to the words of a passage.
    """
    from rag_ft.answering.reading import ReadRequest

    answered = [example for example in examples if example.answer is not None]
    chosen = answered[:: max(1, len(answered) // count)][:count]  # of all documents, not of the first ones
    answers = [example.answer for example in chosen if example.answer is not None]
    closed = reader.closed_book([example.question for example in chosen], must_answer=True)
    recited = sum(_same(given.answer, example.answer) for given, example in zip(closed, chosen, strict=True))
    pairs = [
        (example, swap)
        for place, example in enumerate(chosen)
        if (swap := swapped(example, answers[place + 1 :] + answers[:place])) is not None
    ]
    readings = reader.read_batch([ReadRequest(swap[0].question, swap[0].passages) for _, swap in pairs])
    followed = sum(_same(one.answer, swap[1]) for one, (_, swap) in zip(readings, pairs, strict=True))
    remembered = sum(_same(one.answer, example.answer) for one, (example, _) in zip(readings, pairs, strict=True))
    return Memorisation(
        questions=len(chosen),
        recited=recited / max(len(chosen), 1),
        followed=followed / max(len(pairs), 1),
        remembered=remembered / max(len(pairs), 1),
        swapped=len(pairs),
    )


def _same(given: str | None, answer: str | None) -> bool:
    if given is None or answer is None:
        return False
    return re.findall(r"\w+", given.casefold()) == re.findall(r"\w+", answer.casefold())
