"""Make the two environments. Needs nothing but a Python (3.9 or newer) and a package index.

Everything after this runs in `.venv` (the app and the actions) or `engine/.venv` (Rasa). `uv` does the work: the one on
the PATH where there is one that runs, else a pinned one fetched with pip into `.tools/`.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV_VERSION = "0.13.9"
UV_OLDEST = (0, 8)

# Rasa must not report to its maker, nor warn of what the lock file has settled.
ENGINE_DEFAULTS = """\
import os; os.environ.setdefault("RASA_TELEMETRY_ENABLED", "false")
import os; os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")
import os; os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
"""


def stop(sentence: str) -> None:
    sys.exit(f"\n{sentence}\n")


def run_quietly(command: list, **options: object) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, **options)


def working_uv() -> str:
    found = shutil.which("uv")
    if found:
        answer = run_quietly([found, "--version"])
        if answer.returncode == 0:
            version = answer.stdout.split()[1].split(".")
            if (int(version[0]), int(version[1])) >= UV_OLDEST:
                return found
    own = ROOT / ".tools" / "bin" / "uv"
    if own.exists() and UV_VERSION in run_quietly([str(own), "--version"]).stdout:
        return str(own)
    say(f"fetching uv {UV_VERSION} with pip")
    tools = ROOT / ".tools"
    made = run_quietly([sys.executable, "-m", "venv", str(tools)])
    if made.returncode:
        # Debian's Python comes without ensurepip; pip itself can still put the program beside us.
        shutil.rmtree(tools, ignore_errors=True)
        fetched = run_quietly(
            [sys.executable, "-m", "pip", "install", "-q", "--target", str(tools), f"uv=={UV_VERSION}"]
        )
    else:
        pip = [str(tools / "bin" / "python"), "-m", "pip", "install", "-q", f"uv=={UV_VERSION}"]
        fetched = run_quietly(pip)
    if fetched.returncode or not own.exists():
        stop(
            "There is no working uv here and pip could not fetch one. Check that this machine reaches a package index, "
            "or install uv (https://docs.astral.sh/uv/) and try again.\npip said: "
            + (fetched.stderr.strip().splitlines() or ["nothing"])[-1]
        )
    return str(own)


def interpreter(uv: str, wanted: str) -> str:
    """The path of a Python of this version. pyenv's shims are asked first: uv does not look behind them."""
    for name in (f"python{wanted}", "python3", "python"):
        path = shutil.which(name)
        if path is None:
            continue
        answer = run_quietly(
            [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"],
            cwd=str(ROOT),
        )
        version, _, executable = answer.stdout.strip().partition(" ")
        if answer.returncode == 0 and version == wanted:
            return executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for folder in sorted(pyenv.glob(f"{wanted}*"), reverse=True):
        if (folder / "bin" / "python").exists():
            return str(folder / "bin" / "python")
    if run_quietly([uv, "python", "find", wanted], cwd=str(ROOT)).returncode == 0:
        return wanted
    say(f"no Python {wanted} here, asking uv to fetch one")
    if run_quietly([uv, "python", "install", wanted]).returncode == 0:
        return wanted
    why = "the dialogue engine, Rasa 3.6, runs on no other" if wanted == "3.10" else "the app and the actions need it"
    stop(
        f"Python {wanted} is missing: {why}. Install it (Debian: apt install python{wanted} python{wanted}-venv; "
        f"pyenv: pyenv install {wanted}; uv: uv python install {wanted}) and try again."
    )
    raise AssertionError


def say(text: str) -> None:
    print(f"  setup: {text}", flush=True)


def sync(uv: str, project: Path, wanted: str, *groups: str) -> None:
    stamp = project / ".venv" / ".synced"
    inputs = (project / "uv.lock").read_bytes() + (project / "pyproject.toml").read_bytes() + " ".join(groups).encode()
    if stamp.exists() and stamp.read_bytes() == inputs and (project / ".venv" / "bin" / "python").exists():
        return
    started = time.time()
    python = interpreter(uv, wanted)
    say(f"making {project.name if project != ROOT else 'root'} environment (Python {wanted})")
    command = [uv, "sync", "--frozen", "--quiet", "--project", str(project), "--python", python, *groups]
    environment = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        stop(
            f"The {'engine' if project != ROOT else 'root'} environment could not be made. uv said:\n"
            + done.stderr.strip()[-1500:]
        )
    stamp.write_bytes(inputs)
    say(f"done in {time.time() - started:.0f} s")


def main() -> None:
    if sys.version_info < (3, 9):  # noqa: UP036 - it runs before there is an environment
        stop("This needs Python 3.9 or newer to begin with; try: make PYTHON=python3.12")
    uv = working_uv()
    sync(uv, ROOT, "3.12", "--all-extras")
    sync(uv, ROOT / "engine", "3.10")
    for packages in (ROOT / "engine" / ".venv" / "lib").glob("python3.10/site-packages"):
        (packages / "personvern.pth").write_text(ENGINE_DEFAULTS)


if __name__ == "__main__":
    main()
