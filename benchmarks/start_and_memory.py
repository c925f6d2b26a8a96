"""How soon the stack answers when it is started a second time, and the memory it takes after 200 answers."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from app.client import Chat, ChatError
from benchmarks.common import COMPANIES, NO_LIMITS, QUESTIONS, MeasuredStack, table, write_figures
from tools.stack import NAMES, Ports, Stack

MOST_SECONDS = 25.0
MOST_MEGABYTES = 900.0
_LONGEST_START = 120.0


class Failed(Exception):
    """The stack does not do what was to be measured; the text says what."""


async def _first_answer(stack: Stack, started: float) -> float:
    """Seconds until a first question is answered, asked as soon as somebody listens."""
    timeout = aiohttp.ClientTimeout(total=_LONGEST_START)
    try:
        async with asyncio.timeout(_LONGEST_START), aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                for name in stack.died():
                    raise Failed(stack.obituary(name))
                try:
                    chat = await Chat.begin(session, stack.url, COMPANIES[0])
                    break
                except (aiohttp.ClientError, ChatError):
                    await asyncio.sleep(0.05)
            reply = await chat.ask(QUESTIONS[0].text, timeout=_LONGEST_START)
            seconds = time.monotonic() - started
            await chat.close()
    except TimeoutError:
        raise Failed(f"no answer within {_LONGEST_START:.0f} s") from None
    if reply.failed:
        raise Failed("the first question was not answered")
    return seconds


async def _answers(stack: Stack, count: int, minutes: float) -> None:
    async with asyncio.timeout(minutes * 60), aiohttp.ClientSession() as session:
        done = 0
        while done < count:
            chat = await Chat.begin(session, stack.url, COMPANIES[done % len(COMPANIES)])
            for number in range(min(20, count - done)):
                if (await chat.ask(QUESTIONS[number % len(QUESTIONS)].text)).failed:
                    raise Failed("a question was not answered")
                done += 1
            await chat.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.start_and_memory", description=__doc__)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=5.0, help="the messages end with an error after so long")
    given = parser.parse_args()
    starts = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="personvern-start-") as folder:
        try:
            for _ in range(2):
                started = time.monotonic()
                with MeasuredStack(Path(folder), Ports.free(), NO_LIMITS) as stack:
                    stack.start_all()
                    starts.append(asyncio.run(_first_answer(stack, started)))
                    if len(starts) == 2:
                        at_first = stack.memory()
                        asyncio.run(_answers(stack, given.messages, given.minutes))
                        memory = stack.memory()
        except (Failed, TimeoutError) as error:
            sys.exit(f"start_and_memory: {error or 'not finished in time'}")
    total = sum(memory.values())
    rows = [
        ("first start to the first answer", f"{starts[0]:.1f} s", ""),
        ("second start to the first answer", f"{starts[1]:.1f} s", f"{MOST_SECONDS:.0f} s"),
        *(
            (f"memory of {name}, at first / in the end", f"{at_first[name]:.0f} / {memory[name]:.0f} MB", "")
            for name in NAMES
        ),
        (f"memory after {given.messages} answers", f"{total:.0f} MB", f"{MOST_MEGABYTES:.0f} MB"),
    ]
    print(table(rows, ("start and memory", "", "wanted")))
    figures = {
        "first_start_seconds": round(starts[0], 2),
        "second_start_seconds": round(starts[1], 2),
        "messages": given.messages,
        "memory_mb": {name: round(size, 1) for name, size in memory.items()},
        "memory_at_first_mb": {name: round(size, 1) for name, size in at_first.items()},
        "memory_total_mb": round(total, 1),
    }
    print(write_figures("start_and_memory", figures))
    if starts[1] > MOST_SECONDS or total > MOST_MEGABYTES:
        sys.exit(1)


if __name__ == "__main__":
    main()
