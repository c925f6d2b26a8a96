"""Measure language identification: `python -m benchmarks.language_identification [--eval-data PATH] [--folds N]`.

On short texts that nobody here wrote (EVAL_DATA/langid/test.tsv, see its README), on the project's own training data
with a fifth of its lines held out, and the cost. lingua, restricted to our three languages, runs beside it.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lingua import Language as Lingua
from lingua import LanguageDetectorBuilder

from personvern.languages.fit import WORD_LISTS, Example, fit, read_examples, words_in
from personvern.languages.identify import Identifier, Language, words_of

ROWS = ((1, 2), (3, 4), (5, 7), (8, 12), (13, 20), (21, 10**6))
OWN_ROWS = ((1, 3), (4, 10**6))
NORWEGIAN = ("nb", "nn")
CODES = {Lingua.BOKMAL: "nb", Lingua.NYNORSK: "nn", Lingua.ENGLISH: "en", None: ""}

# A text, the language it is in and the one it was taken for.
Judged = tuple[str, str, str]
Guess = Callable[[str], str]


def is_side_right(language: str, guess: str) -> bool:
    return guess == "en" if language == "en" else guess in NORWEGIAN


def share(right: Iterable[bool]) -> str:
    found = list(right)
    return f"{100 * sum(found) / len(found):.1f} ({len(found) - sum(found)}/{len(found)})" if found else "-"


def in_row(judged: Iterable[Judged], row: tuple[int, int]) -> list[Judged]:
    return [entry for entry in judged if row[0] <= len(entry[0].split()) <= row[1]]


def forms(judged: Iterable[Judged]) -> str:
    return share(language == guess for _, language, guess in judged if language in NORWEGIAN)


def sides(judged: Iterable[Judged]) -> str:
    return share(is_side_right(language, guess) for _, language, guess in judged)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def name_of(row: tuple[int, int]) -> str:
    return f"{row[0]}-{row[1]}" if row[1] < 10**6 else f"{row[0]}+"


def lingua_guess() -> Guess:
    detector = LanguageDetectorBuilder.from_languages(Lingua.BOKMAL, Lingua.NYNORSK, Lingua.ENGLISH).build()
    return lambda text: CODES[detector.detect_language_of(text)]


def on_public_texts(path: Path, ours: Guess, lingua: Guess) -> None:
    with path.open(encoding="utf-8") as lines:
        rows_read = [line.rstrip("\n").split("\t") for line in lines]
    texts = [(language.replace("no-dialect", "dialect"), text) for language, _, text in rows_read]
    judged = {
        name: [(text, language, guess(text)) for language, text in texts if language not in ("da", "sv")]
        for name, guess in (("ours", ours), ("lingua", lingua))
    }
    print_table(
        "public short texts: share right in % (wrong/all)",
        ("words", "no/en lingua", "no/en ours", "nb/nn lingua", "nb/nn ours"),
        [
            (
                name_of(row),
                *(measure(in_row(judged[name], row)) for measure in (sides, forms) for name in ("lingua", "ours")),
            )
            for row in (*ROWS, (1, 10**6))
        ],
    )
    markers = words_in(WORD_LISTS / "nb.txt") ^ words_in(WORD_LISTS / "nn.txt")
    rows = []
    for name in ("lingua", "ours"):
        long = in_row(judged[name], (4, 10**6))
        with_evidence = [entry for entry in long if markers.intersection(words_of(entry[0]))]
        rows.append((name, forms(long), forms(with_evidence)))
    print_table(
        "public texts of 4 words and more, nb against nn",
        ("", "all", "with a word that only one form's list holds"),
        rows,
    )
    outside = [(text, language, ours(text)) for language, text in texts if language in ("da", "sv")]
    print_table(
        "Danish and Swedish taken for nb",
        ("", "nb"),
        [(language, share(g == "nb" for _, x, g in outside if x == language)) for language in ("da", "sv")],
    )


def on_own_data(examples: Sequence[Example], folds: int, lingua: Guess) -> None:
    examples = list(dict.fromkeys(examples))  # a line that is written twice must not be learnt and asked
    ours: list[Judged] = []
    general: list[Judged] = []
    switched: dict[tuple[Language, str], list[bool]] = {}
    dialect_in_bokmal: list[bool] = []
    for fold in range(folds):
        identifier = Identifier(fit(example for number, example in enumerate(examples) if number % 5 != fold))
        for language, text in examples[fold::5]:
            ours.append((text, language, identifier.identify(text).language))
            general.append((text, language, lingua(text)))
            if language == "dialect":
                dialect_in_bokmal.append(identifier.identify(text, "nb").language == "nb")
            elif len(text.split()) >= 4:
                for current in ("nb", "nn", "en"):
                    right = identifier.identify(text, current).language == language
                    switched.setdefault((current, language), []).append(right)
    print_table(
        f"own data, {folds} of 5 folds held out: share right in % (wrong/all)",
        ("words", "no/en lingua", "no/en ours", "nb/nn lingua", "nb/nn ours"),
        [
            (
                name_of(row),
                *(measure(in_row(judged, row)) for measure in (sides, forms) for judged in (general, ours)),
            )
            for row in OWN_ROWS
        ],
    )
    dialect = [guess == "nb" for _, language, guess in ours if language == "dialect"]
    print(f"\ndialect taken for nb: {share(dialect)}; where nb was spoken: {share(dialect_in_bokmal)}")
    print_table(
        "own data, 4 words and more, by the conversation's language before",
        ("before", *(f"text in {language}" for language in ("nb", "nn", "en"))),
        [
            (current, *(share(switched[current, language]) for language in ("nb", "nn", "en")))
            for current in ("nb", "nn", "en")
        ],
    )


def cost(texts: Sequence[str]) -> Identifier:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    identifier = Identifier()
    built = time.perf_counter() - start
    start = time.perf_counter()
    for text in texts:
        identifier.identify(text)
    each = (time.perf_counter() - start) / len(texts)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"built in {built:.2f} s, {grown:.0f} MB more, {1000 * each:.2f} ms a text ({len(texts)} of our own)")
    return identifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eval-data", type=Path, default=Path(os.environ.get("EVAL_DATA", "../shared/eval-data")))
    parser.add_argument("--folds", type=int, default=1, choices=range(6), help="of five; about six seconds each")
    arguments = parser.parse_args()
    examples = read_examples()
    identifier = cost([text for _, text in examples[::10]])
    lingua = lingua_guess()
    test = arguments.eval_data / "langid" / "test.tsv"
    if test.exists():
        on_public_texts(test, lambda text: identifier.identify(text).language, lingua)
    else:
        print(f"no public texts at {test}: skipped")
    if arguments.folds:
        on_own_data(examples, arguments.folds, lingua)


if __name__ == "__main__":
    main()
