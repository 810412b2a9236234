"""Commands that are waited for."""

import pytest

from lab.errors import CommandError, LabError
from lab.shell import attempt, pipe, run


def test_output_comes_back_as_text() -> None:
    assert run(["cat"], stdin="grüße\n") == "grüße\n"


def test_a_failure_carries_command_code_and_message() -> None:
    with pytest.raises(CommandError) as caught:
        run(["sh", "-c", "echo why >&2; exit 3"])
    assert caught.value.returncode == 3
    assert str(caught.value) == "`sh -c echo why >&2; exit 3` ended with exit code 3: why"


def test_an_attempt_may_fail() -> None:
    assert attempt(["sh", "-c", "exit 4"]).returncode == 4


def test_nothing_goes_through_a_shell() -> None:
    assert run(["echo", "$HOME; `id`"]) == "$HOME; `id`\n"


def test_a_command_that_does_not_end_is_ended() -> None:
    with pytest.raises(LabError, match=r"`sleep 60` was still running after 0\.1 s"):
        attempt(["sleep", "60"], timeout_s=0.1)


def test_a_missing_command_is_named() -> None:
    with pytest.raises(LabError, match="`no-such-command` is not on this machine"):
        run(["no-such-command"])


def test_bytes_pass_unchanged() -> None:
    assert pipe(["sh", "-c", "cat; exit 5"], b"\xff\x00") == (5, b"\xff\x00", b"")
