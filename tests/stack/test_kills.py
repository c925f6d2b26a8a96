"""Each process is killed while messages are in flight: nothing is lost, doubled or out of order."""

from pathlib import Path

import pytest

from benchmarks import kill_at_random
from benchmarks.common import stack_in
from tools.stack import NAMES

MESSAGES = 60


@pytest.mark.stack
async def test_every_message_is_answered_once_whatever_is_killed(tmp_path: Path) -> None:
    with stack_in(tmp_path) as stack:
        outcome = await kill_at_random.run(
            stack,
            messages=MESSAGES,
            conversations=6,
            seed=7,
            minutes=3,
            when=[(6, "actions"), (16, "app"), (26, "engine"), (36, "app"), (46, "actions")],
        )
    assert outcome.wrong == {}
    assert outcome.answered == MESSAGES
    assert set(outcome.kills) == set(NAMES)
