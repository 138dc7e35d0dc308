"""What a run has tried, and what it found. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field

LOST, MIXTURE, UNREACHABLE, OTHER = "lost", "mixture", "unreachable", "other"
KINDS = {
    LOST: "generations lost",
    MIXTURE: "mixtures seen",
    UNREACHABLE: "times unreachable for over 1 s",
    OTHER: "other promises broken",
}
"""What may be wrong, and how the table calls it. None of it may ever be."""

SHOWN = 20
"""Findings that are told one by one; the others are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise: its kind, the part of the run, where exactly (so that it can be had again), and what it was."""

    kind: str
    part: str
    where: str
    what: str


@dataclass
class Tally:
    """``counts``: what was tried, by its name in the table."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    longest_s: float = 0.0
    """The longest time that the link did not answer while it should have."""

    def found(self, kind: str, part: str, where: str, what: str) -> None:
        """A promise was broken."""
        self.findings.append(Finding(kind, part, where, what))

    def of(self, kind: str) -> int:
        """How often."""
        return sum(finding.kind == kind for finding in self.findings)

    def add(self, other: Tally) -> None:
        """What another one has tried and found is part of this one, too."""
        self.counts.update(other.counts)
        self.findings += other.findings
        self.longest_s = max(self.longest_s, other.longest_s)

    def summary(self) -> dict[str, object]:
        """All figures, for ``--json``."""
        return {
            "tried": dict(self.counts),
            **{kind: self.of(kind) for kind in KINDS},
            "longest_unreachable_s": round(self.longest_s, 3),
            "findings": [asdict(finding) for finding in self.findings[:SHOWN]],
        }

    def text(self) -> str:
        """All figures, for a reader."""
        rows = [*self.counts.items(), *((f"{name} (must be 0)", self.of(kind)) for kind, name in KINDS.items())]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name.ljust(width)}  {count:>8,}" for name, count in rows]
        lines.append(f"{'longest time without an answer'.ljust(width)}  {self.longest_s:>7.2f}s")
        shown = [f"- {each.kind}, {each.part} {each.where}: {each.what}" for each in self.findings[:SHOWN]]
        return "\n".join([*lines, *([""] if shown else []), *shown])
