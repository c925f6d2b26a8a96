"""The fixture `stack` itself: three real processes, a real model, a real question."""

from collections.abc import Callable

import aiohttp
import pytest
from helpers import ROOT

from app.client import Chat
from tools.stack import NAMES, Stack


@pytest.mark.stack
async def test_a_question_is_answered_from_the_statement_and_the_conversation_can_be_erased(stack: Stack) -> None:
    statement = (ROOT / "policies" / "jackon" / "statement.nb.txt").read_text(encoding="utf-8")
    async with aiohttp.ClientSession() as session:
        chat = await Chat.begin(session, stack.url, "jackon", "nb")
        try:
            reply = await chat.ask("Hvilke personopplysninger lagrer dere om meg?", timeout=60)
            assert not reply.failed
            [answer] = reply.messages
            assert answer["act"] == "answer"
            assert answer["quotes"]
            assert all(quote["text"] in statement for quote in answer["quotes"])
            await chat.erase()
        finally:
            await chat.close()
    assert stack.died() == []
    for name in NAMES:
        assert "personopplysninger" not in stack.log(name).read_text(errors="replace"), name


@pytest.mark.parametrize("ci", ["true", "", None])
def test_what_is_missing_is_skipped_here_and_fails_in_ci(
    need: Callable[[bool, str], None], monkeypatch: pytest.MonkeyPatch, ci: str | None
) -> None:
    if ci is None:
        monkeypatch.delenv("CI", raising=False)
    else:
        monkeypatch.setenv("CI", ci)
    need(True, "nothing is missing")
    expected = pytest.fail.Exception if ci == "true" else pytest.skip.Exception
    with pytest.raises(expected, match="the model is missing: make train"):
        need(False, "the model is missing: make train")
