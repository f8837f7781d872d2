"""Has the reader learned to read passages, or memorised the answers? A verdict in words, and what to try first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from rag_ft.text.answer_swap import swap_answer
from rag_ft.training.data.examples import Example

if TYPE_CHECKING:
    from rag_ft.answering.reader import Reader

FIXES = (
    "fewer epochs (1 to 5)",
    "more dropout: .05, then .10, then .15",
    "half the rank, with alpha at twice the rank",
    "more, or more varied, questions: other documents, other wordings, questions without an answer",
    "half the learning rate, then a quarter",
)
"""What to try against overfitting, the first fix first."""

_Outcome: TypeAlias = Literal["healthy", "overfitting", "still learning", "unmeasured"]

_TURN = 0.05
"""The held-out loss has turned if it ends this share above its minimum."""

_FALL = 0.05
"""The held-out loss is still falling if it fell by more than this share in the last third of the run."""

_GAP = 0.5
"""The training loss is far below the held-out loss if it ends this share below it."""


class Memorisation(BaseModel):
    """How the reader answers training questions when memory and passage disagree."""

    model_config = ConfigDict(frozen=True)

    questions: int
    """Training questions asked."""
    recited: float
    """Share of `questions` that get the trained answer without a passage in the prompt."""
    followed: float
    """Share of `swapped` that get the answer swapped into the gold passage."""
    remembered: float
    """Share of `swapped` that get the trained answer, although the passage no longer holds it."""
    swapped: int
    """Questions whose answer could be swapped for another of its type."""

    @property
    def recites(self) -> bool:
        """Whether the reader answers from memory: more than half recited, or a quarter of 5 or more remembered."""
        return self.recited > 0.5 or (self.swapped >= 5 and self.remembered > 0.25)


class Diagnosis(BaseModel):
    """What the loss curves and the memory probe say about a run."""

    model_config = ConfigDict(frozen=True)

    outcome: _Outcome
    sentence: str
    """The outcome in words, with the figures it rests on."""
    fixes: tuple[str, ...]
    """What to try, the first fix first; empty unless the run overfits."""
    best_step: int | None
    """Step with the lowest held-out loss."""
    best_loss: float | None
    """Lowest held-out loss."""
    train_loss: float | None
    """Mean training loss over the last tenth of the steps."""
    held_out_loss: float | None
    """Held-out loss at the end."""
    memorisation: Memorisation | None = None

    def lines(self) -> list[str]:
        """The verdict for people to read."""
        lines = [f"{self.outcome}: {self.sentence}"]
        if self.memorisation is not None:
            memory = self.memorisation
            lines.append(
                f"memory: without a passage, the reader recites the answers of {memory.recited:.0%} of"
                f" {memory.questions} training questions; with another answer swapped into the passage, it follows the"
                f" passage in {memory.followed:.0%} of {memory.swapped} and repeats the trained answer in"
                f" {memory.remembered:.0%}"
            )
        if self.fixes:
            lines.append("try, in this order:")
            lines.extend(f"  {i}. {fix}" for i, fix in enumerate(self.fixes, start=1))
        return lines


def diagnose(
    history: Sequence[Mapping[str, float]], memorisation: Memorisation | None = None, kept: int | None = None
) -> Diagnosis:
    """Diagnose a run by its measurements (records with step, loss, eval_loss) and by the memory probe.

    `kept`: step of the adapter that was kept, if not the one with the lowest held-out loss.
    """
    losses = [measurement["loss"] for measurement in history if "loss" in measurement]
    held_out = [(int(entry["step"]), entry["eval_loss"]) for entry in history if "eval_loss" in entry]
    tail = losses[-max(1, len(losses) // 10) :]
    train = sum(tail) / len(tail) if tail else None
    if len(held_out) < 2 or train is None:
        outcome: _Outcome = "unmeasured"
        sentence = "the held-out loss was measured fewer than twice, so a turn cannot be seen"
    else:
        outcome, sentence = _read_curves(held_out, train, kept)
    if memorisation is not None and memorisation.recites and outcome != "overfitting":
        no_turn = f"the held-out loss ({held_out[-1][1]:.3f}) has not turned, but " if outcome != "unmeasured" else ""
        outcome, sentence = "overfitting", f"{no_turn}the reader gives training answers from memory"
    best_step, best_loss = min(held_out, key=lambda entry: entry[1], default=(None, None))
    return Diagnosis(
        outcome=outcome,
        sentence=sentence,
        fixes=FIXES if outcome == "overfitting" else (),
        best_step=best_step,
        best_loss=best_loss,
        train_loss=train,
        held_out_loss=held_out[-1][1] if held_out else None,
        memorisation=memorisation,
    )


def _read_curves(held_out: Sequence[tuple[int, float]], train: float, kept: int | None) -> tuple[_Outcome, str]:
    """The outcome by the losses alone: (step, held-out loss) pairs, and the training loss at the end."""
    best_step, best_loss = min(held_out, key=lambda entry: entry[1])
    last_step, last = held_out[-1]
    if last > best_loss * (1 + _TURN) and best_step < last_step:
        return "overfitting", (
            f"the held-out loss was lowest at step {best_step} ({best_loss:.3f}) and rose to {last:.3f} by step"
            f" {last_step}, while the training loss fell to {train:.3f}; the adapter of step"
            f" {best_step if kept is None else kept} was kept"
        )
    # Over the last third: the cosine's small steps at the very end would make any loss look settled.
    earlier = [loss for step, loss in held_out[:-1] if step <= last_step * 2 / 3 or step == held_out[0][0]][-1]
    if earlier > last * (1 + _FALL) and best_step == last_step:
        return "still learning", (
            f"the held-out loss was still falling at the end (from {earlier:.3f} to {last:.3f} in the last third): add"
            " epochs or data before you change anything else"
        )
    sentence = f"the held-out loss settled at {last:.3f} (lowest {best_loss:.3f} at step {best_step})"
    if train < last * (1 - _GAP):
        sentence += f"; the training loss is {train:.3f}, so more epochs would mostly teach memory"
    return "healthy", sentence


def with_swapped_gold(example: Example, others: Sequence[str]) -> tuple[Example, str] | None:
    """The example with another answer of its type in the gold passage, and that answer; None if no other fits."""
    if example.answer is None:
        return None
    gold = example.passages[example.numbers[0] - 1]
    swap = swap_answer(gold, example.answer, others)
    if swap is None:
        return None
    passages = tuple(swap.passage if passage is gold else passage for passage in example.passages)
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
    recited = sum(_same(reading.answer, example.answer) for reading, example in zip(closed, chosen, strict=True))
    swaps = [
        (example, *swap)
        for i, example in enumerate(chosen)
        if (swap := with_swapped_gold(example, answers[i + 1 :] + answers[:i])) is not None
    ]
    readings = reader.read_batch([ReadRequest(changed.question, changed.passages) for _, changed, _ in swaps])
    pairs = list(zip(readings, swaps, strict=True))
    followed = sum(_same(reading.answer, other) for reading, (_, _, other) in pairs)
    remembered = sum(_same(reading.answer, example.answer) for reading, (example, _, _) in pairs)
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
