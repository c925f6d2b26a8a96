"""What a newcomer meets when something is missing: a sentence that says what, why and what to do."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT

from tools import run, setup, train
from tools.stack import NAMES, Ports, Stack, StackError


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on its PATH but what a test puts into `bin`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    return tmp_path


def no_uv(bare: Path) -> str:
    """An uv that runs and can do nothing."""
    return str(program(bare / "uv", "exit 1"))


# Finding a Python


@pytest.mark.parametrize(
    ("wanted", "why"),
    [("3.10", "the dialogue engine, Rasa 3.6, runs on no other"), ("3.12", "the app and the actions need it")],
)
def test_a_missing_python_is_told_with_the_reason_and_three_ways_to_get_it(bare: Path, wanted: str, why: str) -> None:
    with pytest.raises(SystemExit) as told:
        setup.interpreter(no_uv(bare), wanted)
    said = str(told.value)
    assert f"Python {wanted} is missing: {why}." in said
    for way in (f"apt install python{wanted}", f"pyenv install {wanted}", f"uv python install {wanted}"):
        assert way in said


def test_a_python_of_the_wanted_version_is_taken_from_the_path(bare: Path) -> None:
    program(bare / "bin" / "python3.10", "echo 3.10 /somewhere/python3.10")
    assert setup.interpreter(no_uv(bare), "3.10") == "/somewhere/python3.10"


@pytest.mark.parametrize(
    "shim", ["echo 3.12 /usr/bin/python3", "echo 'pyenv: python3.10: command not found'; exit 127"]
)
def test_what_is_only_called_so_is_not_taken(bare: Path, shim: str) -> None:
    program(bare / "bin" / "python3.10", shim)
    program(bare / "bin" / "python3", "echo 3.10 /usr/bin/python3")
    assert setup.interpreter(no_uv(bare), "3.10") == "/usr/bin/python3"


def test_a_python_of_pyenv_is_found_behind_its_shims(bare: Path) -> None:
    program(bare / "bin" / "python3.10", "exit 127")
    program(bare / "pyenv" / "versions" / "3.10.13" / "bin" / "python", "")
    (bare / "pyenv" / "versions" / "3.10.14").mkdir()  # an installation that broke off
    assert setup.interpreter(no_uv(bare), "3.10") == str(bare / "pyenv" / "versions" / "3.10.13" / "bin" / "python")


def test_what_uv_has_or_can_fetch_is_the_last_resort(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert setup.interpreter(str(program(bare / "has", "exit 0")), "3.10") == "3.10"
    fetches = program(bare / "fetches", '[ "$2" = install ]')
    assert setup.interpreter(str(fetches), "3.10") == "3.10"
    assert "asking uv to fetch one" in capsys.readouterr().out


# Finding uv


def test_a_uv_that_runs_and_is_new_enough_is_used(bare: Path) -> None:
    uv = program(bare / "bin" / "uv", "echo uv 0.9.1")
    assert setup.working_uv() == str(uv)


@pytest.mark.parametrize("broken", ["echo uv 0.7.20", "exit 127"])
def test_one_that_is_too_old_or_broken_gives_way_to_our_own(bare: Path, broken: str) -> None:
    program(bare / "bin" / "uv", broken)
    own = program(bare / ".tools" / "bin" / "uv", f"echo uv {setup.UV_VERSION}")
    assert setup.working_uv() == str(own)


def test_where_none_can_be_had_the_person_is_told_what_pip_said(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(program(bare / "python", "echo 'no index reached' >&2; exit 1")))
    with pytest.raises(SystemExit) as told:
        setup.working_uv()
    assert "There is no working uv here and pip could not fetch one." in str(told.value)
    assert "pip said: no index reached" in str(told.value)


# Making an environment


@pytest.fixture
def project(bare: Path) -> Path:
    folder = bare / "engine"
    folder.mkdir()
    for name in ("uv.lock", "pyproject.toml"):
        (folder / name).write_text(name)
    program(bare / "bin" / "python3.10", "echo 3.10 /somewhere/python3.10")
    return folder


def test_an_environment_is_made_once_and_again_when_its_lock_has_changed(bare: Path, project: Path) -> None:
    path = "/usr/bin:/bin"
    uv = program(
        bare / "uv",
        f'PATH={path}; echo "$@" >> {bare}/calls; mkdir -p {project}/.venv/bin; : > {project}/.venv/bin/python',
    )
    for _ in range(2):
        setup.sync(str(uv), project, "3.10")
    calls = (bare / "calls").read_text().splitlines()
    assert calls == [f"sync --frozen --quiet --project {project} --python /somewhere/python3.10"]
    (project / "uv.lock").write_text("changed")
    setup.sync(str(uv), project, "3.10")
    (project / ".venv" / "bin" / "python").unlink()
    setup.sync(str(uv), project, "3.10")
    assert len((bare / "calls").read_text().splitlines()) == 3


def test_an_environment_that_cannot_be_made_is_told_in_uvs_words(bare: Path, project: Path) -> None:
    uv = program(bare / "uv", "echo 'error: the index is down' >&2; exit 2")
    with pytest.raises(SystemExit) as told:
        setup.sync(str(uv), project, "3.10")
    assert "The engine environment could not be made. uv said:\nerror: the index is down" in str(told.value)
    assert not (project / ".venv" / ".synced").exists()


def test_a_python_too_old_to_begin_with_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 0))
    with pytest.raises(SystemExit, match=r"needs Python 3\.9 or newer"):
        setup.main()


# Starting


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize(("name", "setting"), [("app", "PORT"), ("engine", "ENGINE_PORT"), ("actions", "ACTIONS_PORT")])
def test_a_taken_port_is_told_with_the_process_and_the_way_out(
    tmp_path: Path, taken: int, name: str, setting: str
) -> None:
    free = Ports.free()
    ports = Ports(**{one: taken if one == name else getattr(free, one) for one in NAMES})
    with pytest.raises(StackError) as told:
        Stack(tmp_path, ports).check_ports()
    assert str(told.value) == (
        f"Port {taken}, which the {name} process needs, is taken by another program. "
        f"Stop that program, or choose another port: make run {setting}={taken + 100}"
    )


def test_free_ports_are_free(tmp_path: Path) -> None:
    ports = Ports.free()
    assert len({ports.app, ports.engine, ports.actions}) == 3
    Stack(tmp_path, ports).check_ports()


class SmallStack(Stack):
    """Three processes of a line of Python each."""

    code = "import time; time.sleep(60)"

    def command(self, name: str) -> list[str]:
        return [sys.executable, "-c", self.code]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SmallStack]:
    with SmallStack(tmp_path, Ports.free()) as stack:
        yield stack


def ended(stack: Stack, name: str) -> None:
    stack.processes[name].wait(10)


@pytest.mark.parametrize(
    ("code", "how", "last"),
    [
        ("import sys; print('first'); sys.exit('the last words')", "ended with code 1", "the last words"),
        ("import os; os._exit(0)", "ended with code 0", None),
        ("import os; print('hm', flush=True); os.kill(os.getpid(), 9)", "was killed (signal 9)", "hm"),
    ],
)
def test_a_process_that_died_has_an_obituary(small: SmallStack, code: str, how: str, last: str | None) -> None:
    small.code = code  # type: ignore[misc]
    small.start("actions")
    ended(small, "actions")
    assert small.died() == ["actions"]
    said = f" Its last words: {last}" if last else ""
    assert small.obituary("actions") == f"The actions process {how}.{said} The whole log: {small.log('actions')}"


def test_waiting_ends_with_the_obituary_of_the_first_that_dies(small: SmallStack) -> None:
    small.start("engine")
    small.code = "raise SystemExit('no such database')"  # type: ignore[misc]
    small.start("app")
    with pytest.raises(StackError, match=r"The app process ended with code 1\. Its last words: no such database"):
        small.wait(20)


def test_waiting_ends_when_nobody_answers(small: SmallStack) -> None:
    small.start_all()
    with pytest.raises(StackError, match=r"did not answer within 0 s\. Their logs are in "):
        small.wait(0.3)


def test_stopping_leaves_no_process_behind(small: SmallStack, tmp_path: Path) -> None:
    child = tmp_path / "child"
    small.code = (  # type: ignore[misc]
        "import subprocess, sys, time\n"
        f"one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(child)!r} + sys.argv[0], 'a').write(f'{{one.pid}} ')\n"
        "time.sleep(60)"
    )
    small.start_all()
    written = tmp_path / "child-c"
    wait_for(lambda: written.exists() and len(written.read_text().split()) == 3)
    pids = [int(pid) for pid in written.read_text().split()]
    small.stop()
    assert all(process.poll() is not None for process in small.processes.values())
    wait_for(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_can_be_killed_alone(small: SmallStack) -> None:
    small.start_all()
    small.kill("engine", signal.SIGKILL)
    ended(small, "engine")
    assert small.died() == ["engine"]
    small.kill("engine")  # what is dead already is no error


def test_the_settings_of_a_test_lie_over_those_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///somebody's.db")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    settings = Stack(tmp_path, Ports(1, 2, 3), {"RETENTION_DAYS": "7"})._environment
    assert settings["DATABASE_URL"] == f"sqlite:///{tmp_path}/personvern.db"
    assert (settings["PORT"], settings["ENGINE_URL"]) == ("1", "http://127.0.0.1:2")
    assert settings["ACTIONS_URL"] == "http://127.0.0.1:3/webhook"
    assert settings["RETENTION_DAYS"] == "7"
    assert len(settings["ENGINE_TOKEN"]) >= 24
    assert settings["ENGINE_TOKEN"] != settings["ACTIONS_TOKEN"]
    assert "VIRTUAL_ENV" not in settings


# Watching


def watched(monkeypatch: pytest.MonkeyPatch, deaths: list[list[str]]) -> tuple[SimpleNamespace, list[str]]:
    """A stack whose processes die as told at each look; it is over when nothing more is told."""
    started: list[str] = []
    looks = iter(deaths)

    def died() -> list[str]:
        try:
            return next(looks)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(run.time, "sleep", lambda _: None)
    stack = SimpleNamespace(died=died, obituary=lambda name: f"The {name} process died.", start=started.append)
    return stack, started


def test_a_process_that_dies_is_started_again_and_the_person_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack, started = watched(monkeypatch, [[], ["engine"], [], ["app", "actions"]])
    with pytest.raises(KeyboardInterrupt):
        run.watch(stack)  # type: ignore[arg-type]
    assert started == ["engine", "app", "actions"]
    said = capsys.readouterr().out
    assert "The engine process died." in said
    assert "starting the engine process again" in said


def test_a_process_that_keeps_dying_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, started = watched(monkeypatch, [["app"]] * 20)
    with pytest.raises(StackError, match="The app process died 5 times within a minute; giving up"):
        run.watch(stack)  # type: ignore[arg-type]
    assert started == ["app"] * 4


def test_a_process_that_dies_now_and_then_is_never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, started = watched(monkeypatch, [["app"]] * 20)
    now = iter(range(0, 100_000, 10))
    monkeypatch.setattr(run.time, "monotonic", lambda: next(now))  # asked twice a death and oftener
    with pytest.raises(KeyboardInterrupt):
        run.watch(stack)  # type: ignore[arg-type]
    assert len(started) == 20


# Training


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "config.yml",
        "domain.yml",
        "engine/uv.lock",
        "engine/channel.py",
        "data/nlu/nb/greet.yml",
        "docs/x.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(train, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "matters"),
    [
        ("config.yml", True),
        ("domain.yml", True),
        ("engine/uv.lock", True),
        ("engine/channel.py", True),
        ("data/nlu/nb/greet.yml", True),
        ("data/nlu/nb/new.yml", True),
        ("docs/x.md", False),
        ("README.md", False),
    ],
)
def test_the_model_is_trained_again_when_what_it_learns_from_has_changed(
    sources: Path, name: str, matters: bool
) -> None:
    before = train.fingerprint()
    assert train.fingerprint() == before
    (sources / name).write_text("changed")
    assert (train.fingerprint() != before) is matters


def test_a_model_that_fits_is_not_trained_again(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in (("MODEL", sources / "model.tar.gz"), ("STAMP", sources / "stamp.txt")):
        monkeypatch.setattr(train, name, path)
    (sources / "model.tar.gz").write_text("a model")
    (sources / "stamp.txt").write_text(train.fingerprint())
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it was trained"))
    train.train()


def test_a_training_that_fails_is_told_in_rasas_words(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, path in (("MODEL", sources / "model.tar.gz"), ("STAMP", sources / "stamp.txt")):
        monkeypatch.setattr(train, name, path)
    monkeypatch.setattr(train.time, "sleep", lambda _: None)
    program(sources / "engine" / ".venv" / "bin" / "rasa", "echo 'InvalidDomain: no intents'; exit 1")
    with pytest.raises(SystemExit) as told:
        train.train()
    assert "The model could not be trained. Rasa said:\nInvalidDomain: no intents" in str(told.value)
    assert str(sources / "var" / "train.log") in str(told.value)
    assert not (sources / "stamp.txt").exists()


# The Makefile


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
@pytest.mark.parametrize(
    ("target", "commands"),
    [
        ("run", ["tools/setup.py", "tools/run.py"]),
        ("test", ["tools/setup.py", "ruff check", "mypy", "tools/train.py", "-m pytest"]),
        ("train", ["tools/setup.py", "tools/train.py"]),
        ("chat", ["tools/setup.py", "personvern chat --company jackon --url http://127.0.0.1:8000"]),
    ],
)
def test_a_target_makes_first_what_it_needs(target: str, commands: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PORT", "COMPANY", "URL")}
    make = shutil.which("make")
    assert make
    shown = subprocess.run([make, "-n", target], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    places = [shown.stdout.find(command) for command in commands]
    assert -1 not in places, shown.stdout
    assert places == sorted(places)


def test_the_makefile_names_only_files_that_are_there() -> None:
    words = (ROOT / "Makefile").read_text(encoding="utf-8").split()
    named = {word for word in words if word.startswith("tools/") and word.endswith(".py")}
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
