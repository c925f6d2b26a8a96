"""How well each arrangement of the understanding finds topic, right and the other intents, and what it costs.

    engine/.venv/bin/python -m benchmarks.understanding [ARRANGEMENT ...] [--leave-out COMPANY ...]
    engine/.venv/bin/python -m benchmarks.understanding --leave-one-company-out
    engine/.venv/bin/python -m benchmarks.understanding --margins

Each arrangement is trained on data/nlu/ and on what the companies' readings say, and asked every line of
tests/questions/. `--margins` is five-fold cross-validation on the training data, and 200 texts that nobody can be
expected to understand. It runs in the engine's environment; every training is a process of its own, so that its memory
can be told. Training is timed in processor seconds, parsing by the best of five runs a line, so that what else the
machine does meanwhile counts little. Nothing but sums is printed.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
QUESTIONS = ROOT / "tests" / "questions"
MOST_SECONDS = 600
FOLDS = 5
REPEATS = 5
SENTENCES = 125
"""How many of FOREIGN are sentences; the rest is what hands and cats leave on a keyboard."""

Example = tuple[str, str]
Ranking = list[str]

_CHITCHAT = ("greet", "thank", "goodbye", "bot_challenge", "affirm", "deny", "cancel", "insult")
OTHER_KINDS: dict[str, tuple[str, ...]] = {
    "human": ("talk_to_human",),
    "breach": ("report_breach",),
    "status": ("request_status",),
    "chitchat": _CHITCHAT,
    "language": ("change_language",),
    "out_of_scope": ("out_of_scope",),
}
"""Which intents are right for a line's kind. Lines of kind pii are left out: the door answers them before the model."""

# Nynorsk and dialect words, each for a bokmål word that it stands for in nearly every sentence.
_WORDS = """
    jeg: eg æ jæ | meg: mæ mej mei | deg: dæ | dere: dykk dokker dokke dåkk dåkker dåkkar dokk | deres: dykkar dokkers
    hva: kva ka ke | hvordan: korleis koss korsn kossen åssen kordan | hvor: kor korr kvar | hvem: kven kem
    hvorfor: kvifor kefor koffor koffer | ikke: ikkje itj ikkj ittj isje | noe: noko nokke nåkka nåkke
    noen: nokon nokre nån | være: vere | er: e | var: va | ble: vart blei | blir: vert | fra: frå ifrå | til: te åt
    mye: mykje mykji | bare: berre bærre | selv: sjølv sjøl | opplysninger: opplysningar
    opplysningene: opplysningane opplysningan | personopplysninger: personopplysningar
    personopplysningene: personopplysningane
    informasjonskapsler: informasjonskapslar | rettigheter: rettar | rettighetene: rettane | samtykke: samtykkje
    lagrer: lagrar | lagret: lagra | slettet: sletta | sletter: slettar | bruker: brukar | deler: delar | samler: samlar
    hører: høyrer | gjør: gjer | gjøre: gjere | gir: gjev | gi: gje | vet: veit | hjemme: heime | navnet: namnet
    navn: namn | ansatte: tilsette | søker: søkjar | virksomheten: verksemda | enkelt: einskild | en: ein ei | et: eit
    de: dei | disse: desse | min: mi | kommer: kjem | komme: koma
"""
MAPPED = {
    other: word.strip()
    for word, others in (entry.split(":") for entry in re.split(r"[|\n]", _WORDS) if entry.strip())
    for other in others.split()
}

# 200 texts to which "I did not understand" is the right reply: 125 sentences in languages that the assistant does not
# speak, a third of them about privacy, and 75 that hands or cats leave on a keyboard.
FOREIGN = """
Jaka jest dzisiaj pogoda w Krakowie?
Gdzie mogę kupić bilet na pociąg do Gdańska?
Proszę o informację, jakie dane osobowe państwo przechowują.
Chciałbym usunąć swoje konto i wszystkie dane.
Nie rozumiem, dlaczego dostaję te wiadomości.
Mój brat pracuje w sklepie od dwóch lat.
Czy ktoś może mi pomóc?
Dziękuję bardzo, do widzenia
Ile to kosztuje?
Wczoraj padał deszcz i nie wyszliśmy z domu.
Czy udostępniacie moje dane innym firmom?
Zgubiłem kartę i nie wiem, do kogo zadzwonić.
Kiedy otwieracie jutro rano?
Kto jest administratorem danych?
Na śniadanie jadłem chleb z serem.
Wie lange speichern Sie meine Daten?
Ich möchte wissen, welche Informationen Sie über mich haben.
Wo finde ich den nächsten Bahnhof?
Können Sie mir bitte weiterhelfen?
Das Wetter ist heute sehr schlecht.
Mein Hund hat gestern die Zeitung gefressen.
Bitte löschen Sie mein Konto.
Was kostet ein Zimmer mit Frühstück?
Wir haben uns seit Jahren nicht gesehen.
Geben Sie meine Adresse an Dritte weiter?
Guten Morgen, haben Sie geöffnet?
Ich verstehe leider kein Wort.
Der Zug hatte zwei Stunden Verspätung.
Wer ist bei Ihnen für den Datenschutz zuständig?
Kinder unter zwölf Jahren zahlen nichts.
¿Cuánto tiempo guardan mis datos?
Quiero borrar mi cuenta, por favor.
¿Dónde está la estación de autobuses?
No entiendo nada de lo que dice.
Mañana vamos a la playa con los niños.
¿Comparten mi información con otras empresas?
Me duele la cabeza desde ayer.
Buenas tardes, quería hacer una pregunta.
¿Qué hora es?
La sopa estaba demasiado fría.
Necesito hablar con alguien que hable español.
Hace mucho calor aquí.
Combien de temps gardez-vous mes données ?
Je voudrais supprimer mon compte.
Où se trouve la gare la plus proche ?
Je ne comprends pas ce que vous dites.
Il pleut depuis trois jours.
Est-ce que vous vendez mes informations ?
Qui est responsable du traitement ?
Merci beaucoup et bonne journée
Le chat dort sur le canapé.
Quel est le prix du billet ?
Nous avons mangé du fromage et du pain.
Puis-je parler à quelqu'un ?
Per quanto tempo conservate i miei dati?
Vorrei cancellare il mio profilo.
Dove posso parcheggiare la macchina?
Non capisco una parola di quello che dice.
Ieri sera abbiamo visto un bel film.
Chi ha accesso alle mie informazioni?
Buongiorno, avrei bisogno di aiuto.
Quanto costa il biglietto?
Mia sorella abita vicino al mare.
La pasta era buonissima.
Hoe lang bewaart u mijn gegevens?
Ik wil graag mijn account verwijderen.
Waar kan ik mijn fiets neerzetten?
Het regent al de hele week.
Wie is verantwoordelijk voor de verwerking?
Kunt u mij misschien even helpen?
Mijn buurman heeft een nieuwe auto gekocht.
Deelt u mijn gegevens met anderen?
Wij gaan zaterdag naar de markt.
Ik begrijp er helemaal niets van.
Kuinka kauan säilytätte tietojani?
Haluaisin poistaa tilini.
Missä on lähin kauppa?
En ymmärrä tätä ollenkaan.
Huomenna sataa varmaan lunta.
Voisiko joku auttaa minua?
Kuka vastaa tietosuojasta?
Koira nukkuu sohvalla.
Paljonko tämä maksaa?
Hyvää huomenta kaikille
Juna lähtee kello viisi.
Luovutatteko tietoja muille?
Verilerimi ne kadar süre saklıyorsunuz?
Hesabımı silmek istiyorum.
En yakın eczane nerede?
Bugün hava çok güzel.
Ne dediğinizi anlamıyorum.
Bilgilerimi kimlerle paylaşıyorsunuz?
Kardeşim geçen yıl evlendi.
Yardım edebilir misiniz?
Bir kahve ve su lütfen.
Yarın sabah erken kalkmam lazım.
Kiek laiko saugote mano duomenis?
Noriu ištrinti savo paskyrą.
Kur yra artimiausia parduotuvė?
Nieko nesuprantu.
Šiandien labai šalta.
Kas atsako už duomenų apsaugą?
Mano sesuo gyvena Kaune.
Ar galite man padėti?
Kiek tai kainuoja?
Rytoj važiuosime prie ežero.
Intee in le'eg ayaad kaydisaan xogtayda?
Waxaan rabaa inaan tirtiro akoonkayga.
Ma i caawin kartaa?
Maanta roob baa da'aya.
Waan fahmi la'ahay waxaad tidhi.
Walaalkay wuxuu ku nool yahay Hargeysa.
Waa imisa qiimaha?
Subax wanaagsan dhammaan
Kui kaua te minu andmeid hoiate?
Soovin oma konto kustutada.
Kus on lähim bussipeatus?
Ma ei saa millestki aru.
Скільки часу ви зберігаєте мої дані?
Хочу видалити свій обліковий запис.
Де найближча зупинка?
Сьогодні дуже холодно.
كم من الوقت تحتفظون ببياناتي؟
أريد حذف حسابي من فضلك
لا أفهم شيئا
asdfghjkl
qwertyuiop
asdf asdf asdf
jkl jkl jklø
fdsa fdsa
hjkl;
zxcvbnm,.-
qweqweqwe
wertyu sdfghj
lkjhgfdsa
poiuytrewq
mnbvcxz
dfgdfgdfg
ghghghghgh
aaaaaaaaaaaa
øøøøøøøøø
xxxxxxx
kkkkkk kkk kkkk
jjjjjjjjjjjjjjjj
oooooooooooo
.,.,.,.,.,
???!!!???
------
1234567890
11111111
9876 5432 10
123 qwe 456 rty
q1w2e3r4t5
asd123asd123
hfjdksla
gjfkdls hgjfk dlsa
vnbmcx vbnm
tyruei wotyru
slkdfj sldkfj
weoiruw oeiru
xcvm,nxcv mxcvn
pqowie ruty
alskdjfhg
qpwoeiruty
zmxncbv
bnvmc bnvmc
rtyfgh vbn
uiojkl nm
iuh iuh iuhg
kjhkjhkjh
lkj lkj poi poi
dsfsdf sdf sdfsdf
sdfsdfsdf sdfsdf
fghfgh tryrty
wqewqe dsadsa
asfasfas fasf
gsdgsdg
hdfhdfh dfhdfh
bvcbvcb
nmnmnmn
yuyuyu yuyu
trtrtrt
vcxvcxv cxvcx
ewrewr werwer
åpåpåpå
æøåæøå
ølkølkølk
kjsdhf kjsdhf ksjdhf
iweur oiweur
xkcd zxkq wqzx
bzzt grmpf hrgl
blubb blabb blibb
wubba lubba
trololo lolo lo
ksks ksks psps
mmmmhhhhmmm
rrrrrrrr
tttt yyyy uuuu
fj dk sl a
q w e r t y u i o p
""".strip().splitlines()


# ---- what the measured processes do -------------------------------------------------------------------------------


def read_examples() -> list[Example]:
    """What Rasa's own reader finds in data/nlu, which holds intents only, in a hundredth of its time."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = []
    for path in sorted((ROOT / "data" / "nlu").rglob("*.yml")):
        for entry in yaml.load(path.read_text(encoding="utf-8"), loader)["nlu"]:  # noqa: S506
            lines = entry["examples"].splitlines()
            found += [(line[2:].strip(), entry["intent"]) for line in lines if line.startswith("- ")]
    return list(dict.fromkeys(found))


def training_data(examples: Sequence[Example]) -> Any:
    from rasa.shared.nlu.training_data.message import Message
    from rasa.shared.nlu.training_data.training_data import TrainingData

    return TrainingData([Message.build(text=text, intent=intent) for text, intent in examples])


class Finder:
    """The shipped classifier, IntentFinder, as it is or with parts of it changed."""

    def __init__(self, folder: Path, leave_out: list[str], **config: Any) -> None:
        from rasa.engine.storage.local_model_storage import LocalModelStorage
        from rasa.engine.storage.resource import Resource

        from engine.intents import IntentFinder

        storage = LocalModelStorage.create(folder)
        configuration = {**IntentFinder.get_default_config(), "leave_out": leave_out, **config}
        self.finder = IntentFinder(configuration, storage, Resource("finder"))

    def fit(self, examples: Sequence[Example]) -> None:
        self.finder.train(training_data(examples))

    def rank(self, text: str) -> Ranking:
        return self.rank_with_margin(text)[0]

    def rank_with_margin(self, text: str) -> tuple[Ranking, float]:
        from rasa.shared.nlu.training_data.message import Message

        message = Message.build(text=text)
        self.finder.process([message])
        return [entry["name"] for entry in message.get("intent_ranking")], message.get("margin")


def flat(finder: Finder) -> Finder:
    from engine import intents

    intents.sentences = lambda text: []
    finder.finder._by_form = lambda text, margins: margins
    return finder


def with_vectorizer(finder: Finder, index: int) -> Finder:
    for model in (finder.finder._intents, finder.finder._orders):
        model._vectorizers = [model._vectorizers[index]]
    return finder


def with_spelling(finder: Finder, spelling: Callable[[str], str]) -> Finder:
    """Before training and parsing, for every text."""
    from engine import intents

    original = intents.normalise
    intents.normalise = lambda text: spelling(original(text))
    return finder


def folded(text: str) -> str:
    """As people write who have no æøå: «naa», «saa», «faar» are «na», «sa», «far» as well."""
    for old, new in (("aa", "a"), ("ae", "a"), ("oe", "o"), ("æ", "a"), ("ø", "o"), ("å", "a")):
        text = text.replace(old, new)
    return text


def mapped(text: str) -> str:
    return re.sub(r"\w+", lambda match: MAPPED.get(match[0], match[0]), text)


def with_classifier(finder: Finder, make: Callable[..., Any]) -> Finder:
    """Another linear classifier of the intents; of questions and orders the shipped one still judges."""
    from engine import intents

    shipped = intents.LinearSVC

    class Either:
        def __init__(self, **settings: Any) -> None:
            self._settings = settings

        def fit(self, features: Any, labels: list[str]) -> None:
            classifier = shipped(**self._settings) if len(set(labels)) == 2 else make(shipped, self._settings)
            classifier.fit(features, labels)
            self.classes_, self.coef_, self.intercept_ = classifier.classes_, classifier.coef_, classifier.intercept_

    intents.LinearSVC = Either
    return finder


def logistic(shipped: Any, settings: dict[str, Any]) -> Any:
    """Multinomial, lbfgs, at most 40 iterations; C by a fifth of the training data held out."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10.0, solver="lbfgs", max_iter=40, random_state=1)


def with_naive_bayes(shipped: Any, settings: dict[str, Any]) -> Any:
    """Complement naive Bayes is linear too: its weights, centred on their mean, are added to those of the shipped one.

    The weight was chosen by a fifth of the training data held out; it is less than a tenth because nothing gains by it.
    """
    from sklearn.naive_bayes import ComplementNB

    class Ensemble(shipped):
        def fit(self, features: Any, labels: list[str]) -> None:
            super().fit(features, labels)
            weights = ComplementNB(alpha=0.3).fit(features, labels).feature_log_prob_
            self.coef_ = self.coef_ + 0.05 * (weights - weights.mean(axis=0))

    return Ensemble(**settings)


class TwoClassifiers:
    """One model for the topic, whatever is wanted with it, and one for what the text does: ask, order, or neither."""

    def __init__(self, folder: Path, leave_out: list[str]) -> None:
        from engine.intents import IntentFinder, Linear

        self._leave_out = leave_out
        self._topics = Linear([1, 2], [2, 5], IntentFinder.get_default_config()["C"])
        self._acts = Linear([1, 3], [2, 5], 0.5, "balanced")

    def _pair(self, label: str) -> tuple[str, str]:
        act, _, topic = label.partition("_")
        return (topic, act) if act in ("ask", "request") and label != "request_status" else (label, "other")

    def fit(self, examples: Sequence[Example]) -> None:
        from engine.intents import normalise, statement_examples

        self._labels = sorted({label for _, label in examples})
        learned = statement_examples(ROOT / "policies", self._leave_out)
        learned = [entry for entry in learned if entry[1] in self._labels]
        pairs = [self._pair(label) for _, label in [*examples, *learned]]
        texts = [normalise(text) for text, _ in [*examples, *learned]]
        self._topics.fit(texts, [topic for topic, _ in pairs])
        self._acts.fit(texts, [act for _, act in pairs])
        pairs = [self._pair(label) for label in self._labels]
        self._topic_of = [self._topics.labels.index(topic) for topic, _ in pairs]
        self._act_of = [self._acts.labels.index(act) for _, act in pairs]

    def rank(self, text: str) -> Ranking:
        import numpy as np

        from engine.intents import normalise, sentences

        topics, acts = self._topics.margins(normalise(text)), self._acts.margins(normalise(text))
        parts = sentences(text)
        if len(parts) > 1:
            topics = topics + np.max([self._topics.margins(part) for part in parts], axis=0)
        scores = topics[self._topic_of] + acts[self._act_of]
        return [self._labels[index] for index in np.argsort(-scores)[:10]]


class Diet:
    """Rasa's DIETClassifier on its own featurizers: words, and letters in words of one to four; intents only."""

    EPOCHS = 30

    def __init__(self, folder: Path, leave_out: list[str]) -> None:
        from rasa.engine.graph import ExecutionContext, GraphSchema
        from rasa.engine.storage.local_model_storage import LocalModelStorage

        self._leave_out = leave_out
        self._storage = LocalModelStorage.create(folder)
        self._context = ExecutionContext(GraphSchema({}), "understanding")

    def fit(self, examples: Sequence[Example]) -> None:
        from rasa.engine.storage.resource import Resource
        from rasa.nlu.classifiers.diet_classifier import DIETClassifier
        from rasa.nlu.featurizers.sparse_featurizer.count_vectors_featurizer import CountVectorsFeaturizer
        from rasa.nlu.tokenizers.whitespace_tokenizer import WhitespaceTokenizer

        from engine.intents import statement_examples

        known = {label for _, label in examples}
        learned = [entry for entry in statement_examples(ROOT / "policies", self._leave_out) if entry[1] in known]
        data = training_data(list(dict.fromkeys([*examples, *learned])))
        tokenizer = WhitespaceTokenizer(WhitespaceTokenizer.get_default_config())
        tokenizer.process_training_data(data)
        self._steps = [tokenizer]
        for name, config in (("words", {}), ("letters", {"analyzer": "char_wb", "min_ngram": 1, "max_ngram": 4})):
            config = {**CountVectorsFeaturizer.get_default_config(), **config}
            featurizer = CountVectorsFeaturizer.create(config, self._storage, Resource(name), self._context)
            featurizer.train(data)
            featurizer.process_training_data(data)
            self._steps.append(featurizer)
        config = {
            **DIETClassifier.get_default_config(),
            "epochs": int(os.environ.get("DIET_EPOCHS", self.EPOCHS)),
            "entity_recognition": False,
            "constrain_similarities": True,
            "random_seed": 1,
        }
        resource_of_diet = Resource("diet")
        DIETClassifier.create(config, self._storage, resource_of_diet, self._context).train(data)
        self._classifier = DIETClassifier.load(config, self._storage, resource_of_diet, self._context)

    def rank(self, text: str) -> Ranking:
        from rasa.shared.nlu.training_data.message import Message

        messages = [Message.build(text=text)]
        for step in self._steps:
            messages = step.process(messages)
        (message,) = self._classifier.process(messages)
        return [entry["name"] for entry in message.get("intent_ranking")]


ARRANGEMENTS: dict[str, Callable[[Path, list[str]], Any]] = {
    "linear": Finder,
    "linear-flat": lambda folder, out: flat(Finder(folder, out)),
    "linear-no-statements": lambda folder, out: Finder(folder, out, statements=str(folder / "none")),
    "words-only": lambda folder, out: with_vectorizer(Finder(folder, out), 0),
    "letters-only": lambda folder, out: with_vectorizer(Finder(folder, out), 1),
    "folded": lambda folder, out: with_spelling(Finder(folder, out), folded),
    "nynorsk-mapped": lambda folder, out: with_spelling(Finder(folder, out), mapped),
    "naive-bayes-ensemble": lambda folder, out: with_classifier(Finder(folder, out), with_naive_bayes),
    "two-classifiers": TwoClassifiers,
    "logistic": lambda folder, out: with_classifier(Finder(folder, out), logistic),
    "diet": Diet,
}


def read_questions() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(QUESTIONS.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield path.stem, json.loads(line)


def judge(question: dict[str, Any], ranking: Ranking) -> dict[str, bool]:
    """For each measure that the line has, whether it is met."""
    kind, first = question.get("kind"), ranking[0] if ranking else ""
    if kind in ("answer", "silent"):
        accepted = {"ask_" + topic for topic in (question["topic"], *question.get("also_topics", ()))}
        met = {"topic": first in accepted, "topic in 3": bool(accepted & set(ranking[:3]))}
        return {**met, "overall": met["topic"]}
    if kind == "request":
        right = first == "request_" + question["right"]
        return {"right": right, "overall": right}
    if kind in OTHER_KINDS:
        right = first in OTHER_KINDS[kind]
        return {"other": right, "overall": right}
    return {}


COLUMNS = ("question", "order", "delete this chat", "something else")


def column(label: str) -> str:
    if label.startswith("ask_"):
        return COLUMNS[0]
    if label.startswith("request_") and label != "request_status":
        return COLUMNS[1]
    return COLUMNS[2] if label == "delete_conversation" else COLUMNS[3]


def row_of_question(question: dict[str, Any], rights: Sequence[str]) -> str:
    if question.get("kind") == "request":
        return "order"
    if question.get("kind") in ("answer", "silent") and question["topic"] in rights:
        return "question about a right"
    return ""


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def built(name: str, folder: Path, leave_out: list[str]) -> Any:
    return ARRANGEMENTS[name](folder, leave_out)


def rights_of(labels: Sequence[str]) -> list[str]:
    return [label[8:] for label in labels if label.startswith("request_") and "ask_" + label[8:] in labels]


def measure(name: str, leave_out: list[str]) -> dict[str, Any]:
    examples = read_examples()
    rights = [right for right in rights_of([label for _, label in dict.fromkeys(examples)]) if right != "other"]
    with tempfile.TemporaryDirectory(prefix="personvern-understanding-") as folder:
        arrangement = built(name, Path(folder), leave_out)
        before = peak()
        processor, wall = time.process_time(), time.perf_counter()
        arrangement.fit(examples)
        figures: dict[str, Any] = {
            "examples": len(examples),
            "seconds": time.process_time() - processor,
            "wall_seconds": time.perf_counter() - wall,
            "memory_before": before,
            "memory": peak(),
        }
        arrangement.rank("hei")
        figures["lines"], times = [], []
        confusion: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
        for file, question in read_questions():
            best = float("inf")
            for _ in range(REPEATS):
                start = time.perf_counter()
                ranking = arrangement.rank(question["text"])
                best = min(best, time.perf_counter() - start)
            times.append(1000 * best)
            line = {"file": file, "lang": question.get("lang"), "id": question["id"]}
            figures["lines"].append({**line, "met": judge(question, ranking)})
            row = row_of_question(question, rights)
            if row:
                confusion[row][column(ranking[0])] += 1
    times.sort()
    figures["p50"], figures["p95"] = times[len(times) // 2], times[int(len(times) * 0.95)]
    figures["confusion"] = confusion
    return figures


def measure_margins(name: str, leave_out: list[str]) -> dict[str, Any]:
    """Margins, lengths and judgements of every training example held out once, and of the foreign texts."""
    folds: dict[str, list[Example]] = {}
    for text, label in read_examples():
        # A text that is written twice must not be learnt and asked.
        folds.setdefault(" ".join(re.findall(r"\w+|\?", text.lower())), []).append((text, label))
    groups = list(folds.values())
    order = sorted(range(len(groups)), key=lambda number: (number * 7919) % len(groups))
    rights = rights_of(sorted({label for group in groups for _, label in group}))
    real, foreign = [], []
    confusion: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0))
    for fold in range(FOLDS):
        held_out = {number for place, number in enumerate(order) if place % FOLDS == fold}
        with tempfile.TemporaryDirectory(prefix="personvern-understanding-") as folder:
            finder = built(name, Path(folder), leave_out)
            finder.fit([entry for number, group in enumerate(groups) if number not in held_out for entry in group])
            for number in sorted(held_out):
                for text, label in groups[number]:
                    ranking, margin = finder.rank_with_margin(text)
                    first = ranking[0] if ranking else ""
                    real.append((margin, len(text.split()), first == label, label == "out_of_scope"))
                    row = ""
                    if label == "delete_conversation":
                        row = COLUMNS[2]
                    elif label.startswith("request_") and label != "request_status":
                        row = "order"
                    elif label.startswith("ask_") and label[4:] in rights and label != "ask_other":
                        row = "question about a right"
                    if row:
                        confusion[row][column(first)] += 1
            foreign += [(finder.rank_with_margin(text)[1], number < SENTENCES) for number, text in enumerate(FOREIGN)]
    with tempfile.TemporaryDirectory(prefix="personvern-understanding-") as folder:
        finder = built(name, Path(folder), leave_out)
        finder.fit([entry for group in groups for entry in group])
        questions = [finder.rank_with_margin(question["text"])[1] for _, question in read_questions()]
    return {"real": real, "foreign": foreign, "questions": questions, "confusion": confusion}


def run_inside(name: str, leave_out: list[str], margins: bool) -> None:
    """In a process of its own: the last line that it prints is JSON."""
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS + 5))
    warnings.simplefilter("ignore")
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        figures = (measure_margins if margins else measure)(name, leave_out)
    print(json.dumps(figures))


# ---- what the measuring process does: it starts the others and adds up; it stays small, for their memory's sake ----


class Failed(Exception):
    """A process of those ended without figures; the text says which."""


def outcome(name: str, leave_out: Sequence[str] = (), margins: bool = False) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.understanding", name, "--inside", "--leave-out", *leave_out]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TF_INTRA_OP_PARALLELISM_THREADS": "2",
        "TF_INTER_OP_PARALLELISM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "RASA_TELEMETRY_ENABLED": "false",
        "PYTHONWARNINGS": "ignore",
    }
    environment.pop("LEAVE_OUT", None)
    result = subprocess.run(
        command + ["--margins"] * margins, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    if result.returncode:
        raise Failed(f"{name} ended with {result.returncode}")
    return json.loads(result.stdout.splitlines()[-1])


def share(met: Sequence[bool]) -> str:
    return f"{100 * sum(met) / len(met):.1f}" if met else "-"


def met_of(lines: Sequence[dict[str, Any]], measure_name: str, **wanted: str) -> list[bool]:
    return [
        line["met"][measure_name]
        for line in lines
        if measure_name in line["met"] and all(line[key] == value for key, value in wanted.items())
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [tuple(head), tuple("-" * 3 for _ in head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells) + "\n"


def confusion_table(confusion: dict[str, dict[str, int]]) -> str:
    rows = [(row, *(str(counts[name]) for name in COLUMNS)) for row, counts in sorted(confusion.items(), reverse=True)]
    return table(("taken for", *COLUMNS), rows)


def arrangements(names: Sequence[str], leave_out: Sequence[str]) -> None:
    measures = ("topic", "topic in 3", "right", "other", "overall")
    rows, costs, confusion, last = [], [], None, None
    for name in names:
        try:
            found = outcome(name, leave_out)
        except Failed as failed:
            print(f"understanding: {failed}", file=sys.stderr, flush=True)
            continue
        lines = found["lines"]
        rows.append(
            (
                name,
                *(share(met_of(lines, measured)) for measured in measures),
                *(share(met_of(lines, "overall", lang=language)) for language in ("nb", "nn", "en")),
                share(met_of(lines, "topic", file="dialect")),
                share(met_of(lines, "topic", file="short")),
            )
        )
        costs.append(
            (name, f"{found['seconds']:.0f}", f"{found['memory']:.0f}", f"{found['p50']:.2f}", f"{found['p95']:.2f}")
        )
        print(" ".join((*rows[-1], *costs[-1][1:])), file=sys.stderr, flush=True)
        if name == "linear":
            confusion = found["confusion"]
        last = found
    if last is None:
        sys.exit(1)
    lines = last["lines"]
    counts = ", ".join(f"{len(met_of(lines, measured))} {measured}" for measured in measures)
    print(f"{last['examples']} training examples; lines: {counts}\n")
    groups = ("nb", "nn", "en", "dialect, topic", "short, topic")
    print(table(("share right, %", *measures, *groups), rows))
    head = ("training, s", "peak memory, MB", "parse p50, ms", "p95, ms")
    print(table(("cost", *head), costs))
    print(f"of the memory {last['memory_before']:.0f} MB are there before training (Rasa and its libraries)\n")
    if confusion:
        print("linear, on the questions:\n\n" + confusion_table(confusion))


def leave_one_company_out() -> None:
    companies = sorted(path.parent.name for path in (ROOT / "policies").glob("*/reading.yml"))
    measures = ("topic", "topic in 3", "right", "overall")
    with_all = outcome("linear")["lines"]
    rows, all_without = [], []
    for company in companies:
        without = [line for line in outcome("linear", [company])["lines"] if line["file"] == company]
        all_without += without
        pairs = [(met_of(with_all, name, file=company), met_of(without, name)) for name in measures]
        rows.append((company, *(f"{share(trained)} / {share(left_out)}" for trained, left_out in pairs)))
    with_all = [line for line in with_all if line["file"] in companies]
    pairs = [(met_of(with_all, name), met_of(all_without, name)) for name in measures]
    rows.append(("all five", *(f"{share(trained)} / {share(left_out)}" for trained, left_out in pairs)))
    print(table(("with / without its reading, %", *measures), rows))


def margins() -> None:
    found = outcome("linear", margins=True)
    real, foreign = found["real"], found["foreign"]
    groups = {
        "real": [entry[0] for entry in real],
        "of 1-3 words": [entry[0] for entry in real if entry[1] <= 3],
        "of 4 and more": [entry[0] for entry in real if entry[1] > 3],
        "real and rightly understood": [entry[0] for entry in real if entry[2]],
        "out of scope": [entry[0] for entry in real if entry[3]],
        "questions": found["questions"],
        "foreign": [entry[0] for entry in foreign],
        "sentences": [entry[0] for entry in foreign if entry[1]],
        "keyboard": [entry[0] for entry in foreign if not entry[1]],
    }
    rows = []
    for hundredths in range(-50, -101, -5):
        limit = hundredths / 100
        rows.append((f"{limit:.2f}", *(share([margin <= limit for margin in values]) for values in groups.values())))
    print(f"{len(real)} real texts, each held out once; {len(FOREIGN)} foreign ones, {FOLDS} times each\n")
    print(f"real texts first in their own intent: {share([entry[2] for entry in real])} %\n")
    print(table(("share not above, %", *groups), rows))
    print("linear, on training data held out:\n\n" + confusion_table(found["confusion"]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.understanding", description=__doc__.split("\n")[0])
    parser.add_argument("names", metavar="ARRANGEMENT", nargs="*", help=", ".join(ARRANGEMENTS) + "; all, if none")
    parser.add_argument("--leave-out", nargs="*", default=[], metavar="COMPANY", help="trained without its reading")
    parser.add_argument("--leave-one-company-out", action="store_true")
    parser.add_argument("--margins", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    unknown = set(given.names) - set(ARRANGEMENTS)
    if unknown:
        parser.error(f"no arrangement {', '.join(sorted(unknown))}")
    if given.inside:
        run_inside(given.names[0], given.leave_out, given.margins)
    elif given.margins:
        margins()
    elif given.leave_one_company_out:
        leave_one_company_out()
    else:
        arrangements(given.names or list(ARRANGEMENTS), given.leave_out)


if __name__ == "__main__":
    main()
