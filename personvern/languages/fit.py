"""Fit the model of `personvern.languages.identify`: `python -m personvern.languages.fit [DATA] [MODEL]`.

Learns from the bot's training data (`data/nlu/<language>/*.yml`) and the word lists in `personvern/languages/words`
(`<language>.txt`, `names_<languages>.txt`, and `neutral.txt` for what says nothing); the same input gives the same
file. A word's weight is the logarithm of its odds in one language against the other. What an unknown word looks like
is learnt from the parts of the known ones by logistic regression.
"""

import json
import math
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from personvern.languages.identify import MODEL, PIECE_SCALE, WORD_SCALE, Model, pieces_of, words_of

DATA = Path(__file__).parents[2] / "data" / "nlu"
WORD_LISTS = Path(__file__).with_name("words")

# An example is a pair of a language (the folder's name: nb, nn, en, dialect) and a text.
Example = tuple[str, str]

_ENTITY = re.compile(r"\[([^\]]+)\](?:\([^)]*\)|\{[^}]*\})")
# How many occurrences in the training data a place in a word list is worth.
_LISTED = 3.0
# A name is a hint at most: too little to be taken for a known word of the language.
_LISTED_NAME = 0.8
_UNSEEN = 0.3
# Dialect counts as bokmål, but not its "eg" and "ikkje" as much; Danish and Swedish are seldom met.
_AS_BOKMAL = {"nb": 1.0, "dialect": 0.7, "da": 0.5, "sv": 0.5}
_TELLING = 1.0
_ROUNDS = 6
_RATE = 0.3
_LEAST_PIECE_COUNT = 3
_LEAST_PIECE_WEIGHT = 0.05


def read_examples(data: Path = DATA) -> list[Example]:
    """All examples of intents in the order of the files' names. Raises OSError or yaml.YAMLError."""
    examples: list[Example] = []
    for path in sorted(data.glob("*/*.yml")):
        document = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader) or {}
        for entry in document.get("nlu") or ():
            lines = (entry.get("examples") or "").splitlines() if "intent" in entry else ()
            texts = (_ENTITY.sub(r"\1", line[2:]).strip() for line in lines if line.startswith("- "))
            examples += [(path.parent.name, text) for text in texts]
    return examples


def fit(examples: Iterable[Example]) -> Model:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for language, text in examples:
        counts[language].update(words_of(text))
    lists = {path.stem: words_in(path) for path in sorted(WORD_LISTS.glob("*.txt"))}
    neutral = lists.pop("neutral", set())
    listed: dict[str, dict[str, float]] = defaultdict(dict)
    for name, words in lists.items():
        worth = _LISTED_NAME if name.startswith("names_") else _LISTED
        for language in name.removeprefix("names_").split("_"):
            for word in words:
                listed[language][word] = max(worth, listed[language].get(word, 0.0))
    norwegian = {language: 1.0 for language in {*counts, *listed} - {"en"}}
    sides = _log_odds(counts, listed, {"en": 1.0}, norwegian)
    forms = _log_odds(counts, listed, {"nn": 1.0}, _AS_BOKMAL)
    side_pieces, side_bias = _fit_pieces(sides)
    form_pieces, form_bias = _fit_pieces(forms)
    return {
        "words": {
            word: [round(WORD_SCALE * side), round(WORD_SCALE * forms.get(word, 0.0))]
            for word, side in sorted(sides.items())
        },
        "pieces": {
            piece: [round(PIECE_SCALE * pieces.get(piece, 0.0)) for pieces in (side_pieces, form_pieces)]
            for piece in sorted({*side_pieces, *form_pieces})
        },
        "bias": [round(PIECE_SCALE * side_bias), round(PIECE_SCALE * form_bias)],
        "neutral": sorted(neutral),
    }


def words_in(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {word for line in lines if not line.startswith("#") for word in words_of(line)}


def _log_odds(
    counts: Mapping[str, Counter[str]],
    listed: Mapping[str, Mapping[str, float]],
    one: Mapping[str, float],
    other: Mapping[str, float],
) -> dict[str, float]:
    """Each word's log odds of `one` against `other`, which map languages to how much their words count."""

    def occurrences(languages: Mapping[str, float]) -> Counter[str]:
        found: Counter[str] = Counter()
        for language, weight in languages.items():
            for word, count in counts.get(language, Counter()).items():
                found[word] += weight * count  # type: ignore[assignment]
        return found

    for_one, for_other = occurrences(one), occurrences(other)
    # More is written in one language than in the other, and lists are not: they are added to equal amounts.
    scale = (sum(for_one.values()) or 1) / (sum(for_other.values()) or 1)

    def listings(languages: Mapping[str, float], word: str) -> float:
        return max(weight * listed.get(language, {}).get(word, 0.0) for language, weight in languages.items())

    words = {*for_one, *for_other, *(word for language in {*one, *other} for word in listed.get(language, ()))}
    return {
        word: math.log(
            (for_one[word] + listings(one, word) + _UNSEEN)
            / (scale * for_other[word] + listings(other, word) + _UNSEEN)
        )
        for word in sorted(words)
    }


def _fit_pieces(odds: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """Weights of parts of words and the bias, so that they tell which way the telling words tell."""
    telling = [word for word, value in sorted(odds.items()) if abs(value) > _TELLING and len(word) > 1]
    common = Counter(piece for word in telling for piece in set(pieces_of(word)))
    inputs = [[piece for piece in pieces_of(word) if common[piece] >= _LEAST_PIECE_COUNT] for word in telling]
    scales = [1 / math.sqrt(len(pieces_of(word))) for word in telling]
    targets = [1.0 if odds[word] > 0 else 0.0 for word in telling]
    weights, bias = _regress(inputs, scales, targets)
    return {piece: weight for piece, weight in weights.items() if abs(weight) >= _LEAST_PIECE_WEIGHT}, bias


def _regress(
    inputs: Sequence[Sequence[str]], scales: Sequence[float], targets: Sequence[float]
) -> tuple[dict[str, float], float]:
    """Logistic regression by AdaGrad, which lets rare parts of words learn as fast as common ones."""
    order = list(range(len(inputs)))
    shuffler = random.Random(1)  # noqa: S311 - the order of learning is no secret
    weights: dict[str, float] = defaultdict(float)
    squares: dict[str, float] = defaultdict(lambda: 1e-2)
    bias, bias_squares = 0.0, 1e-2
    for _ in range(_ROUNDS):
        shuffler.shuffle(order)
        for index in order:
            pieces, scale = inputs[index], scales[index]
            value = bias + scale * sum(weights[piece] for piece in pieces)
            error = 1 / (1 + math.exp(-max(-30.0, min(30.0, value)))) - targets[index]
            step = error * scale
            for piece in pieces:
                squares[piece] += step * step
                weights[piece] -= _RATE * step / math.sqrt(squares[piece])
            bias_squares += error * error
            bias -= _RATE * error / math.sqrt(bias_squares)
    return dict(weights), bias


def write(model: Model, path: Path = MODEL) -> None:
    """JSON without blanks, a line for each part."""
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
    parts = (f'"{name}":{encoder.encode(part)}' for name, part in model.items())
    path.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    data = Path(arguments[0]) if arguments else DATA
    path = Path(arguments[1]) if len(arguments) > 1 else MODEL
    examples = read_examples(data)
    model = fit(examples)
    write(model, path)
    print(f"{len(examples)} examples, {len(model['words'])} words, {len(model['pieces'])} pieces: {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
