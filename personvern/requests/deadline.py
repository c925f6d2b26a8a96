"""When a request must be answered: GDPR art. 12(3), counted as Regulation (EEC, Euratom) No 1182/71 art. 3 says.

The month ends on the date with the same number as the day of receipt, or on the month's last day where there is none.
Where that is a Saturday, a Sunday or a public holiday, the period runs to the end of the next working day. Whether the
regulation binds a private Norwegian controller is not settled, so both dates are kept: staff work by `plain`, the
earlier, and `due` is shown as the latest.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Literal
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta
from holidays import country_holidays

from personvern.languages.dates import day_off_in_words, list_in_words

OSLO = ZoneInfo("Europe/Oslo")

_MONTHS = 1
_MONTHS_EXTENDED = 3  # two further months, counted from the day of receipt too

DayOff = Literal["saturday", "sunday", "holiday"]

# The library's own names, which differ from version to version; a test goes through all years that matter.
_HOLIDAYS = {
    "New Year's Day": "new_year",
    "Maundy Thursday": "maundy_thursday",
    "Good Friday": "good_friday",
    "Easter Sunday": "easter_sunday",
    "Easter Monday": "easter_monday",
    "Labor Day": "labour_day",
    "Constitution Day": "constitution_day",
    "Ascension Day": "ascension",
    "Pentecost": "whit_sunday",
    "Whit Sunday": "whit_sunday",
    "Pentecost Monday": "whit_monday",
    "Whit Monday": "whit_monday",
    "Christmas Day": "christmas",
    "Second Day of Christmas": "second_christmas_day",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """A day that the period could not end on. `holiday` is its key in `languages/dates.yml`, where it is one."""

    day: date
    kind: DayOff
    holiday: str | None = None


@dataclass(frozen=True, slots=True)
class Deadline:
    received: date
    """The calendar day of receipt in Norway."""
    plain: date
    """The end of the month as the calendar has it."""
    due: date
    """The same, or the next working day where that is none."""
    reasons: tuple[Reason, ...]
    """Every day between `plain` and `due`, with why it does not count; empty where they are the same."""


def deadline(received: datetime | date, extended: bool = False) -> Deadline:
    """The last day for an answer to what was received then; with `extended` after the two further months."""
    day = day_in_norway(received)
    plain = day + relativedelta(months=_MONTHS_EXTENDED if extended else _MONTHS)
    due, reasons = next_working_day(plain)
    return Deadline(day, plain, due, reasons)


def day_in_norway(moment: datetime | date) -> date:
    """The calendar day in Norway of a moment; a date is one already."""
    if not isinstance(moment, datetime):
        return moment
    if moment.tzinfo is None:
        raise ValueError("the time of receipt has no zone: its day in Norway is unknown")
    return moment.astimezone(OSLO).date()


def next_working_day(day: date) -> tuple[date, tuple[Reason, ...]]:
    """The day itself, or the first working day after it with the days that were skipped."""
    reasons = []
    while (reason := _day_off(day)) is not None:
        reasons.append(reason)
        day += timedelta(days=1)
    return day, tuple(reasons)


def reasons_in_words(found: Deadline, language: str) -> str:
    """As "28. februar er en lørdag og 1. mars er en søndag"; empty where nothing was moved."""
    return list_in_words([day_off_in_words(reason.day, reason.holiday, language) for reason in found.reasons], language)


def _day_off(day: date) -> Reason | None:
    holiday = _holidays(day.year).get(day)
    if holiday is not None:
        return Reason(day, "holiday", holiday)
    if day.weekday() == 5:
        return Reason(day, "saturday")
    if day.weekday() == 6:
        return Reason(day, "sunday")
    return None


@cache
def _holidays(year: int) -> dict[date, str]:
    found = country_holidays("NO", years=year, language="en_US")
    # Two holidays can share a day (Ascension and 1 May in 2008): one name is enough to say why.
    return {day: _HOLIDAYS[name.split("; ")[0]] for day, name in found.items()}
