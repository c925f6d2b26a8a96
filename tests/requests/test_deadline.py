from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from dateutil.relativedelta import relativedelta
from holidays import country_holidays
from hypothesis import given
from hypothesis import strategies as st

from personvern.languages.dates import day_in_words, holiday_in_words, list_in_words, weekday_in_words
from personvern.requests.deadline import _HOLIDAYS, day_in_norway, deadline, next_working_day, reasons_in_words

VECTORS = [
    ("2026-01-31", "2026-03-02", "2026-04-30"),
    ("2026-03-03", "2026-04-07", "2026-06-03"),
    ("2026-04-01", "2026-05-04", "2026-07-01"),
    ("2026-04-17", "2026-05-18", "2026-07-17"),
    ("2026-08-31", "2026-09-30", "2026-11-30"),
    ("2026-11-25", "2026-12-28", "2027-02-25"),
    ("2026-12-01", "2027-01-04", "2027-03-01"),
    ("2028-01-31", "2028-02-29", "2028-05-02"),
]
DAYS = st.dates(date(2020, 1, 1), date(2060, 12, 31))


def day(written: str) -> date:
    return date.fromisoformat(written)


@pytest.mark.parametrize(("received", "month", "extended"), VECTORS)
def test_the_deadlines_of_the_law_page(received: str, month: str, extended: str) -> None:
    assert deadline(day(received)).due == day(month)
    assert deadline(day(received), extended=True).due == day(extended)
    assert deadline(day(received)).received == day(received)


@pytest.mark.parametrize(
    ("moment", "norwegian_day"),
    [
        (datetime(2026, 1, 30, 23, 30, tzinfo=UTC), "2026-01-31"),
        (datetime(2026, 1, 30, 22, 59, 59, tzinfo=UTC), "2026-01-30"),
        (datetime(2026, 7, 1, 22, 0, tzinfo=UTC), "2026-07-02"),  # summer time
        (datetime(2026, 7, 1, 21, 59, tzinfo=UTC), "2026-07-01"),
        (datetime(2026, 3, 28, 22, 59, tzinfo=UTC), "2026-03-28"),  # the night the clocks go forward
        (datetime(2026, 3, 29, 21, 59, tzinfo=UTC), "2026-03-29"),
        (datetime(2026, 3, 29, 22, 0, tzinfo=UTC), "2026-03-30"),
        (datetime(2026, 10, 24, 22, 0, tzinfo=UTC), "2026-10-25"),  # the night they go back
        (datetime(2026, 10, 25, 22, 59, tzinfo=UTC), "2026-10-25"),
        (datetime(2026, 2, 1, 11, 0, tzinfo=timezone(timedelta(hours=12))), "2026-02-01"),
    ],
)
def test_the_day_of_receipt_is_norways(moment: datetime, norwegian_day: str) -> None:
    assert day_in_norway(moment) == deadline(moment).received == day(norwegian_day)


def test_a_time_without_a_zone_has_no_day() -> None:
    with pytest.raises(ValueError, match="no zone"):
        deadline(datetime(2026, 1, 31, 12, 0))


def test_both_dates_and_every_reason_are_told() -> None:
    found = deadline(day("2026-03-03"))
    assert (found.plain, found.due) == (day("2026-04-03"), day("2026-04-07"))
    assert [(reason.day.isoformat(), reason.kind, reason.holiday) for reason in found.reasons] == [
        ("2026-04-03", "holiday", "good_friday"),
        ("2026-04-04", "saturday", None),
        ("2026-04-05", "holiday", "easter_sunday"),
        ("2026-04-06", "holiday", "easter_monday"),
    ]
    assert deadline(day("2026-08-31")).reasons == ()


@pytest.mark.parametrize(
    ("language", "weekend", "holidays", "labour_day"),
    [
        (
            "nb",
            "28. februar er en lørdag og 1. mars er en søndag",
            "3. april er langfredag, 4. april er en lørdag, 5. april er første påskedag og 6. april er andre påskedag",
            "1. mai er en helligdag, 2. mai er en lørdag og 3. mai er en søndag",
        ),
        (
            "nn",
            "28. februar er ein laurdag og 1. mars er ein sundag",
            "3. april er langfredag, 4. april er ein laurdag, 5. april er første påskedag "
            "og 6. april er andre påskedag",
            "1. mai er ein heilagdag, 2. mai er ein laurdag og 3. mai er ein sundag",
        ),
        (
            "en",
            "28 February is a Saturday and 1 March is a Sunday",
            "3 April is Good Friday, 4 April is a Saturday, 5 April is Easter Sunday and 6 April is Easter Monday",
            "1 May is a public holiday, 2 May is a Saturday and 3 May is a Sunday",
        ),
    ],
)
def test_the_reasons_are_said_in_words(language: str, weekend: str, holidays: str, labour_day: str) -> None:
    assert reasons_in_words(deadline(day("2026-01-31")), language) == weekend
    assert reasons_in_words(deadline(day("2026-03-03")), language) == holidays
    assert reasons_in_words(deadline(day("2026-04-01")), language) == labour_day
    assert reasons_in_words(deadline(day("2026-08-31")), language) == ""


def test_days_are_written_as_people_write_them() -> None:
    second = day("2026-03-02")
    assert [day_in_words(second, language) for language in ("nb", "nn", "en")] == [
        "2. mars 2026",
        "2. mars 2026",
        "2 March 2026",
    ]
    assert day_in_words(second, "nb", year=False) == "2. mars"
    assert [weekday_in_words(second, language) for language in ("nb", "nn", "en")] == ["mandag", "måndag", "Monday"]
    assert list_in_words([], "nb") == ""
    assert list_in_words(["a"], "nb") == "a"
    assert list_in_words(["a", "b", "c"], "en") == "a, b and c"


@pytest.mark.parametrize("year", range(2020, 2101))
def test_every_holiday_of_the_library_has_a_name_in_every_language(year: int) -> None:
    for names in country_holidays("NO", years=year, language="en_US").values():
        for name in names.split("; "):
            for language in ("nb", "nn", "en"):
                assert holiday_in_words(_HOLIDAYS[name], language)


@pytest.mark.parametrize("eve", ["2026-12-24", "2026-12-31", "2027-12-24"])
def test_christmas_eve_and_new_years_eve_are_working_days(eve: str) -> None:
    assert next_working_day(day(eve)) == (day(eve), ())


@given(DAYS, st.booleans())
def test_the_last_day_is_a_working_day_and_never_before_the_plain_month(received: date, extended: bool) -> None:
    found = deadline(received, extended)
    assert found.due.weekday() < 5
    assert found.due not in country_holidays("NO", years=found.due.year)
    assert found.plain == received + relativedelta(months=3 if extended else 1)
    assert found.plain <= found.due <= found.plain + timedelta(days=5)
    assert len(found.reasons) == (found.due - found.plain).days
    assert [reason.day for reason in found.reasons] == [
        found.plain + timedelta(days=number) for number in range(len(found.reasons))
    ]


@given(DAYS, st.integers(0, 400), st.booleans())
def test_what_comes_later_is_never_due_earlier(received: date, later: int, extended: bool) -> None:
    earlier, after = deadline(received, extended), deadline(received + timedelta(days=later), extended)
    assert earlier.plain <= after.plain
    assert earlier.due <= after.due


@given(DAYS)
def test_the_month_ends_on_the_same_number_or_the_months_last_day(received: date) -> None:
    plain = deadline(received).plain
    assert plain.month == received.month % 12 + 1
    assert plain.day == received.day or (plain + timedelta(days=1)).day == 1
    assert deadline(received).due < deadline(received, extended=True).due
