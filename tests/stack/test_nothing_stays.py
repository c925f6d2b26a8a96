"""What identifies people is in no table, file or log when their conversations are deleted, some of it never."""

import random
from pathlib import Path

import pytest

from benchmarks import nothing_stays
from benchmarks.common import stack_in


@pytest.mark.stack
def test_nothing_of_a_deleted_conversation_stays(tmp_path: Path) -> None:
    with stack_in(tmp_path, nothing_stays.environment(tmp_path)) as stack:
        findings = nothing_stays.run(stack, people=10, seed=11)
    assert findings.faults == []


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_stays_in_the_file_after_many_erasures(tmp_path: Path, seed: int) -> None:
    planted, left = nothing_stays.churn(tmp_path, seed)
    assert planted > 4_000
    assert left == 0


def test_the_finder_finds_in_every_encoding_and_nothing_else() -> None:
    person = nothing_stays.invent(random.Random(5))
    finder = nothing_stays.Finder(person.all())
    for encoded in (
        person.name.written.upper().encode(),
        person.address.written.encode("utf-16-le"),
        person.address.parts[0].encode("latin-1"),
        repr(person.email.written.encode()).encode(),
        person.identity.parts[0].encode("utf-16-be"),
    ):
        assert finder(b"." * 7 + encoded + b"...")
    assert not finder(b"a conversation in which nobody says who she is, 12345678901")
