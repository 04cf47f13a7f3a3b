"""What an examination finds: each thing good, lacking or broken, and what mends it."""

from collections import Counter
from typing import Literal

from compress.recipes.values import Frozen

State = Literal["good", "lacking", "broken"]
"""`lacking`: something will not be had or will be slow; `broken`: nothing works without it."""


class Finding(Frozen):
    """One thing that was looked at.

    `fix` is the command, or the sentence with the command, that mends what is not good.
    """

    area: str
    name: str
    state: State
    text: str
    fix: str | None = None


class Diagnosis(Frozen):
    """All findings, in the order of the examination."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing required is broken."""
        return all(finding.state != "broken" for finding in self.findings)

    def by_area(self) -> dict[str, list[Finding]]:
        """The findings of each area, areas in the order of their first finding."""
        areas: dict[str, list[Finding]] = {}
        for finding in self.findings:
            areas.setdefault(finding.area, []).append(finding)
        return areas

    def counts(self) -> dict[State, int]:
        """How many findings there are of each state."""
        counted = Counter(finding.state for finding in self.findings)
        return {"good": counted["good"], "lacking": counted["lacking"], "broken": counted["broken"]}
