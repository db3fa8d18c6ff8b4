"""What a guard reports."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place that breaks a rule. `path` is relative to the root, `line` 0 for a whole file, `rule` a sentence."""

    path: str
    line: int
    rule: str
    fails: bool = True

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.rule}" if self.fails else f"{place}: warning: {self.rule}"
