"""Starting the three processes together: for `make run`, the tests and the benchmarks."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("engine", "actions", "app")
MODEL = ROOT / "models" / "personvern.tar.gz"


class StackError(Exception):
    """A process could not be started; the text says which, why and what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    app: int = 8000
    engine: int = 5005
    actions: int = 5055

    @classmethod
    def free(cls) -> "Ports":
        sockets = [socket.socket() for _ in range(3)]
        try:
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            return cls(*(one.getsockname()[1] for one in sockets))
        finally:
            for one in sockets:
                one.close()


@dataclass(slots=True)
class Stack:
    """`folder` takes the databases and the logs. `environment` is laid over the settings of every process."""

    folder: Path
    ports: Ports = field(default_factory=Ports)
    environment: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._environment = {
            **{key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"},
            "DATABASE_URL": f"sqlite:///{self.folder}/personvern.db",
            "ENGINE_DATABASE_URL": f"sqlite:///{self.folder}/engine.db",
            "ENGINE_URL": f"http://127.0.0.1:{self.ports.engine}",
            "ENGINE_TOKEN": secrets.token_urlsafe(24),
            "ACTIONS_URL": f"http://127.0.0.1:{self.ports.actions}/webhook",
            "ACTIONS_TOKEN": secrets.token_urlsafe(24),
            "DATA_KEY": secrets.token_urlsafe(32),
            "HASH_KEY": secrets.token_urlsafe(32),
            "OUTBOX_FOLDER": str(self.folder / "outbox"),
            "HOST": "127.0.0.1",
            "PORT": str(self.ports.app),
            "PYTHONUNBUFFERED": "1",
            "RASA_TELEMETRY_ENABLED": "false",
            # One thread is what one message needs; more only fight over the cores.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "TF_NUM_INTRAOP_THREADS": "1",
            # Threads share two heaps instead of having one each.
            "MALLOC_ARENA_MAX": "2",
            **self.environment,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.app}"

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def command(self, name: str) -> list[str]:
        if name == "engine":
            rasa = str(ROOT / "engine" / ".venv" / "bin" / "rasa")
            return [rasa, "run", "-i", "127.0.0.1", "-p", str(self.ports.engine), "-m", str(MODEL)]
        module = "actions" if name == "actions" else "app.main"
        return [sys.executable, "-m", module]

    def check_ports(self) -> None:
        for name in NAMES:
            port = getattr(self.ports, name)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    setting = {"app": "PORT", "engine": "ENGINE_PORT", "actions": "ACTIONS_PORT"}[name]
                    raise StackError(
                        f"Port {port}, which the {name} process needs, is taken by another program. "
                        f"Stop that program, or choose another port: make run {setting}={port + 100}"
                    ) from None

    def start(self, name: str) -> None:
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.command(name),
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_all(self) -> None:
        # The slowest first; the others wait for nobody.
        for name in NAMES:
            self.start(name)

    def died(self) -> list[str]:
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as response:  # noqa: S310 - loopback
                health = json.loads(response.read())
        except (OSError, urllib.error.URLError, ValueError):
            return False
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports.actions}/health", timeout=2) as response:
                return bool(health["ok"]) and response.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def wait(self, seconds: float = 120.0, meanwhile: Callable[[], None] = lambda: None) -> float:
        """Seconds until all three answered; raises StackError when one dies first or none does in time."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            for name in self.died():
                raise StackError(self.obituary(name))
            if self.answers():
                return time.monotonic() - started
            meanwhile()
            time.sleep(0.1)
        raise StackError(f"The processes did not answer within {seconds:.0f} s. Their logs are in {self.folder}.")

    def obituary(self, name: str) -> str:
        code = self.processes[name].poll()
        how = f"was killed (signal {-code})" if code is not None and code < 0 else f"ended with code {code}"
        last = self.log(name).read_text(errors="replace").strip().splitlines()[-1:]
        said = f" Its last words: {last[0][:300]}" if last else ""
        return f"The {name} process {how}.{said} The whole log: {self.log(name)}"

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        process = self.processes.get(name)
        if process is None or process.poll() is not None:
            return
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            pass

    def stop(self) -> None:
        """Ask all to end, then make them; nothing is left behind."""
        for name in reversed(NAMES):
            self.kill(name, signal.SIGTERM)
        deadline = time.monotonic() + 6
        for process in self.processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
        for name in NAMES:
            self.kill(name)
        for process in self.processes.values():
            process.wait()

    def memory(self) -> dict[str, float]:
        """Resident memory of each process with its children, in MB."""
        sizes: dict[str, float] = {}
        for name, process in self.processes.items():
            total = 0
            for status in Path("/proc").glob("[0-9]*/stat"):
                try:
                    fields = status.read_text().rsplit(")", 1)[1].split()
                    if int(fields[3]) == process.pid:  # its session
                        total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
                except (OSError, IndexError):
                    continue
            sizes[name] = total / 1e6
        return sizes

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
