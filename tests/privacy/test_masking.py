"""Every number here is made: synthetic identity numbers (month + 80), numbers that fail their check, test cards."""

import re
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from personvern.privacy.masking import Kind, Masked, mask

IDENTITY = "[fødselsnummer]"
ACCOUNT = "[kontonummer]"
CARD = "[kortnummer]"
KINDS: dict[str, Kind] = {IDENTITY: "national_identity_number", ACCOUNT: "account_number", CARD: "card_number"}

FIRST_WEIGHTS = (3, 7, 6, 1, 8, 9, 4, 5, 2)
SECOND_WEIGHTS = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)


def check_digit(number: str, weights: tuple[int, ...]) -> str:
    """One digit, or "10" where the number cannot have any."""
    remainder = sum(int(digit) * weight for digit, weight in zip(number, weights, strict=True)) % 11
    return str((11 - remainder) % 11)


def identity_number(first_six: str, individual: int = 0) -> str:
    """The first number from `individual` on that has check digits."""
    while True:
        nine = f"{first_six}{individual % 1000:03}"
        ten = nine + check_digit(nine, FIRST_WEIGHTS)
        eleven = ten + check_digit(ten, SECOND_WEIGHTS) if len(ten) == 10 else ""
        if len(eleven) == 11:
            return eleven
        individual += 1


def account_number(first_four: str = "1234") -> str:
    """Passes the account's check and not the identity number's first one."""
    for middle in range(10**6):
        ten = f"{first_four}{middle:06}"
        number = ten + check_digit(ten, SECOND_WEIGHTS)
        if len(number) == 11 and number[9] != check_digit(number[:9], FIRST_WEIGHTS):
            return number
    raise AssertionError(first_four)


def card_number(first: str, size: int) -> str:
    digits = first.ljust(size - 1, "0")
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[::-2])
    return digits + str(-(doubled + sum(map(int, digits[-2::-2]))) % 10)


def organisation_number(first: str) -> str:
    return first + check_digit(first, (3, 2, 7, 6, 5, 4, 3, 2))


SYNTHETIC = identity_number("158190")
MISTYPED = SYNTHETIC[:10] + str((int(SYNTHETIC[10]) + 1) % 10)
KONTO = account_number()
VISA = card_number("4111", 16)
SIX, FIVE = SYNTHETIC[:6], SYNTHETIC[6:]
PAIRS = f"{SIX[:2]} {SIX[2:4]} {SIX[4:]}"
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")

MASKED = [
    (SYNTHETIC, IDENTITY, "written together"),
    (MISTYPED, IDENTITY, "a typing error: check digits are not demanded"),
    (identity_number("558190"), IDENTITY, "D-number: day + 40"),
    (identity_number("155190"), IDENTITY, "H-number, or synthetic: month + 40"),
    (identity_number("157690"), IDENTITY, "synthetic: month + 65"),
    (identity_number("800000"), IDENTITY, "FH-number: no date in it"),
    (identity_number("987654"), IDENTITY, "FH-number that begins with 9"),
    (f"{SIX} {FIVE}", IDENTITY, "a space after the sixth digit"),
    (f"{SIX}-{FIVE}", IDENTITY, "a hyphen"),
    (f"{SIX} – {FIVE}", IDENTITY, "a dash with spaces"),
    (f"{SIX}.{FIVE}", IDENTITY, "a full stop"),
    (f"{SIX}/{FIVE}", IDENTITY, "a slash"),
    (f"{SIX}_{FIVE}", IDENTITY, "an underscore"),
    (f"{SIX}, {FIVE}", IDENTITY, "the birth date, then the rest"),
    (f"{SIX}\n{FIVE}", IDENTITY, "broken between two lines"),
    (f"{PAIRS} {FIVE[:3]} {FIVE[3:]}", IDENTITY, "spoken groups"),
    (f"{PAIRS} {FIVE}", IDENTITY, "a date in pairs"),
    (f"{PAIRS.replace(' ', '.')}-{FIVE}", IDENTITY, "a date with dots"),
    (f"{PAIRS.replace(' ', '.')}, {FIVE}", IDENTITY, "a date with dots, then the rest"),
    (" ".join(SYNTHETIC), IDENTITY, "digit by digit"),
    (f"{SIX}\u00a0{FIVE}", IDENTITY, "no-break space"),
    (f"{SIX}\u202f{FIVE}", IDENTITY, "narrow no-break space"),
    (f"{SIX}\u2003{FIVE}", IDENTITY, "em space"),
    (f"{SIX}\u3164{FIVE}", IDENTITY, "a letter that shows as a blank"),
    (f"{SIX}\u2011{FIVE}", IDENTITY, "no-break hyphen"),
    (f"{SIX}\u2212{FIVE}", IDENTITY, "minus sign"),
    (SYNTHETIC.translate(FULL_WIDTH), IDENTITY, "full-width digits"),
    (SYNTHETIC.translate(ARABIC), IDENTITY, "Arabic digits"),
    ("\u200b".join(SYNTHETIC), IDENTITY, "zero-width spaces"),
    (f"{SIX}\u00ad{FIVE}", IDENTITY, "soft hyphen"),
    ("\ufe0f\u20e3".join(SYNTHETIC) + "\ufe0f\u20e3", IDENTITY, "keycap emoji"),
    ("15.01.1990 12345", IDENTITY, "the year in full: thirteen digits"),
    ("15011990-12345", IDENTITY, "the year in full, written together"),
    (SYNTHETIC + "7", IDENTITY, "one digit too many"),
    (KONTO, ACCOUNT, "passes only the account's check"),
    ("1234.56.78900", ACCOUNT, "4.2.5 with dots, whatever the check"),
    ("1234 56 78900", ACCOUNT, "4.2.5 with spaces"),
    (f"NO93{KONTO}", ACCOUNT, "IBAN"),
    (f"no93 {KONTO[:4]} {KONTO[4:8]} {KONTO[8:]}", ACCOUNT, "IBAN in fours"),
    (VISA, CARD, "sixteen digits"),
    (f"{VISA[:4]} {VISA[4:8]} {VISA[8:12]} {VISA[12:]}", CARD, "in fours"),
    ("4111-1111-1111-1112", CARD, "in fours with a typing error"),
    (" ".join(re.findall("..", VISA)), CARD, "spoken in pairs"),
    (card_number("37", 15), CARD, "fifteen digits"),
    (f"{card_number('37', 15)[:4]} {card_number('37', 15)[4:10]} {card_number('37', 15)[10:]}", CARD, "4-6-5"),
    (card_number("6304", 19), CARD, "nineteen digits"),
    (card_number("4222", 13), CARD, "thirteen digits"),
]

LEFT_ALONE = [
    ("974760673", "organisation number"),
    ("NO 974 760 673 MVA", "VAT number"),
    ("974 760 673 22 33 44 55", "organisation number and telephone, twenty digits with an eleven across them"),
    ("22334455", "telephone"),
    ("22 33 44 55", "telephone in pairs"),
    ("974 76 067 / 974 76 068", "two mobile numbers"),
    ("22 33 44 55 22 33 44 56", "two telephones with nothing between"),
    ("22 33 44 55, +47223 34 455", "two telephones, not six digits and five"),
    ("+49 151 2345 6789", "a German number of thirteen digits"),
    ("+47 22 33 44 55", "with the country's code"),
    ("(+47) 22 33 44 55", "with the country's code in brackets"),
    ("0047 22 33 44 55", "with the country's code after 00"),
    ("+4722334455", "written together"),
    ("+46 70 123 45 67", "a Swedish number of eleven digits"),
    ("+46701234567", "the same, written together"),
    ("+1 555 123 4567", "an American number of eleven digits"),
    ("0046 70 123 45 67", "a Swedish number after 00"),
    ("PV-2026-000123", "our reference"),
    ("pv-2026-0001234", "our reference with eleven digits"),
    ("PV-2026-000123 22334455", "reference and telephone"),
    ("AB-123456", "a reference with letters"),
    ("CX123456789NO", "a parcel"),
    ("1Z999AA10123456784", "a parcel with eleven digits at its end"),
    ("12.05.2026", "date"),
    ("12.5.2026 13.45", "date and time, eleven digits"),
    ("1.12.2020-28.2.2021", "from date to date, with an eleven across them"),
    ("2026-05-12T13:45:12", "time stamp"),
    ("2019-2026", "years"),
    ("1 234 567,50", "amount"),
    ("kr 12.345.678.901", "amount of eleven digits with its currency before"),
    ("12 345 678 901 kroner", "amount of eleven digits with its currency after"),
    ("0150 Oslo", "postcode"),
    ("192.168.100.23", "address of a machine, eleven digits"),
    ("1234567890", "ten digits"),
    ("123456789012", "twelve digits"),
    ("1234567890¹", "ten digits and a footnote"),
]


@pytest.mark.parametrize(("number", "token", "reason"), MASKED, ids=[row[2] for row in MASKED])
def test_an_identifier_is_masked_wherever_it_stands(number: str, token: str, reason: str) -> None:
    kinds = frozenset({KINDS[token]})
    assert mask(number) == Masked(token, kinds)
    assert mask(f"nummeret er {number}.") == Masked(f"nummeret er {token}.", kinds)
    if token != ACCOUNT or not number[0].isalpha():
        assert mask(f"fnr{number}takk").text == f"fnr{token}takk"


@pytest.mark.parametrize(("text", "reason"), LEFT_ALONE, ids=[row[1] for row in LEFT_ALONE])
def test_what_is_no_identifier_is_left_alone(text: str, reason: str) -> None:
    for written in (text, f"Se {text}, takk", f"({text})"):
        assert mask(written) == Masked(written, frozenset())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{SYNTHETIC},{MISTYPED}", f"{IDENTITY},{IDENTITY}"),
        (f"{SYNTHETIC}\n{KONTO}", f"{IDENTITY}\n{ACCOUNT}"),
        (f"{SIX} {FIVE} {SIX} {FIVE}", f"{IDENTITY} {IDENTITY}"),
        (f"{SIX} {FIVE} eller {VISA}", f"{IDENTITY} eller {CARD}"),
        (f"{SIX} ({FIVE})", f"{IDENTITY})"),
        (f"2 barn: {SYNTHETIC} 2026", f"2 barn: {IDENTITY} 2026"),
        (f"ring 22 33 44 55, fnr {SYNTHETIC}", f"ring 22 33 44 55, fnr {IDENTITY}"),
        (f"{SYNTHETIC} 22334455", f"{IDENTITY} 22334455"),
        (f"{VISA[:4]} {VISA[4:8]} {VISA[8:12]} {VISA[12:]} 12/27 123", f"{CARD} 12/27 123"),
    ],
)
def test_several_in_one_text(text: str, expected: str) -> None:
    masked = mask(text)
    assert masked.text == expected
    assert masked.kinds == {kind for token, kind in KINDS.items() if token in expected}


def plain_digits(text: str) -> str:
    """The text's digits in ASCII, with everything that may stand between the digits of one number taken away."""
    text = "".join(str(unicodedata.decimal(character, character)) for character in text)
    return re.sub(
        r"(?<=\d)\W+(?=\d)", "", "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Mn", "Me"))
    )


SEPARATORS = st.sampled_from(["", " ", "-", ".", "\u00a0", "\u2009", " - ", "\u200b", "\u2060 ", "/"])
ALPHABETS = st.sampled_from([{}, FULL_WIDTH, ARABIC])
FORMS = st.sampled_from([(11,), (6, 5), (2, 2, 2, 5), (2, 2, 2, 3, 2), (6, 3, 2), (4, 2, 5), (3, 3, 3, 2)])
AROUND = st.text(max_size=40) | st.sampled_from(["fnr ", "mitt er: ", "12.05.2026 ", "ring 22 33 44 55 ", "5 "])


@st.composite
def identity_numbers(draw: st.DrawFn) -> str:
    """Synthetic ones only, and FH-numbers, which belong to nobody's birth date."""
    if draw(st.booleans()):
        return identity_number(f"{draw(st.integers(800000, 999999))}", draw(st.integers(0, 999)))
    day = draw(st.integers(1, 28)) + draw(st.sampled_from([0, 40]))
    month = draw(st.integers(1, 12)) + draw(st.sampled_from([40, 65, 80]))
    return identity_number(f"{day:02}{month:02}{draw(st.integers(0, 99)):02}", draw(st.integers(0, 999)))


@given(identity_numbers(), FORMS, st.lists(SEPARATORS, min_size=4, max_size=4), ALPHABETS, AROUND, AROUND)
@example(SYNTHETIC, (11,), [""] * 4, {}, "00", "")
@example(SYNTHETIC, (11,), [""] * 4, {}, "0046", "12")
@example(SYNTHETIC, (6, 5), ["-"] * 4, {}, "12345", "12345")
@example(SYNTHETIC, (2, 2, 2, 3, 2), [" "] * 4, {}, "+47 22 33 44 55", "22 33 44 55")
def test_no_written_form_survives_in_any_text(
    number: str,
    form: tuple[int, ...],
    separators: list[str],
    alphabet: dict[int, str],
    before: str,
    after: str,
) -> None:
    digits = iter(number)
    groups = ["".join(next(digits) for _ in range(size)) for size in form]
    written = groups[0] + "".join(sum(zip(separators, groups[1:], strict=False), ()))
    masked = mask(f"{before} {written.translate(alphabet)} {after}")
    assert masked.kinds
    # What stood beside it may hold digits of its own: look for the number itself.
    assert number not in plain_digits(masked.text)


@given(st.text(max_size=200) | st.text("0123456789 .-/+,\nnokrNOa", max_size=80))
def test_masking_twice_changes_nothing(text: str) -> None:
    once = mask(text).text
    assert mask(once).text == once


@given(st.text(st.characters(exclude_categories=["Nd"])))
def test_a_text_without_digits_is_unchanged(text: str) -> None:
    assert mask(text) == Masked(text, frozenset())


def grouped(number: str, sizes: tuple[int, ...]) -> str:
    digits = iter(number)
    return " ".join("".join(next(digits) for _ in range(size)) for size in sizes)


PHONES = st.builds(
    lambda prefix, number, sizes: prefix + grouped(str(number), sizes),
    st.sampled_from(["", "+47 ", "+47", "0047 "]),
    st.integers(20_000_000, 99_999_999),
    st.sampled_from([(8,), (2, 2, 2, 2), (3, 2, 3)]),
)
ORGANISATIONS = st.builds(
    grouped,
    st.integers(80_000_000, 99_999_999).map(str).map(organisation_number).filter(lambda number: len(number) == 9),
    st.sampled_from([(9,), (3, 3, 3)]),
)


@given(st.lists(PHONES | ORGANISATIONS, min_size=1, max_size=5), st.sampled_from([", ", "\n", " og ", " / ", " "]))
def test_telephone_and_organisation_numbers_are_unchanged(numbers: list[str], between: str) -> None:
    text = between.join(numbers)
    assert mask(text) == Masked(text, frozenset())


ADVERSARIAL = [
    "1",
    "1 ",
    "11 ",
    "1.1.2026 ",
    "22 33 44 55 ",
    f"{SIX} ",
    "4111 ",
    f"{SYNTHETIC} ",
    "1\u200b",
    " ",
    "no93 ",
    "ab-2026-",
    "+1 ",
    "1.",
    "1Z",
]


@pytest.mark.parametrize("unit", ADVERSARIAL)
def test_the_time_grows_linearly(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        timings = []
        for _ in range(2):
            start = time.process_time()
            mask(text)
            timings.append(time.process_time() - start)
        return min(timings)

    # Eight times the text: quadratic time would be sixty-four times as much; the rest is room for a busy machine.
    assert seconds(64_000) < 24 * seconds(8_000) + 0.1
