"""Which of our languages a chat message is written in.

A general detector is right on sentences and wrong on what people type ("delete my data" comes out as nynorsk). So the
evidence is first what the words themselves say, learnt from our own training data and general word lists by
`python -m personvern.languages.fit`; then what unknown words look like; and only then the general detector. All
evidence is in natural logarithms of odds: English against Norwegian, and nynorsk against bokmål.
"""

import json
import math
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypedDict, cast

from lingua import Language as Lingua
from lingua import LanguageDetectorBuilder

Language = Literal["nb", "nn", "en"]

MODEL = Path(__file__).with_name("model.json")
WORD_SCALE = 10
PIECE_SCALE = 100

_LONGEST_TEXT = 2_000
_LONGEST_WORD = 40
_ADDRESS = re.compile(r"://|www\.|@")
_MASKED = re.compile(r"\[\w+nummer\]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_DRAWN_OUT = re.compile(r"(.)\1{2,}")

# An English word in a Norwegian text is common (titles, names, terms); the other way round it is not.
_MOST_FOR_ENGLISH = 2.5
_MOST_FOR_NORWEGIAN = 6.0
_MOST_FOR_A_FORM = 5.0
_MOST_FOR_LOOKS = 3.0
_WEIGHT_OF_LOOKS = 0.3

_KNOWN = 2.0
_KNOWN_WELL = 4.0
_SURE_OF_THE_SIDE = 2.5
_SURE_OF_THE_FORM = 2.5
_LIKELY_NYNORSK = 1.0
_WORDS_THAT_MAY_ALL_BE_UNKNOWN = 4


@dataclass(frozen=True, slots=True)
class Identified:
    """`certain` is false where the text did not settle it: `language` is then the current one or the best guess."""

    language: Language
    certain: bool


class Model(TypedDict):
    """`words`, `pieces` (parts of words) and `bias` hold a pair each: weight for English, weight for nynorsk."""

    words: dict[str, list[int]]
    pieces: dict[str, list[int]]
    bias: list[int]
    neutral: list[str]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Above 0: for English, for nynorsk. The others: whether a known word says so, and not only the looks."""

    english: float
    nynorsk: float
    side_is_known: bool
    side_is_known_well: bool
    form_is_known: bool


class Identifier:
    """Reads the model once; threads may share it. Raises OSError or ValueError for a missing or broken model."""

    def __init__(self, model: Model | None = None) -> None:
        if model is None:
            model = cast(Model, json.loads(MODEL.read_text(encoding="utf-8")))
        self._words = model["words"]
        self._pieces = model["pieces"]
        self._bias = model["bias"]
        self._neutral = frozenset(model["neutral"])
        self._general = (
            LanguageDetectorBuilder.from_languages(Lingua.BOKMAL, Lingua.NYNORSK, Lingua.ENGLISH)
            .with_preloaded_language_models()
            .build()
        )

    def identify(self, text: str, current: Language | None = None) -> Identified:
        """`current` is the conversation's language: kept where the text is too short to tell.

        Between the Norwegian forms `current` gives way only to clear evidence. Danish, Swedish and dialect are "nb".
        """
        text = text[:_LONGEST_TEXT]
        words = [word for word in words_of(text) if word not in self._neutral]
        if not words:
            return Identified(current or "nb", certain=False)
        evidence = self._evidence(words, text)
        is_english = evidence.english > 0
        certain = abs(evidence.english) >= _SURE_OF_THE_SIDE and (
            evidence.side_is_known or len(words) >= _WORDS_THAT_MAY_ALL_BE_UNKNOWN
        )
        if current is not None and is_english != (current == "en"):
            # Norwegians say "thanks" and "privacy" too, and a name says nothing.
            is_loan = is_english and len(words) == 1
            if not certain or is_loan or (_looks_like_a_name(text) and not evidence.side_is_known_well):
                return Identified(current, certain=False)
        if is_english:
            return Identified("en", certain)
        nynorsk = evidence.nynorsk
        if current is None or current == "en":
            return Identified("nn" if nynorsk > _LIKELY_NYNORSK else "nb", certain)
        if evidence.form_is_known and abs(nynorsk) >= _SURE_OF_THE_FORM:
            return Identified("nn" if nynorsk > 0 else "nb", certain)
        return Identified(current, certain)

    def _evidence(self, words: list[str], text: str) -> _Evidence:
        general = {value.language: value.value for value in self._general.compute_language_confidence_values(text)}
        in_bokmal, in_nynorsk, in_english = (
            general[language] + 1e-6 for language in (Lingua.BOKMAL, Lingua.NYNORSK, Lingua.ENGLISH)
        )
        english = math.log(in_english / max(in_bokmal, in_nynorsk))
        nynorsk = math.log(in_nynorsk / in_bokmal)
        known: list[tuple[float, float]] = []
        for word in words:
            if weights := self._words.get(word):
                side, form = weights[0] / WORD_SCALE, weights[1] / WORD_SCALE
                known.append((side, form))
                english += max(-_MOST_FOR_NORWEGIAN, min(_MOST_FOR_ENGLISH, side))
                nynorsk += max(-_MOST_FOR_A_FORM, min(_MOST_FOR_A_FORM, form))
            else:
                english += _WEIGHT_OF_LOOKS * self._looks(word, 0)
                nynorsk += _WEIGHT_OF_LOOKS * self._looks(word, 1)
        if _is_norwegian_around_english([side for side, _ in known]):
            english = min(english, -_SURE_OF_THE_SIDE)
        direction = math.copysign(1, english)
        best = max((direction * side for side, _ in known), default=0.0)
        return _Evidence(
            english,
            nynorsk,
            side_is_known=best >= _KNOWN,
            side_is_known_well=best >= _KNOWN_WELL,
            form_is_known=any(math.copysign(1, nynorsk) * form >= _KNOWN for _, form in known),
        )

    def _looks(self, word: str, index: int) -> float:
        pieces = pieces_of(word)
        weight = sum(weights[index] for piece in pieces if (weights := self._pieces.get(piece)))
        # Long words hold many overlapping pieces: the square root, as in the fit.
        looks = (self._bias[index] + weight / math.sqrt(len(pieces))) / PIECE_SCALE
        return max(-_MOST_FOR_LOOKS, min(_MOST_FOR_LOOKS, looks))


@cache
def identifier() -> Identifier:
    """The one that all of a process shares."""
    return Identifier()


def words_of(text: str) -> list[str]:
    """Lower-case words without addresses, numbers and tokens of masking; a letter drawn out ("heeei") counts once."""
    text = " ".join(part for part in _MASKED.sub(" ", text).split() if not _ADDRESS.search(part))
    plain = unicodedata.normalize("NFC", text).lower().replace("’", "'")
    return [word[:_LONGEST_WORD] for word in _WORD.findall(_DRAWN_OUT.sub(r"\1", plain))]


def pieces_of(word: str) -> list[str]:
    """All runs of one to four characters, the word's borders counted as characters."""
    bordered = f"<{word}>"
    return [bordered[at : at + size] for size in range(1, 5) for at in range(len(bordered) - size + 1)]


def _is_norwegian_around_english(sides: list[float]) -> bool:
    """An English title or term in a Norwegian sentence can outweigh it: then how it begins tells."""
    telling = [side for side in sides if abs(side) >= _KNOWN]
    return bool(telling) and telling[0] < 0 and any(side <= -_KNOWN_WELL for side in telling[1:])


def _looks_like_a_name(text: str) -> bool:
    words = _WORD.findall(text)
    return 1 <= len(words) <= 4 and all(word.istitle() for word in words)


_NAMES: dict[str, Language] = {
    "bokmål": "nb",
    "bokmaal": "nb",
    "bokmal": "nb",
    "norsk": "nb",
    "norwegian": "nb",
    "nynorsk": "nn",
    "engelsk": "en",
    "english": "en",
    "eng": "en",
}
_CLAUSE_END = re.compile(r"[.!?;:,()\n–]| - |\b(?:and|og|men|but|so|så)\b")
_NEGATED = re.compile(
    r"\b(?:not|no|never|\w+n['’]t|dont|cant|cannot|ikke|ikkje|itj|enn|than|instead of|i stedet for|i staden for)"
    rf"(?: \w+){{0,3}}? (?:{'|'.join(_NAMES)})\b"
)
# A clause that asks for a language holds one of these, or the language's name alone, and nothing but fillers beside.
_ASKING = re.compile(
    r"in|på|pa|to|til|te|please|pls|plz|takk|thanks|answer|reply|respond|write|speak|talk|use|prefer|want|svare?|svara|"
    r"skrive?|skriva|snakke?[rn]?|snakkar?|prate?|prata|bruke?|bruka|vil|ha|foretrekker|føretrekkjer|kan|heller|only|"
    r"get|read|lese?|velge|velje|kunne|kunna|best|better|easier|simpler|enklere|lettere|bedre|betre|lettare|enklare"
)
_FILLER = re.compile(
    r"an?|again|also|answers?|att|back|bare|be|berre|bli|byt|byte|bytt|bytte|can|change|chat|continue|could|da|de|dere|"
    r"det|dette|ditt|do|du|dykk|då|e|eg|en|er|explain|for|form|forklare?|forstår|forstå|fortsett|fortsette|fra|fram|"
    r"from|få|gjenta|gjerne|go|good|got|great|grei|hald|have|hei|hello|here|her|herfra|hey|hi|i|i'd|i'm|igjen|instead|"
    r"is|it|ja|jeg|just|la|language|lat|let|let's|lets|like|may|me|med|meg|min|mitt|mogleg|mulig|my|mæ|need|no|now|nå|"
    r"og|ok|okay|om|omset|on|oss|oversett|over|possible|rather|repeat|say|set|shall|skift|skifte|snill|snille|sorry|"
    r"speaking|språk|staden|stedet|svaret|switch|ta|take|tal|tale|text|thank|that|the|then|this|too|translate|tusen|u|"
    r"understand|unnskyld|us|venligst|vennlig|vennligst|ver|vi|vær|være|we|will|with|would|written|yes|you|your|æ|å|up|"
    r"i'll|it's|available|everything|alt"
)


def requested_language(text: str) -> Language | None:
    """The language that is asked for in so many words ("English please", "kan du svare på nynorsk?"), else None.

    "Norwegian" is "nb". Talking about a language ("the English police") asks for none; the last request counts.
    """
    plain = unicodedata.normalize("NFC", text[:_LONGEST_TEXT]).lower().replace("’", "'")
    plain = re.sub(r"\b(?:new norwegian|(?:norsk )?ny ?norsk)\b", "nynorsk", plain)
    asked = [language for clause in _CLAUSE_END.split(plain) if (language := _asked_for(_NEGATED.sub("", clause)))]
    return asked[-1] if asked else None


def _asked_for(clause: str) -> Language | None:
    words = _WORD.findall(clause)
    named = {_NAMES[word] for word in words if word in _NAMES}
    others = [word for word in words if word not in _NAMES]
    if len(named) != 1 or not all(_FILLER.fullmatch(word) or _ASKING.fullmatch(word) for word in others):
        return None
    return named.pop() if not others or any(map(_ASKING.fullmatch, others)) else None
