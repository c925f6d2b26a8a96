"""What the benchmarks share: questions, a running stack, figures in a table and in a file."""

import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

from tools.stack import MODEL, ROOT, Ports, Stack

FIGURES = ROOT / "var" / "benchmarks"
NO_LIMITS = {
    "RATE_LIMIT_CONVERSATION": "1000000/minute",
    "RATE_LIMIT_ADDRESS": "1000000/minute",
    "RATE_LIMIT_CONVERSATIONS": "1000000/minute",
}
COMPANIES = ("jackon", "jobbkort", "norsk-fagutdanning", "se-gruppen", "unnamed")


@dataclass(frozen=True, slots=True)
class Question:
    language: str
    text: str


QUESTIONS = (
    Question("nb", "Hvor lenge lagrer dere opplysningene om meg?"),
    Question("nb", "Hvem er behandlingsansvarlig for opplysningene?"),
    Question("nb", "Hvilke informasjonskapsler bruker nettsiden?"),
    Question("nb", "Deler dere personopplysninger med andre selskaper?"),
    Question("nb", "Hvordan kan jeg klage til Datatilsynet?"),
    Question("nb", "Hva er det rettslige grunnlaget for behandlingen?"),
    Question("nb", "Hvordan sikrer dere opplysningene mine?"),
    Question("nn", "Kva opplysningar samlar de inn om meg?"),
    Question("nn", "Korleis kan eg få innsyn i opplysningane mine?"),
    Question("nn", "Kvifor treng de desse opplysningane om meg?"),
    Question("nn", "Korleis trekkjer eg tilbake samtykket mitt?"),
    Question("nn", "Kven får sjå opplysningane som eg gjev dykk?"),
    Question("nn", "Kan eg få retta opplysningar som er feil?"),
    Question("en", "How long do you keep my personal data?"),
    Question("en", "Do you transfer my data outside the EEA?"),
    Question("en", "What rights do I have under the privacy rules?"),
    Question("en", "How can I contact your data protection officer?"),
    Question("en", "Where do you get the information about me from?"),
    Question("en", "Do you use my data for marketing purposes?"),
    Question("en", "Is my IP address logged when I visit the website?"),
)


class MeasuredStack(Stack):
    """Runs on a copy of the model, so that one trained meanwhile does not come into the figures."""

    def command(self, name: str) -> list[str]:
        model = self.folder / MODEL.name
        if not model.exists():
            shutil.copy(MODEL, model)
        return [str(model) if part == str(MODEL) else part for part in Stack.command(self, name)]


@contextmanager
def stack_in(folder: Path | None, environment: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A stack on free ports that is started, and ended whatever happens. Without `folder` its files go too."""
    # Whoever ends the benchmark from outside ends its processes too.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    place = folder or Path(tempfile.mkdtemp(prefix="personvern-benchmark-"))
    stack = MeasuredStack(place, Ports.free(), {**NO_LIMITS, **(environment or {})})
    started = False
    try:
        stack.start_all()
        stack.wait()
        started = True
        yield stack
    finally:
        stack.stop()
        signal.signal(signal.SIGTERM, before)
        if folder is None and started:  # else its logs say why
            shutil.rmtree(place, ignore_errors=True)


def percentile(values: Sequence[float], percent: int) -> float:
    if len(values) < 2:
        return values[0] if values else 0.0
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write_figures(name: str, figures: Mapping[str, Any]) -> Path:
    """`var/benchmarks/NAME.json`, with the day and the machine."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    path = FIGURES / f"{name}.json"
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    document = {"measured_at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, **figures}
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
