"""Understanding: from a text to the likeliest intents.

One linear classifier over words and letters for all three languages. It was chosen by measuring
(docs/understanding.md): Rasa's own LogisticRegressionClassifier on the same features takes forty times as long to
train and is no better.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Text

import numpy as np
import sklearn
from rasa.engine.graph import ExecutionContext, GraphComponent
from rasa.engine.recipes.default_recipe import DefaultV1Recipe
from rasa.engine.storage.resource import Resource
from rasa.engine.storage.storage import ModelStorage
from rasa.nlu.classifiers.classifier import IntentClassifier
from rasa.shared.nlu.constants import INTENT, TEXT
from rasa.shared.nlu.training_data.message import Message
from rasa.shared.nlu.training_data.training_data import TrainingData
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

logger = logging.getLogger(__name__)

_SPACE = re.compile(r"\s+")
_LONGEST = 2_000


def normalise(text: Text) -> Text:
    return _SPACE.sub(" ", text[:_LONGEST].lower()).strip()


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
            "C": 0.7,
            # Margins to confidences: softmax(margin * sharpness).
            "sharpness": 5.0,
            "ranking_length": 10,
        }

    @staticmethod
    def fingerprint_addon(config: Dict[str, Any]) -> Optional[str]:
        # The fingerprint covers this class, not the library nor the functions beside it.
        return sklearn.__version__ + Path(__file__).read_text()

    def __init__(self, config: Dict[Text, Any], storage: ModelStorage, resource: Resource) -> None:
        self.config = config
        self._storage, self._resource = storage, resource
        self._vectorizers = [
            TfidfVectorizer(
                ngram_range=tuple(config["word_ngrams"]),
                token_pattern=r"\w+",  # noqa: S106
                sublinear_tf=True,
                lowercase=False,
                dtype=np.float32,
            ),
            TfidfVectorizer(
                analyzer="char_wb",
                ngram_range=tuple(config["letter_ngrams"]),
                sublinear_tf=True,
                lowercase=False,
                dtype=np.float32,
            ),
        ]
        self._intents: List[Text] = []
        self._weights: Optional[np.ndarray] = None
        self._offsets: Optional[np.ndarray] = None

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
        features = hstack([vectorizer.fit_transform(texts) for vectorizer in self._vectorizers]).tocsr()
        classifier = LinearSVC(C=self.config["C"], random_state=1)
        classifier.fit(features, labels)
        self._intents = [str(label) for label in classifier.classes_]
        self._weights = classifier.coef_.astype(np.float32)
        self._offsets = classifier.intercept_.astype(np.float32)
        self._persist()
        return self._resource

    def process(self, messages: List[Message]) -> List[Message]:
        for message in messages:
            if message.get(INTENT) and not message.get(TEXT):
                continue
            ranking = self._rank(message.get(TEXT) or "")
            message.set(INTENT, ranking[0] if ranking else {"name": None, "confidence": 0.0}, add_to_output=True)
            message.set("intent_ranking", ranking, add_to_output=True)
        return messages

    def _rank(self, text: Text) -> List[Dict[Text, Any]]:
        if self._weights is None or self._offsets is None:
            return []
        normal = normalise(text)
        features: csr_matrix = hstack([vectorizer.transform([normal]) for vectorizer in self._vectorizers]).tocsr()
        if not features.nnz:
            return []
        margins = self._weights_times(features) + self._offsets
        scaled = np.exp((margins - margins.max()) * self.config["sharpness"])
        confidences = scaled / scaled.sum()
        best = np.argsort(-confidences)[: self.config["ranking_length"]]
        return [{"name": self._intents[index], "confidence": round(float(confidences[index]), 4)} for index in best]

    def _weights_times(self, features: csr_matrix) -> np.ndarray:
        """Only the columns that the text has: a hundred of a hundred thousand."""
        return self._weights[:, features.indices] @ features.data

    def _persist(self) -> None:
        with self._storage.write_to(self._resource) as folder:
            np.savez(folder / "weights.npz", weights=self._weights, offsets=self._offsets)
            (folder / "words.json").write_text(
                json.dumps(
                    {
                        "intents": self._intents,
                        "vocabularies": [
                            sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.get)
                            for vectorizer in self._vectorizers
                        ],
                        "idf": [
                            [round(float(value), 5) for value in vectorizer.idf_] for vectorizer in self._vectorizers
                        ],
                    },
                    ensure_ascii=False,
                )
            )

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
            words = json.loads((folder / "words.json").read_text())
            with np.load(folder / "weights.npz") as arrays:
                finder._weights, finder._offsets = np.asfortranarray(arrays["weights"]), arrays["offsets"]
        finder._intents = words["intents"]
        for vectorizer, vocabulary, idf in zip(finder._vectorizers, words["vocabularies"], words["idf"], strict=True):
            vectorizer.vocabulary_ = {term: index for index, term in enumerate(vocabulary)}
            vectorizer.idf_ = np.array(idf, dtype=np.float32)
        return finder
