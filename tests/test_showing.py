import io
from collections.abc import Mapping
from typing import Any

import pytest

from arriero.showing import shown
from support.terminal import screen

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def blob(digest: str, total: int, completed: int | None = None) -> dict[str, Any]:
    """A frame as a server sends it: without `completed` where nothing has come."""
    more = {} if completed is None else {"completed": completed}
    return {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total, **more}


def word(text: str) -> dict[str, Any]:
    return {"status": text}


WHOLE = [
    word("pulling manifest"),
    blob(ONE, 5_000_000),
    blob(ONE, 5_000_000, 700_000),
    blob(ONE, 5_000_000, 2_600_000),
    blob(ONE, 5_000_000, 5_000_000),
    blob(TWO, 300, 300),
    word("verifying sha256 digest"),
    word("writing manifest"),
    word("success"),
]


class Terminal(io.StringIO):
    """A terminal that is so many columns wide, as far as rich asks it."""

    def isatty(self) -> bool:
        return True


def lines(*frames: Mapping[str, Any]) -> list[str]:
    """What is written where there is no terminal."""
    out = io.StringIO()
    with shown(out) as show:
        for frame in frames:
            show(frame)
    return out.getvalue().splitlines()


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """The width of the terminal, of a kind that can do what terminals do."""
    width = int(getattr(request, "param", 80))
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "30")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return width


def drawn(*frames: Mapping[str, Any]) -> list[str]:
    out = Terminal()
    with shown(out) as show:
        for frame in frames:
            show(frame)
    return screen(out.getvalue())


# ---- lines ----------------------------------------------------------------------------------------------------------


def test_without_a_terminal_there_are_lines() -> None:
    assert lines(*WHOLE) == [
        "pulling manifest",
        "pulling 111111111111: 0% of 5.0 MB",
        "pulling 111111111111: 10% of 5.0 MB",
        "pulling 111111111111: 50% of 5.0 MB",
        "pulling 111111111111: 5.0 MB",
        "pulling 222222222222: 300 B",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]


def test_a_line_comes_once() -> None:
    again = [
        word("a"),
        word("a"),
        blob(ONE, 2_000_000, 10),
        blob(ONE, 2_000_000, 20),
        blob(ONE, 2_000_000, 5),
        word("a"),
    ]
    assert lines(*again) == ["a", "pulling 111111111111: 0% of 2.0 MB", "a"]


def test_of_what_is_small_it_is_told_when_it_is_there() -> None:
    assert lines(blob(ONE, 900, 0), blob(ONE, 900, 500)) == []
    assert lines(blob(ONE, 900, 0), blob(ONE, 900, 900)) == ["pulling 111111111111: 900 B"]
    assert lines(blob(ONE, 0, 0)) == ["pulling 111111111111: 0 B"]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({}, []),
        ({"status": None}, []),
        ({"status": 7}, ["7"]),
        ({"status": "a\x1b[2Jb\n"}, ["a\ufffd[2Jb\ufffd"]),
        ({"status": "x", "digest": 3, "total": 3}, ["x"]),
        ({"status": "x", "digest": ONE, "total": "much"}, ["x"]),
        ({"status": "x", "digest": ONE, "total": -1}, ["x"]),
        ({"status": "x", "digest": ONE, "total": 10, "completed": 20}, ["x: 10 B"]),
        ({"status": "x", "digest": ONE, "total": 10, "completed": "all"}, []),
    ],
)
def test_a_server_may_say_anything(frame: dict[str, Any], said: list[str]) -> None:
    assert lines(frame) == said


# ---- bars -----------------------------------------------------------------------------------------------------------


def test_on_a_terminal_there_are_bars_between_the_words(columns: int) -> None:
    assert drawn(*WHOLE) == [
        "pulling manifest",
        f"pulling 111111111111 100% {'━' * 16} 5.0 MB",
        f"pulling 222222222222 100% {'━' * 16}  300 B",
        "verifying sha256 digest",
        "writing manifest",
        "success",
        "",
    ]


def test_a_bar_stays_where_the_pull_has_stopped(columns: int) -> None:
    (first, rest) = drawn(*WHOLE[1:4])
    assert first.startswith("pulling 111111111111 52% ━━━━━━━━")
    assert "2.6 MB/5.0 MB" in first
    assert rest == ""


def test_the_cursor_comes_back(columns: int) -> None:
    out = Terminal()
    with pytest.raises(KeyboardInterrupt), shown(out) as show:
        show(WHOLE[2])
        raise KeyboardInterrupt
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1


def test_what_an_earlier_pull_has_brought_is_no_speed(columns: int) -> None:
    shot = drawn(blob(ONE, 10**12, 0), blob(ONE, 10**12, 5 * 10**11))
    assert shot[0].startswith("pulling 111111111111 50%")
    assert "/s" not in shot[0]


@pytest.mark.parametrize("columns", [100, 80, 60, 50, 40, 30], indirect=True)
def test_a_narrow_terminal_has_less_and_no_broken_line(columns: int) -> None:
    shot = drawn(*WHOLE[:4])
    assert len(shot) == 3
    assert shot[1].startswith("pulling 111111111111 52%")
    assert len(shot[1]) <= columns - 4
    assert ("2.6 MB/5.0 MB" in shot[1]) is (columns >= 50)


def test_words_are_no_markup(columns: int) -> None:
    assert drawn(word("[red]a[/red]\x1b[2J"))[0] == "[red]a[/red]\ufffd[2J"
    assert drawn({**blob(ONE, 10, 10), "status": "[b]x"})[0].startswith("[b]x 100%")


def test_a_terminal_that_can_do_nothing_has_lines(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    with shown(out) as show:
        for frame in WHOLE:
            show(frame)
    assert out.getvalue().splitlines() == lines(*WHOLE)
