"""Which passages speak of what somebody asks: ranking by the rare letters and words they share.

A passage is searched in every language it is known in: its own words, its reviewed translation and its gists. So a
question in one language finds a passage in another.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from personvern.statements.passages import Passage
from personvern.statements.reading import PassageReading

_WORD = re.compile(r"[^\W_]+")
_GRAM = 4


class SearchIndex:
    def __init__(self, passages: Sequence[Passage], readings: Mapping[str, PassageReading]) -> None:
        documents: list[tuple[int, Counter[str]]] = []
        self.passages = tuple(passages)
        for position, passage in enumerate(passages):
            reading = readings.get(passage.id)
            heading = passage.heading[-1] if passage.heading else ""
            texts = [f"{heading} {passage.text}"]
            if reading:
                texts += [*reading.gist.values(), *reading.translation.values()]
            documents += [(position, _terms(text)) for text in texts]
        found_in: Counter[str] = Counter()
        for _, terms in documents:
            found_in.update(terms.keys())
        count = len(documents) or 1
        self._weight = {term: math.log(1 + count / (0.5 + n)) for term, n in found_in.items()}
        self._owner = [position for position, _ in documents]
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, (_, terms) in enumerate(documents):
            weights = {term: (1 + math.log(n)) * self._weight[term] for term, n in terms.items()}
            # Long passages are not punished in full: a quote that holds more is not a worse proof.
            length = math.sqrt(sum(weight * weight for weight in weights.values())) ** 0.7 or 1.0
            for term, weight in weights.items():
                self._postings[term].append((number, weight / length))

    def scores(self, question: str) -> dict[str, float]:
        """Passage id to score, only those that share something; higher is nearer, without a fixed scale."""
        totals: dict[int, float] = defaultdict(float)
        terms = _terms(question)
        norm = math.sqrt(sum((n * self._weight.get(term, 0.0)) ** 2 for term, n in terms.items())) or 1.0
        for term, n in terms.items():
            for number, weight in self._postings.get(term, ()):
                totals[number] += n * self._weight[term] * weight / norm
        best: dict[str, float] = {}
        for number, score in totals.items():
            passage = self.passages[self._owner[number]].id
            best[passage] = max(best.get(passage, 0.0), score)
        return best


def _terms(text: str) -> Counter[str]:
    terms: Counter[str] = Counter()
    for word in _WORD.findall(text.lower()):
        padded = f"_{word}_"
        terms[padded] += 1
        for start in range(len(padded) - _GRAM + 1):
            terms[padded[start : start + _GRAM]] += 1
    return terms
