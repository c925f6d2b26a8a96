import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from personvern.statements import library as library_module
from personvern.statements.library import Library, UnknownCompany

POLICIES = Path(__file__).resolve().parents[2] / "policies"


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    for company in ("jackon", "unnamed"):
        shutil.copytree(POLICIES / company, tmp_path / "policies" / company)
    return tmp_path / "policies"


@pytest.fixture
def library(policies: Path, seconds: Seconds) -> Library:
    return Library(policies, poll_seconds=2.0, clock=seconds)


def edit(path: Path, change: Callable[[str], str]) -> None:
    """As an editor does it: the file has another size or another time afterwards."""
    before = path.stat().st_mtime_ns
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


def rename_company(path: Path, name: str) -> None:
    edit(path / "company.yml", lambda text: text.replace("name: Jackon", f"name: {name}"))


def test_all_folders_are_companies(library: Library) -> None:
    assert [company.id for company in library.companies()] == ["jackon", "unnamed"]
    assert library.company("jackon").name["nb"] == "Jackon"
    assert library.problems == {}


@pytest.mark.parametrize("name", ["nobody", "", "..", "../policies/jackon", "jackon/", "JACKON"])
def test_only_an_exact_id_is_a_company(library: Library, name: str) -> None:
    with pytest.raises(UnknownCompany):
        library.company(name)


def test_a_changed_folder_replaces_its_company_and_no_other(library: Library, policies: Path, seconds: Seconds) -> None:
    jackon, unnamed = library.companies()
    rename_company(policies / "jackon", "Jackon AS")
    seconds.now += 1.9
    assert library.company("jackon") is jackon
    seconds.now += 0.2
    assert library.company("jackon").name["nb"] == "Jackon AS"
    assert library.company("unnamed") is unnamed


def test_a_changed_statement_takes_the_answers_that_leaned_on_it(
    library: Library, policies: Path, seconds: Seconds
) -> None:
    assert library.company("jackon").reading.stale == ()
    edit(policies / "jackon" / "statement.nb.txt", lambda text: text.replace("Vite hvilken", "Få vite hvilken"))
    seconds.now += 3
    company = library.company("jackon")
    assert company.reading.stale
    assert all(company.reading.topics[topic].answer == {} for topic in company.reading.stale)
    assert "Få vite hvilken" in company.source


def test_a_broken_edit_keeps_the_last_good_version_and_says_why(
    library: Library, policies: Path, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    good = library.company("jackon")
    edit(policies / "jackon" / "reading.yml", lambda text: text + "\n  - [")
    seconds.now += 3
    with caplog.at_level(logging.ERROR):
        assert library.company("jackon") is good
    assert "reading.yml, line" in library.problems["jackon"]
    assert caplog.text.count("company.unreadable company=jackon") == 1
    seconds.now += 3
    assert library.company("jackon") is good
    assert caplog.text.count("company.unreadable") == 1  # told once, not every two seconds
    edit(policies / "jackon" / "reading.yml", lambda text: text.removesuffix("\n  - ["))
    seconds.now += 3
    assert library.company("jackon") is not good
    assert library.problems == {}


@pytest.mark.parametrize(
    ("file", "broken"),
    [
        ("company.yml", "name: Jackon\ncontact: none\n"),
        ("reading.yml", "topics: [what_data]\n"),
        ("reading.yml", "topics: {what_data: }\n"),
    ],
)
def test_whatever_is_wrong_with_a_folder_the_companies_stay(
    library: Library, policies: Path, seconds: Seconds, file: str, broken: str
) -> None:
    good = library.companies()
    edit(policies / "jackon" / file, lambda _: broken)
    seconds.now += 3
    assert library.companies() == good
    assert "jackon" in library.problems


def test_a_broken_folder_does_not_keep_the_others_from_starting(policies: Path) -> None:
    (policies / "jackon" / "reading.yml").write_text("topics: [what_data]", encoding="utf-8")
    started = Library(policies)
    assert [company.id for company in started.companies()] == ["unnamed"]
    assert "jackon" in started.problems


def test_a_folder_that_was_never_good_is_no_company_and_says_why(policies: Path) -> None:
    (policies / "jackon" / "reading.yml").write_text("[", encoding="utf-8")
    started = Library(policies)
    with pytest.raises(UnknownCompany):
        started.company("jackon")
    assert "reading.yml" in started.problems["jackon"]
    assert started.company("unnamed")


def test_a_removed_company_goes(library: Library, policies: Path, seconds: Seconds) -> None:
    shutil.rmtree(policies / "jackon")
    seconds.now += 3
    assert [company.id for company in library.companies()] == ["unnamed"]
    with pytest.raises(UnknownCompany):
        library.company("jackon")


@pytest.mark.parametrize("ever_good", [True, False])
def test_with_a_removed_company_its_problem_goes_too(policies: Path, seconds: Seconds, ever_good: bool) -> None:
    if not ever_good:
        (policies / "jackon" / "reading.yml").write_text("[", encoding="utf-8")
    library = Library(policies, clock=seconds)
    edit(policies / "jackon" / "reading.yml", lambda _: "[[")
    seconds.now += 3
    library.companies()
    assert set(library.problems) == {"jackon"}
    shutil.rmtree(policies / "jackon")
    seconds.now += 3
    library.companies()
    assert library.problems == {}


def test_a_new_company_comes(library: Library, policies: Path, seconds: Seconds) -> None:
    shutil.copytree(POLICIES / "jobbkort", policies / "jobbkort")
    seconds.now += 3
    assert library.company("jobbkort").reading.language == "en"


def test_a_folder_without_company_yml_is_not_looked_at(policies: Path) -> None:
    (policies / "drafts").mkdir()
    (policies / "drafts" / "notes.txt").write_text("x", encoding="utf-8")
    (policies / "README.md").write_text("x", encoding="utf-8")
    started = Library(policies)
    assert [company.id for company in started.companies()] == ["jackon", "unnamed"]
    assert started.problems == {}


def test_a_file_that_goes_while_it_is_looked_at_does_no_harm(
    library: Library, policies: Path, seconds: Seconds
) -> None:
    """Editors write beside a file and rename: what was listed may be gone when it is asked for its size."""
    (policies / "jackon" / ".reading.yml.swp").symlink_to(policies / "gone")  # stat() of it fails in the same way
    seconds.now += 3
    assert [company.id for company in library.companies()] == ["jackon", "unnamed"]


def test_an_installation_without_companies_starts(tmp_path: Path) -> None:
    assert Library(tmp_path / "not there").companies() == []


def test_whoever_asks_during_a_reload_gets_the_last_good_version(
    library: Library, policies: Path, seconds: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = library.company("jackon")
    rename_company(policies / "jackon", "Jackon AS")
    seconds.now += 3
    loading, go_on = threading.Event(), threading.Event()
    load = library_module.load_company

    def slow(folder: Path) -> object:
        loading.set()
        assert go_on.wait(10)
        return load(folder)

    monkeypatch.setattr(library_module, "load_company", slow)
    reloading = threading.Thread(target=library.refresh)
    reloading.start()
    try:
        assert loading.wait(10)
        assert library.company("jackon") is good
    finally:
        go_on.set()
        reloading.join(10)
    assert library.company("jackon").name["nb"] == "Jackon AS"
