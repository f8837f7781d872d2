"""The table that every attack prints: `attack  tried  held  failed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Tally:
    """One kind of attack, counted."""

    name: str
    tried: int = 0
    details: list[str] = field(default_factory=list)

    def held(self) -> None:
        """One try that was withstood."""
        self.tried += 1

    def failed(self, detail: str) -> None:
        """One that was not; `detail` says what happened."""
        self.tried += 1
        self.details.append(detail)


def show(tallies: Sequence[Tally]) -> int:
    """Print the table, and what failed; 1 if anything did."""
    width = max([len("attack"), *(len(tally.name) for tally in tallies)])
    print(f"{'attack':<{width}}  {'tried':>6}  {'held':>6}  {'failed':>6}")
    for tally in tallies:
        failed = len(tally.details)
        print(f"{tally.name:<{width}}  {tally.tried:>6}  {tally.tried - failed:>6}  {failed:>6}")
    for tally in tallies:
        for detail in tally.details[:10]:
            print(f"{tally.name}: {detail}")
    return int(any(tally.details for tally in tallies))
