"""`personvern`: the commands for a terminal."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

import aiohttp

from app.client import Chat, ChatError
from app.evaluation import EvaluationError, ask_all, read_questions, table
from personvern.answers.overview import overview
from personvern.languages.texts import texts
from personvern.statements.library import Library

_DEFAULT_URL = "http://127.0.0.1:8000"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="personvern", description="The privacy assistant's commands.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    evaluate = commands.add_parser("evaluate", help="put a file of questions to the running assistant and judge it")
    evaluate.add_argument("file", type=Path, nargs="+", help="JSON Lines: id, company, text and what is expected")
    evaluate.add_argument("--out", type=Path, help="write one JSON object a line with what was answered")
    evaluate.add_argument("--url", default=_DEFAULT_URL)
    evaluate.add_argument("--at-once", type=int, default=4, help="conversations at the same time")
    evaluate.set_defaults(run=_evaluate)

    chat = commands.add_parser("chat", help="chat in the terminal")
    chat.add_argument("--company", required=True)
    chat.add_argument("--language", choices=("nb", "nn", "en"))
    chat.add_argument("--url", default=_DEFAULT_URL)
    chat.set_defaults(run=_chat)

    answers = commands.add_parser("answers", help="write what the assistant says, topic by topic, for each company")
    answers.add_argument("--policies", type=Path, default=Path("policies"))
    answers.add_argument("--out", type=Path, default=Path("docs/answers"))
    answers.set_defaults(run=_answers)

    given = parser.parse_args(arguments)
    try:
        given.run(given)
    except (EvaluationError, ChatError, OSError) as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        print()


def _evaluate(given: argparse.Namespace) -> None:
    questions = [question for path in given.file for question in read_questions(path)]

    def progress(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done}/{len(questions)}", end="", file=sys.stderr, flush=True)

    results = asyncio.run(ask_all(given.url.rstrip("/"), questions, at_once=given.at_once, progress=progress))
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if given.out:
        given.out.write_text(
            "".join(json.dumps(result, ensure_ascii=False) + "\n" for result in results), encoding="utf-8"
        )
    print(table(questions, results))


def _answers(given: argparse.Namespace) -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    for company in Library(given.policies).companies():
        page = given.out / f"{company.id}.md"
        page.write_text(overview(company), encoding="utf-8")
        print(page)


def _chat(given: argparse.Namespace) -> None:
    asyncio.run(_converse(given))


async def _converse(given: argparse.Namespace) -> None:
    async with aiohttp.ClientSession() as session:
        try:
            chat = await Chat.begin(session, given.url.rstrip("/"), given.company, given.language)
        except aiohttp.ClientError:
            raise ChatError(0, {"detail": f"{given.url} does not answer. Is `make run` up?"}) from None
        offers: list[str] = []
        try:
            for message in chat.greeting:
                offers = _show(message)
            while True:
                try:
                    text = (await asyncio.to_thread(input, "> ")).strip()
                except EOFError:
                    return
                if not text:
                    continue
                try:
                    if text.isdecimal() and 0 < int(text) <= len(offers):
                        reply = await chat.ask(offer=offers[int(text) - 1])
                    else:
                        reply = await chat.ask(text)
                except ChatError as error:
                    print(f"  {error}")
                    continue
                for message in reply.messages:
                    offers = _show(message)
        finally:
            await chat.close()


def _show(message: dict) -> list[str]:  # type: ignore[type-arg]
    """Print a message with its proof and its buttons, numbered; returns their ids."""
    words = texts(message["language"], "transcript")
    print(f"\n{message['text']}")
    for quote in message.get("quotes", ()):
        print("    " + words["quote"].format(heading=quote["heading"]))
        for line in quote["text"].splitlines():
            print(f"    | {line}")
        if quote.get("translation"):
            print("    " + words["translation"])
            for line in quote["translation"]["text"].splitlines():
                print(f"    | {line}")
    offers = message.get("offers", ())
    for number, offer in enumerate(offers, start=1):
        print(f"  [{number}] {offer['label']}")
    print()
    return [offer["id"] for offer in offers]


if __name__ == "__main__":
    main()
