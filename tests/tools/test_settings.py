import stat
from pathlib import Path

import pytest

from personvern.settings import Settings, SettingsError, make_tokens


def test_what_is_not_set_has_a_default_that_works_on_one_machine() -> None:
    settings = Settings.load({})
    assert settings == Settings()
    assert settings.database_url == "sqlite:///var/personvern.db"
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.trusted_proxies == ()


def test_the_environment_is_read_in_the_settings_own_kinds() -> None:
    settings = Settings.load(
        {
            "PORT": "8100",
            "DELAY_NOTICE_SECONDS": "1.5",
            "POLICIES": "/srv/policies",
            "TRUSTED_PROXIES": " 10.0.0.1, ,10.0.0.2,",
            "DATABASE_URL": "postgresql+psycopg://x",
            "PATH": "/usr/bin",
        }
    )
    assert settings.port == 8100
    assert settings.delay_notice_seconds == 1.5
    assert settings.policies == Path("/srv/policies")
    assert settings.trusted_proxies == ("10.0.0.1", "10.0.0.2")
    assert settings.database_url == "postgresql+psycopg://x"


@pytest.mark.parametrize(("name", "value"), [("PORT", "eighty"), ("PORT", ""), ("DELAY_NOTICE_SECONDS", "soon")])
def test_a_number_that_is_none_is_told_by_the_name_of_its_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} must be a number"):
        Settings.load({name: value})


def test_files_are_read_and_the_environment_goes_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "tokens.env").write_text("ENGINE_TOKEN=from-tokens\nACTIONS_TOKEN=from-tokens\nPORT=1\n")
    (tmp_path / ".env").write_text("ACTIONS_TOKEN=from-dotenv\nPORT=2\n")
    monkeypatch.setenv("PORT", "3")
    for name in ("ENGINE_TOKEN", "ACTIONS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings.load()
    assert (settings.engine_token, settings.actions_token, settings.port) == ("from-tokens", "from-dotenv", 3)


def test_tokens_are_made_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "var" / "tokens.env"
    make_tokens(path)
    made = dict(line.split("=", 1) for line in path.read_text().splitlines())
    assert {"ENGINE_TOKEN", "ACTIONS_TOKEN"} <= set(made)
    assert all(len(value) >= 32 for value in made.values())
    assert len(set(made.values())) == len(made)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    make_tokens(path)
    assert dict(line.split("=", 1) for line in path.read_text().splitlines()) == made
    other = tmp_path / "other.env"
    make_tokens(other)
    assert other.read_text() != path.read_text()
