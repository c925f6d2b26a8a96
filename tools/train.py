"""Train the dialogue model when what it learns from has changed, with the progress on the screen."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "personvern.tar.gz"
STAMP = ROOT / "models" / "trained-from.txt"


def fingerprint() -> str:
    digest = hashlib.sha256()
    sources = [
        ROOT / "config.yml",
        ROOT / "domain.yml",
        ROOT / "engine" / "uv.lock",
        *sorted(ROOT.glob("engine/*.py")),
    ]
    sources += sorted((ROOT / "data").rglob("*.yml")) + sorted((ROOT / "policies").glob("*/reading.yml"))
    for path in sources:
        digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()


def train(force: bool = False) -> None:
    now = fingerprint()
    if not force and MODEL.exists() and STAMP.exists() and STAMP.read_text() == now:
        return
    print("  training the dialogue model (about a minute)", flush=True)
    started = time.time()
    command = [
        str(ROOT / "engine" / ".venv" / "bin" / "rasa"),
        *("train", "--fixed-model-name", "personvern", "--out", "models", "--force"),
    ]
    log = ROOT / "var" / "train.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w+b") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "RASA_TELEMETRY_ENABLED": "false"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        shown = 0
        try:
            while process.poll() is None:
                time.sleep(0.5)
                lines = log.read_text(errors="replace").splitlines()
                for line in lines[shown:]:
                    if "Finished training component" in line or "Restored component" in line:
                        print(f"  {time.time() - started:4.0f} s  {line.split(' - ')[-1].strip()}", flush=True)
                shown = len(lines)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        sys.exit(f"\nThe model could not be trained. Rasa said:\n{tail}\nThe whole log: {log}\n")
    STAMP.write_text(now)
    print(f"  trained in {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    train(force="--force" in sys.argv)
