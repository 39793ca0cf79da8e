"""What was set aside, counted by reason. Above a set share nothing starts: so broken a source is a mistake to look at.

Readers and writers hand every record they cannot use to one `Rejects`; whoever prepares a record set asks it at the
end. Nothing is dropped in silence: the counts, and a few examples of each reason, go into the manifest.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from llmpose.errors import UserError

_EXAMPLES = 5
"""Names kept per reason: enough to go and look."""


@dataclass
class Rejects:
    """Counts by reason beside the number of records that were accepted."""

    max_share: float = 0.01
    """Largest share of records that may be set aside."""
    accepted: int = 0
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """What a reader was asked not to take, by reason: said, but no fault of the source."""
    kept: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Accepted all the same, by what is odd about them: ids, for somebody to go and look."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_share <= 1:
            raise UserError(f"--max-rejects is a share between 0 and 1, got {self.max_share}")

    def add(self, reason: str, what: str, count: int = 1) -> None:
        """Set `what` aside (an id or a file name) for `reason`; `count` when it stands for several records."""
        self.counts[reason] += count
        examples = self.examples[reason]
        if len(examples) < _EXAMPLES and what not in examples:  # several people of one picture name it once
            examples.append(what)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count what an option or a convention leaves out, such as crowds in COCO."""
        if count:
            self.left_out[reason] += count

    @property
    def rejected(self) -> int:
        return sum(self.counts.values())

    @property
    def share(self) -> float:
        seen = self.accepted + self.rejected
        return self.rejected / seen if seen else 0.0

    def summary(self) -> str:
        """'3 of 1200 set aside: 2 image missing (a.jpg, b.jpg); 1 box of zero area (7)'."""
        left_out = "".join(f"; left out: {count} {reason}" for reason, count in sorted(self.left_out.items()))
        for oddity, ids in sorted(self.kept.items()):
            left_out += (
                f"; kept: {len(ids)} {oddity} ({', '.join(ids[:_EXAMPLES])}{', …' if len(ids) > _EXAMPLES else ''})"
            )
        if not self.rejected:
            return f"none of {self.accepted} set aside{left_out}"
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{count} {reason} ({self._named(reason)})" for reason, count in ranked]
        return f"{self.rejected} of {self.accepted + self.rejected} set aside: {'; '.join(parts)}{left_out}"

    def _named(self, reason: str) -> str:
        examples = self.examples[reason]
        return ", ".join(examples) + (", …" if self.counts[reason] > len(examples) == _EXAMPLES else "")

    def check(self, where: str) -> None:
        """Stop when too much was set aside, saying why and how to allow more."""
        if self.share > self.max_share:
            # Rounded up to a share that a person would type, and that does let this source through.
            enough = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if step >= self.share)
            raise UserError(
                f"{where}: {self.summary()}; that is {self.share:.1%}, more than the {self.max_share:.1%} allowed, so "
                f"nothing was written; look at the examples, or allow it with --max-rejects {enough:g}"
            )

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "max_share": self.max_share,
            "count": self.rejected,
            "reasons": {
                reason: {"count": count, "examples": self.examples[reason]}
                for reason, count in sorted(self.counts.items())
            },
            "left_out": dict(sorted(self.left_out.items())),
            "kept": {
                oddity: {"count": len(ids), "examples": ids[:_EXAMPLES]} for oddity, ids in sorted(self.kept.items())
            },
        }
