"""Tables of measurements, some with a bar that they must reach."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Table:
    """A Markdown table. Rows are added as they are measured; ``missed`` names the bars that were not reached."""

    title: str
    unit: str
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, digits: int = 0) -> None:
        self.rows.append((name, f"{value:,.{digits}f}", ""))

    def at_least(self, name: str, value: float, bar: float, digits: int = 2) -> None:
        self._judge(name, value, f"at least {bar:g}", value >= bar, digits)

    def at_most(self, name: str, value: float, bar: float, digits: int = 2) -> None:
        self._judge(name, value, f"at most {bar:g}", value <= bar, digits)

    def _judge(self, name: str, value: float, bar: str, reached: bool, digits: int) -> None:
        self.rows.append((name, f"{value:,.{digits}f}", f"{bar}: {'reached' if reached else 'MISSED'}"))
        if not reached:
            self.missed.append(f"{self.title}, {name}: {value:,.{digits}f}, {bar}")

    def __str__(self) -> str:
        lines = [f"| {self.title} | {self.unit} | bar |", "|---|---:|---|"]
        return "\n".join(lines + [f"| {name} | {value} | {bar} |" for name, value, bar in self.rows])
