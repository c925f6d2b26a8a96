"""How fast an answer is, against the bot that `rasa init` makes.

Ours: from sending a message through the public chat API to its `turn_done` on the stream that is open already, at turn
2 and at turn 20 of a conversation. The bare bot: one call of its REST channel, at the same turns, with the default
configuration (DIET, TED). Both servers run all the time with the same settings for threads; requests alternate, one at
a time.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from app.client import Chat
from benchmarks.common import COMPANIES, FIGURES, QUESTIONS, percentile, stack_in, table, write_figures
from tools.stack import ROOT, Ports

MEASURED_TURNS = (2, 20)
MOST_AT_P50, MOST_AT_P95 = 1.0, 1.25
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
_RASA = ROOT / "engine" / ".venv" / "bin" / "rasa"
_SAYINGS = ("hello", "I am great", "are you a bot?", "see you later")
_WARMING = 30


class Failed(Exception):
    """Something that was to be measured does not work; the text says what."""


@dataclass(slots=True)
class Run:
    """Seconds by turn."""

    ours: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    bare: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))


def make_bare_bot(folder: Path) -> None:
    """`rasa init`, once; it trains too."""
    if list(folder.glob("models/*.tar.gz")):
        return
    print("making and training the bare bot (a minute or two)", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [_RASA, "init", "--no-prompt", "--init-dir", folder],
        check=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **THREADS, "RASA_TELEMETRY_ENABLED": "false"},
    )


@contextmanager
def bare_bot(folder: Path, port: int, threads: Mapping[str, str]) -> Iterator[str]:
    """The bare bot, running; gives the address of its REST channel."""
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [_RASA, "run", "-i", "127.0.0.1", "-p", str(port), "-m", "models"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **threads, "RASA_TELEMETRY_ENABLED": "false"},
        )
        try:
            yield f"http://127.0.0.1:{port}/webhooks/rest/webhook"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def _ask_bare(session: aiohttp.ClientSession, url: str, sender: str, text: str) -> float:
    started = time.perf_counter()
    async with session.post(url, json={"sender": sender, "message": text}) as response:
        answer = await response.json()
    seconds = time.perf_counter() - started
    if not answer:
        raise Failed(f"the bare bot says nothing to {text!r}")
    return seconds


async def _ask_ours(chat: Chat, text: str) -> float:
    reply = await chat.ask(text, timeout=30)
    if reply.failed or not reply.messages:
        raise Failed(f"no answer to {text!r}")
    return reply.seconds


async def _one_run(session: aiohttp.ClientSession, ours: str, bare: str, conversations: int, name: str) -> Run:
    run = Run()
    for number in range(conversations):
        chat = await Chat.begin(session, ours, COMPANIES[number % len(COMPANIES)])
        try:
            for turn in range(1, max(MEASURED_TURNS) + 1):
                question = QUESTIONS[(7 * number + turn) % len(QUESTIONS)].text
                saying = _SAYINGS[(number + turn) % len(_SAYINGS)]
                sender = f"{name}-{number}"
                if (number + turn) % 2:
                    first = await _ask_ours(chat, question)
                    second = await _ask_bare(session, bare, sender, saying)
                else:
                    second = await _ask_bare(session, bare, sender, saying)
                    first = await _ask_ours(chat, question)
                if turn in MEASURED_TURNS:
                    run.ours[turn].append(first)
                    run.bare[turn].append(second)
        finally:
            await chat.close()
    return run


async def measure(ours: str, bare: str, *, runs: int, conversations: int, minutes: float) -> list[Run]:
    done = []
    timeout = aiohttp.ClientTimeout(total=60)
    async with asyncio.timeout(minutes * 60), aiohttp.ClientSession(timeout=timeout) as session:
        await _until_bare_answers(session, bare)
        chat = await Chat.begin(session, ours, COMPANIES[0])
        for number in range(_WARMING):
            await _ask_ours(chat, QUESTIONS[number % len(QUESTIONS)].text)
            await _ask_bare(session, bare, "warming", _SAYINGS[number % len(_SAYINGS)])
        await chat.close()
        for number in range(runs):
            done.append(await _one_run(session, ours, bare, conversations, f"run-{number}"))
            figures = ratios(done[-1])
            shown = ", ".join(f"turn {turn}: p50 {p50:.2f}, p95 {p95:.2f}" for turn, (p50, p95) in figures.items())
            print(f"run {number + 1} of {runs}: ratios {shown}", flush=True)
    return done


async def _until_bare_answers(session: aiohttp.ClientSession, url: str, seconds: float = 120.0) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        try:
            await _ask_bare(session, url, "first", _SAYINGS[0])
            return
        except aiohttp.ClientError:
            await asyncio.sleep(0.5)
    raise Failed(
        f"the bare bot did not answer within {seconds:.0f} s; its log is in var/benchmarks/bare-bot/server.log"
    )


def ratios(run: Run) -> dict[int, tuple[float, float]]:
    """By turn: p50 and p95 of ours over the bare bot's."""
    return {
        turn: (
            percentile(run.ours[turn], 50) / percentile(run.bare[turn], 50),
            percentile(run.ours[turn], 95) / percentile(run.bare[turn], 95),
        )
        for turn in MEASURED_TURNS
    }


def summary(runs: Sequence[Run]) -> tuple[str, dict[str, Any], bool]:
    """The table, the figures, and whether they are as wanted."""
    rows: list[Sequence[object]] = []
    figures: dict[str, Any] = {}
    good = True
    for turn in MEASURED_TURNS:
        ours = [second for run in runs for second in run.ours[turn]]
        bare = [second for run in runs for second in run.bare[turn]]
        by_run = [ratios(run)[turn] for run in runs]
        for place, (percent, most) in enumerate(((50, MOST_AT_P50), (95, MOST_AT_P95))):
            ratio = median(of_run[place] for of_run in by_run)
            good = good and ratio <= most
            rows.append(
                (
                    f"turn {turn}, p{percent}",
                    f"{1000 * percentile(ours, percent):.1f} ms",
                    f"{1000 * percentile(bare, percent):.1f} ms",
                    " ".join(f"{of_run[place]:.2f}" for of_run in by_run),
                    f"{ratio:.2f}",
                    f"{most:.2f}",
                )
            )
            figures[f"turn_{turn}_p{percent}"] = {
                "ours_ms": round(1000 * percentile(ours, percent), 2),
                "bare_ms": round(1000 * percentile(bare, percent), 2),
                "ratios": [round(of_run[place], 3) for of_run in by_run],
                "median_ratio": round(ratio, 3),
                "wanted": most,
            }
        figures[f"turn_{turn}_samples"] = [len(run.ours[turn]) for run in runs]
    head = ("latency", "ours", "bare bot", "ratio by run", "median", "wanted")
    return table(rows, head), figures, good


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.latency", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--conversations", type=int, default=60, help="of each run: as many samples of each turn")
    parser.add_argument("--minutes", type=float, default=20.0, help="the measurement ends with an error after so long")
    given = parser.parse_args()
    folder = FIGURES / "bare-bot"
    make_bare_bot(folder)
    try:
        with stack_in(None, THREADS) as stack, bare_bot(folder, Ports.free().app, THREADS) as bare:
            runs = asyncio.run(
                measure(stack.url, bare, runs=given.runs, conversations=given.conversations, minutes=given.minutes)
            )
    except (Failed, TimeoutError) as error:
        sys.exit(f"latency: {error or 'not finished in time'}")
    shown, figures, good = summary(runs)
    print(shown)
    print(write_figures("latency", {"runs": given.runs, "conversations": given.conversations, **THREADS, **figures}))
    if not good:
        sys.exit(1)


if __name__ == "__main__":
    main()
