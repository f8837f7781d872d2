"""The table that every attack prints: attack, tried, held, failed."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """What came of one kind of attack."""

    name: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)

    def held(self) -> None:
        self.tried += 1

    def failed(self, detail: str) -> None:
        self.tried += 1
        self.failures.append(detail)


def show(tallies: list[Tally]) -> int:
    """Print the table and the first failures of each kind; the exit status."""
    width = max(len("attack"), *(len(tally.name) for tally in tallies))
    print(f"{'attack':<{width}}  tried  held  failed")
    for tally in tallies:
        failed = len(tally.failures)
        print(f"{tally.name:<{width}}  {tally.tried:>5}  {tally.tried - failed:>4}  {failed:>6}")
    for tally in tallies:
        for detail in tally.failures[:5]:
            print(f"failed: {tally.name}: {detail}")
    return 1 if any(tally.failures for tally in tallies) else 0
