import re
from pathlib import Path
from typing import Any

import pytest
from desk import Desk, key
from dotenv import dotenv_values
from helpers import Clock
from sqlalchemy import update

from personvern.database.tables import requests
from personvern.privacy.keys import Keys, Unreadable, UnusableKey
from personvern.requests import drafts, life, rotation, store
from personvern.settings import Settings, make_tokens


def test_what_is_encrypted_comes_back_and_is_different_each_time() -> None:
    keys = Keys(key("d"), key("h"))
    first, second = keys.encrypt("Kåre 🦊"), keys.encrypt("Kåre 🦊")
    assert first != second
    assert keys.decrypt(first) == keys.decrypt(second) == "Kåre 🦊"


def test_what_was_changed_is_not_read() -> None:
    keys = Keys(key("d"), key("h"))
    stored = keys.encrypt("Kari")
    with pytest.raises(Unreadable):
        keys.decrypt(stored[:-4] + "AAA=")


def test_hashes_depend_on_the_key_the_purpose_and_every_value() -> None:
    keys = Keys(key("d"), key("h"))
    made = {
        keys.hash("a", "kari"),
        keys.hash("b", "kari"),
        keys.hash("a", "kar", "i"),
        keys.hash("a", "kari", ""),
        Keys(key("d"), key("i")).hash("a", "kari"),
    }
    assert len(made) == 5
    assert all(re.fullmatch("[0-9a-f]{64}", one) for one in made)
    assert keys.matches(keys.hash("a", "kari"), "a", "kari")
    assert not keys.matches(keys.hash("a", "kari"), "a", "ola")
    assert not keys.matches("nothing like a hash å", "a", "kari")


def test_an_older_key_still_reads_and_the_first_one_writes() -> None:
    old, both, new = (
        Keys(key("d"), key("h")),
        Keys(f"{key('e')}, {key('d')}", f"{key('i')},{key('h')}"),
        Keys(key("e"), key("i")),
    )
    assert both.decrypt(old.encrypt("Kari")) == "Kari"
    assert new.decrypt(both.encrypt("Kari")) == "Kari"
    assert new.decrypt(both.encrypt_again(old.encrypt("Kari"))) == "Kari"
    assert both.hashes("a", "kari") == (new.hash("a", "kari"), old.hash("a", "kari"))
    assert both.matches(old.hash("a", "kari"), "a", "kari")
    with pytest.raises(Unreadable):
        new.decrypt(old.encrypt("Kari"))
    with pytest.raises(Unreadable):
        new.encrypt_again(old.encrypt("Kari"))


@pytest.mark.parametrize("bad", ["", " , ", "short", "å" * 43, "A" * 44, key("d") + "," + "short"])
def test_a_key_that_is_none_is_refused_by_the_name_of_its_setting(bad: str) -> None:
    with pytest.raises(UnusableKey, match="DATA_KEY"):
        Keys(bad, key("h"))
    with pytest.raises(UnusableKey, match="HASH_KEY") as refused:
        Keys(key("d"), bad)
    assert not bad.strip(" ,") or bad not in str(refused.value)


# The keys of an installation


def test_tokens_and_keys_are_made_once_and_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "var" / "tokens.env"
    make_tokens(path)
    made = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    values = {name: value or "" for name, value in dotenv_values(path).items()}
    assert set(values) == {"ENGINE_TOKEN", "ACTIONS_TOKEN", "DATA_KEY", "HASH_KEY"}
    assert len(set(values.values())) == 4
    settings = Settings.load(values)
    keys = Keys(settings.data_key, settings.hash_key)
    assert keys.decrypt(keys.encrypt("Kari")) == "Kari"
    assert settings.data_key not in repr(settings)
    assert settings.hash_key not in repr(settings)
    make_tokens(path)
    assert path.read_text() == made


@pytest.mark.parametrize("end", ["", "\n"])
def test_an_older_installation_gets_the_keys_it_lacks_and_keeps_its_tokens(tmp_path: Path, end: str) -> None:
    path = tmp_path / "tokens.env"
    path.write_text(f"ENGINE_TOKEN=one\nACTIONS_TOKEN=two{end}")
    make_tokens(path)
    values = dotenv_values(path)
    assert (values["ENGINE_TOKEN"], values["ACTIONS_TOKEN"]) == ("one", "two")
    assert values["DATA_KEY"]
    assert values["HASH_KEY"]


# Changing them


def test_after_rotation_the_old_keys_are_not_needed(desk: Desk, clock: Clock) -> None:
    (request,) = desk.confirmed("erasure")
    draft = desk.draft("access", email="ola@example.no")
    desk.keys = Keys(f"{key('e')},{key('d')}", f"{key('i')},{key('h')}")
    same: dict[str, Any] = {"company": desk.company.id, "right": "erasure", "email": "kari@example.no"}
    with desk.database.read() as connection:  # while both are there, what was made before is found
        assert store.find_open_same(connection, desk.keys, **same) == request
        assert list(life.verify_log(connection, desk.keys)) == []
    assert rotation.rotate(desk.database, desk.keys) == 1 + 1 + 3

    desk.keys = Keys(key("e"), key("i"))
    with desk.database.read() as connection:
        assert store.person_of(connection, desk.keys, request.id).name == "Kari Nordmann"
        assert store.find_open_same(connection, desk.keys, **same) == request
        assert drafts.load(connection, desk.keys, draft.id) == draft
        assert list(life.verify_log(connection, desk.keys)) == []
    assert len(desk.deliver()) == 2
    assert rotation.rotate(desk.database, desk.keys) == 1 + 1 + 3


def test_rotation_goes_through_everything_and_signs_no_forgery(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "_AT_A_TIME", 2)
    made: list[Any] = [desk.open(desk.draft("erasure", email=f"p{n}@example.no")).requests[0].id for n in range(5)]
    with desk.database.write() as connection:
        connection.execute(update(requests).where(requests.c.id == made[0]).values(log_signature="0" * 64))
    desk.keys = Keys(f"{key('e')},{key('d')}", f"{key('i')},{key('h')}")
    rotation.rotate(desk.database, desk.keys)
    desk.keys = Keys(key("e"), key("i"))
    with desk.database.read() as connection:
        assert [fault.request_id for fault in life.verify_log(connection, desk.keys)] == [made[0]]
        assert {store.person_of(connection, desk.keys, one).email for one in made} == {
            f"p{n}@example.no" for n in range(5)
        }
