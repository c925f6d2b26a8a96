"""Understanding: from a text to the likeliest intents.

One linear classifier over words and letters for all three languages. It was chosen by measuring
(docs/understanding.md): Rasa's own LogisticRegressionClassifier on the same features takes forty times as long to
train and is no better.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Text, Tuple

import numpy as np
import sklearn
import yaml
from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.nlu.classifiers.classifier import IntentClassifier
from rasa.shared.nlu.constants import INTENT, TEXT
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

_SPACE = re.compile(r"\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_LONGEST = 2_000
_MOST_SENTENCES = 12

NOT_UNDERSTOOD = "nlu_fallback"
"""Rasa's own name for a text that nothing can be made of; it has a rule as every intent has."""

ASK, REQUEST = "ask_", "request_"
"""A question about a right and the order to carry it out differ in the form of the sentence, hardly in its words."""


def normalise(text: Text) -> Text:
    return _SPACE.sub(" ", text[:_LONGEST].lower()).strip()


def sentences(text: Text) -> List[Text]:
    """The parts of a longer text, each of which may be the question; one part where it is one sentence."""
    parts = [normalise(part) for part in _SENTENCE_END.split(text[:_LONGEST])]
    return [part for part in parts if len(part) > 3][:_MOST_SENTENCES]


class Linear:
    """Words and letters to margins, one a label. Kept as plain arrays, never as a pickle."""

    def __init__(
        self, word_ngrams: List[int], letter_ngrams: List[int], C: float, class_weight: Optional[Text] = None
    ) -> None:
        self._vectorizers = [
            TfidfVectorizer(
                ngram_range=tuple(word_ngrams),
                # A question mark is a word too.
                token_pattern=r"\w+|\?",  # noqa: S106
                sublinear_tf=True,
                lowercase=False,
                dtype=np.float32,
            ),
            TfidfVectorizer(
                analyzer="char_wb",
                ngram_range=tuple(letter_ngrams),
                sublinear_tf=True,
                lowercase=False,
                dtype=np.float32,
            ),
        ]
        self._C = C
        self._class_weight = class_weight
        self.labels: List[Text] = []
        self._built: Optional[List[Any]] = None
        # Sorted hashes of the terms and the row of each: a tenth of the memory that a dictionary of them takes.
        self._hashes: List[np.ndarray] = []
        self._rows: List[np.ndarray] = []
        self._idf: List[np.ndarray] = []
        self._weights = np.zeros((0, 0), dtype=np.float16)
        self._offsets = np.zeros(0, dtype=np.float32)

    def fit(self, texts: List[Text], labels: List[Text]) -> None:
        features = hstack([vectorizer.fit_transform(texts) for vectorizer in self._vectorizers]).tocsr()
        classifier = LinearSVC(C=self._C, class_weight=self._class_weight, random_state=1)
        classifier.fit(features, labels)
        self.labels = [str(label) for label in classifier.classes_]
        self._hashes, self._rows = [], []
        for vectorizer in self._vectorizers:
            hashes = np.array([_hash(term) for term in vectorizer.vocabulary_], dtype=np.uint64)
            rows = np.fromiter(vectorizer.vocabulary_.values(), dtype=np.int32)
            order = np.argsort(hashes)
            self._hashes.append(hashes[order])
            self._rows.append(rows[order])
        self._idf = [vectorizer.idf_.astype(np.float32) for vectorizer in self._vectorizers]
        # A row for each term, so that a text's few rows lie together in memory.
        self._weights = np.ascontiguousarray(classifier.coef_.T.astype(np.float16))
        self._offsets = classifier.intercept_.astype(np.float32)

    def margins(self, text: Text) -> np.ndarray:
        """One margin a label; of two labels a single one, above zero for the second.

        What the vectorizers' `transform` does, for one text and without their matrices: a tenth of the time.
        """
        total = self._offsets.copy()
        start = 0
        for analyse, hashes, rows, idf in zip(self._analysers(), self._hashes, self._rows, self._idf, strict=True):
            terms = analyse(text)
            if terms:
                asked = np.array([_hash(term) for term in terms], dtype=np.uint64)
                places = np.minimum(np.searchsorted(hashes, asked), len(hashes) - 1)
                indices, counts = np.unique(rows[places[hashes[places] == asked]], return_counts=True)
                if len(indices):
                    values = (1.0 + np.log(counts.astype(np.float32))) * idf[indices]
                    values /= np.sqrt((values * values).sum())
                    total += values @ self._weights[indices + start].astype(np.float32)
            start += len(rows)
        return total

    def _analysers(self) -> List[Any]:
        if self._built is None:
            self._built = [vectorizer.build_analyzer() for vectorizer in self._vectorizers]
        return self._built

    def save(self, folder: Path, name: Text) -> None:
        arrays = {"weights": self._weights, "offsets": self._offsets, "labels": np.array(self.labels)}
        for index, (hashes, rows, idf) in enumerate(zip(self._hashes, self._rows, self._idf, strict=True)):
            arrays.update({f"hashes{index}": hashes, f"rows{index}": rows, f"idf{index}": idf})
        np.savez(folder / (name + ".npz"), **arrays)

    def load(self, folder: Path, name: Text) -> None:
        with np.load(folder / (name + ".npz")) as arrays:
            self.labels = [str(label) for label in arrays["labels"]]
            self._weights, self._offsets = arrays["weights"], arrays["offsets"]
            parts = range(len(self._vectorizers))
            self._hashes = [arrays[f"hashes{index}"] for index in parts]
            self._rows = [arrays[f"rows{index}"] for index in parts]
            self._idf = [arrays[f"idf{index}"] for index in parts]


def _hash(term: Text) -> int:
    """64 bits, the same in every process; of a hundred thousand terms two are alike once in three billion models."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "little")


def statement_examples(folder: Path, leave_out: List[Text]) -> List[Tuple[Text, Text]]:
    """(text, intent) from the companies' reviewed readings: what each statement says of a topic, in three languages."""
    found = []
    for path in sorted(folder.glob("*/reading.yml")):
        if path.parent.name in leave_out:
            continue
        reading = yaml.safe_load(path.read_text(encoding="utf-8"))
        passages = reading.get("passages") or {}
        for topic, entry in (reading.get("topics") or {}).items():
            if entry.get("status") != "reviewed" or topic == "other":
                continue
            texts = list((entry.get("answer") or {}).values())
            for passage in (entry.get("passages") or [])[:4]:
                texts += (passages.get(passage, {}).get("gist") or {}).values()
            found += [(text, ASK + topic) for text in texts]
    return found


@DefaultV1Recipe.register(DefaultV1Recipe.ComponentType.INTENT_CLASSIFIER, is_trainable=True)
class IntentFinder(GraphComponent, IntentClassifier):
    """Sets `intent` and `intent_ranking`, as Rasa's own classifiers do."""

    @classmethod
    def required_components(cls) -> List[type]:
        return []

    @staticmethod
    def get_default_config() -> Dict[Text, Any]:
        return {
            "word_ngrams": [1, 2],
            "letter_ngrams": [2, 5],
            # How much an error weighs against a simple model.
            "C": 1.2,
            # Margins to confidences: softmax(margin * sharpness).
            "sharpness": 5.0,
            "ranking_length": 10,
            # What the best sentence of a longer text counts beside the whole of it.
            "sentence_weight": 1.0,
            # Where the companies' readings lie; they are trained on too, except those left out for an honest measure.
            "statements": "policies",
            "leave_out": [],
        }

    @classmethod
    def fingerprint_addon(cls, config: Dict[str, Any]) -> Optional[str]:
        # Rasa's fingerprint covers this class and its configuration; not the library, the file, nor what it reads.
        digest = hashlib.sha256(sklearn.__version__.encode() + Path(__file__).read_bytes())
        for path in sorted(Path(config.get("statements", "policies")).glob("*/reading.yml")):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def __init__(self, config: Dict[Text, Any], storage: ModelStorage, resource: Resource) -> None:
        self.config = config
        self._storage, self._resource = storage, resource
        self._intents = Linear(config["word_ngrams"], config["letter_ngrams"], config["C"])
        self._orders = Linear([1, 3], config["letter_ngrams"], 0.5, "balanced")

    @classmethod
    def create(
        cls,
        config: Dict[Text, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
    ) -> "IntentFinder":
        return cls(config, model_storage, resource)

    def train(self, training_data: TrainingData) -> Resource:
        examples = [example for example in training_data.intent_examples if example.get(TEXT)]
        texts = [normalise(example.get(TEXT)) for example in examples]
        labels = [example.get(INTENT) for example in examples]
        # Every question and every order teaches how questions and orders are put, whatever they are about.
        sides = [
            (text, label.split("_")[0])
            for text, label in zip(texts, labels, strict=True)
            if label.startswith((ASK, REQUEST)) and label != REQUEST + "status"
        ]
        leave_out = list(self.config["leave_out"]) + os.environ.get("LEAVE_OUT", "").split()
        learned = statement_examples(Path(self.config["statements"]), leave_out)
        known = set(labels)
        learned = [(text, label) for text, label in learned if label in known]
        self._intents.fit(texts + [normalise(text) for text, _ in learned], labels + [label for _, label in learned])
        self._orders.fit([text for text, _ in sides], [side for _, side in sides])
        with self._storage.write_to(self._resource) as folder:
            self._intents.save(folder, "intents")
            self._orders.save(folder, "orders")
        return self._resource

    def process(self, messages: List[Message]) -> List[Message]:
        for message in messages:
            if message.get(INTENT) and not message.get(TEXT):
                continue
            ranking, margin = self._rank(message.get(TEXT) or "")
            message.set(
                INTENT, ranking[0] if ranking else {"name": NOT_UNDERSTOOD, "confidence": 1.0}, add_to_output=True
            )
            message.set("intent_ranking", ranking, add_to_output=True)
            # How far the text is from everything that was trained on: confidences only compare the intents.
            message.set("margin", margin, add_to_output=True)
        return messages

    def _rank(self, text: Text) -> Tuple[List[Dict[Text, Any]], float]:
        whole = normalise(text)
        if not whole or not self._intents.labels:
            return [], -1.0
        margins = self._intents.margins(whole)
        nearest = round(float(margins.max()), 4)
        parts = sentences(text)
        if len(parts) > 1:
            # A story before the question: its sentences speak for themselves.
            best = np.max([self._intents.margins(part) for part in parts], axis=0)
            nearest = max(nearest, round(float(best.max()), 4))
            margins = margins + self.config["sentence_weight"] * best
        margins = self._by_form(whole, margins)
        scaled = np.exp((margins - margins.max()) * self.config["sharpness"])
        confidences = scaled / scaled.sum()
        first = np.argsort(-confidences)[: self.config["ranking_length"]]
        labels = self._intents.labels
        ranking = [{"name": labels[index], "confidence": round(float(confidences[index]), 4)} for index in first]
        return ranking, nearest

    def _by_form(self, text: Text, margins: np.ndarray) -> np.ndarray:
        """Of a question and an order about one right, the one that the form of the text speaks for comes first."""
        is_order = None
        place = {label: index for index, label in enumerate(self._intents.labels)}
        result = margins.copy()
        for label, request in place.items():
            ask = place.get(ASK + label[len(REQUEST) :]) if label.startswith(REQUEST) else None
            if ask is None:
                continue
            if is_order is None:
                is_order = self._orders.labels.index(REQUEST[:-1]) == int(self._orders.margins(text)[0] > 0)
            high, low = max(margins[ask], margins[request]), min(margins[ask], margins[request])
            result[request], result[ask] = (high, low) if is_order else (low, high)
        return result

    @classmethod
    def load(
        cls,
        config: Dict[Text, Any],
        model_storage: ModelStorage,
        resource: Resource,
        execution_context: ExecutionContext,
        **kwargs: Any,
    ) -> "IntentFinder":
        finder = cls(config, model_storage, resource)
        with model_storage.read_from(resource) as folder:
            finder._intents.load(folder, "intents")
            finder._orders.load(folder, "orders")
        return finder
