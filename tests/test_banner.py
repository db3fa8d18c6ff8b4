import json
import re
import shlex

import pytest

from arriero import __version__
from arriero.banner import BackendLine, base_url, curl_line, model_to_try, render_start
from arriero.config import Address

HERE = Address("127.0.0.1", 11434)
LOCAL = BackendLine("local", "engine", "this machine", "ready", ("arriero-demo:latest",))
GPU = BackendLine("gpu1", "ollama", "http://10.0.0.5:11434", "ready", ("qwen3:4b", "llama3:8b", "a:1", "b:1"))
AWAY = BackendLine("lab", "openai", "http://10.0.0.6/v1", "not reachable [Errno 111]")


def test_the_whole() -> None:
    assert render_start([HERE], [GPU, AWAY, LOCAL], color=False) == (
        f"arriero {__version__} listens on http://127.0.0.1:11434\n"
        "backend  kind    where                  state                      models\n"
        "gpu1     ollama  http://10.0.0.5:11434  ready                      4: qwen3:4b, llama3:8b, a:1 and 1 more\n"
        "lab      openai  http://10.0.0.6/v1     not reachable [Errno 111]  -\n"
        "local    engine  this machine           ready                      1: arriero-demo:latest\n"
        "Try:  curl http://127.0.0.1:11434/api/chat -d "
        '\'{"model":"qwen3:4b","messages":[{"role":"user","content":"Why is the sky blue?"}]}\'\n'
    )


def test_notes_stand_between_the_table_and_what_to_try() -> None:
    notes = ["Store ~/m: 1 model, 5 B", "  cannot be used: [b]\x1b[2J: " + "x " * 150 + "end"]
    assert render_start([HERE], [LOCAL], notes, color=False).splitlines()[2:-1] == [
        "local    engine  this machine  ready  1: arriero-demo:latest",
        "Store ~/m: 1 model, 5 B",
        "  cannot be used: [b]\ufffd[2J: " + "x " * 150 + "end",
    ]


@pytest.mark.parametrize(
    ("addresses", "first"),
    [
        ((HERE,), "http://127.0.0.1:11434"),
        ((HERE, Address("::1", 11434)), "http://127.0.0.1:11434, http://[::1]:11434"),
    ],
)
def test_who_is_reached_from_here_alone_says_no_more(addresses: tuple[Address, ...], first: str) -> None:
    assert render_start(addresses, [], color=False).splitlines()[:-1] == [f"arriero {__version__} listens on {first}"]


@pytest.mark.parametrize(
    ("addresses", "first"),
    [
        ([Address("0.0.0.0", 80)], "http://127.0.0.1:80 and port 80 of every other address of this machine"),
        ([Address("::", 80)], "http://127.0.0.1:80 and port 80 of every other address of this machine"),
        (
            [Address("0.0.0.0", 80), Address("::", 80)],
            "http://127.0.0.1:80 and port 80 of every other address of this machine",
        ),
        ([HERE, Address("10.0.0.9", 80)], "http://127.0.0.1:11434, http://10.0.0.9:80"),
        ([Address("gpu1", 80)], "http://gpu1:80"),
    ],
)
def test_who_is_reached_from_elsewhere_says_so_and_who_may_come(addresses: list[Address], first: str) -> None:
    lines = render_start(addresses, [LOCAL], color=False).splitlines()
    assert lines[:2] == [
        f"arriero {__version__} listens on {first}",
        "Other machines can reach it. Nobody is asked for a key: whoever reaches the port can use every model.",
    ]


def test_a_name_that_nobody_can_read_is_cut_and_not_to_be_tried() -> None:
    long = BackendLine("odd", "ollama", "http://10.0.0.7:11434", "ready", ("x" * 10_000, "y:1b"))
    shown = render_start([HERE], [long], color=False)
    assert f"2: {'x' * 80}..., y:1b\n" in shown
    assert model_to_try([long]) == "y:1b"
    assert len(shown) < 1000


def test_colours_only_where_asked() -> None:
    assert "\x1b[" in render_start([HERE], [GPU], color=True)
    plain = render_start([HERE], [GPU], color=False)
    assert re.sub(r"\x1b\[[0-9;]*m", "", render_start([HERE], [GPU], color=True)) == plain


def test_nothing_to_try() -> None:
    assert "Try:" not in render_start([HERE], [AWAY], color=False)
    assert "No backend is there." in render_start([HERE], [], color=False)


@pytest.mark.parametrize(
    ("backends", "model"),
    [
        ([LOCAL], "arriero-demo"),
        ([LOCAL._replace(models=("arriero-demo:latest", "mine:latest"))], "arriero-demo"),
        ([LOCAL._replace(models=("mine:latest",))], "mine:latest"),
        ([LOCAL, GPU], "qwen3:4b"),
        ([GPU], "qwen3:4b"),
        ([AWAY, GPU], "qwen3:4b"),
        ([GPU._replace(mute=frozenset(["qwen3:4b"])), LOCAL], "llama3:8b"),
        ([GPU._replace(mute=frozenset(GPU.models)), LOCAL], "arriero-demo"),
        # What a backend that does not answer is said to have is tried last.
        ([AWAY._replace(models=("extra",)), LOCAL], "arriero-demo"),
        ([AWAY._replace(models=("extra",))], "extra"),
        ([AWAY], None),
        ([], None),
    ],
)
def test_the_model_to_try(backends: list[BackendLine], model: str | None) -> None:
    assert model_to_try(backends) == model


@pytest.mark.parametrize(
    ("address", "url"),
    [
        (Address("", 1), "http://127.0.0.1:1"),
        (Address("0.0.0.0", 1), "http://127.0.0.1:1"),
        (Address("::", 1), "http://127.0.0.1:1"),
        (Address("::1", 1), "http://[::1]:1"),
        (Address("host", 1), "http://host:1"),
    ],
)
def test_urls(address: Address, url: str) -> None:
    assert base_url(address) == url


def test_the_command_survives_the_shell() -> None:
    words = shlex.split(curl_line(HERE, "it's:1"))
    assert words[:3] == ["curl", "http://127.0.0.1:11434/api/chat", "-d"]
    assert json.loads(words[3])["model"] == "it's:1"


def test_a_backends_words_do_not_steer_the_terminal() -> None:
    bad = BackendLine("lab", "openai", "w", "\x1b]0;title\x07", ("\x1b[2Jm\n\r",))
    shown = render_start([HERE], [bad], color=False)
    assert [char for char in shown if not char.isprintable() and char != "\n"] == []
    assert shown.count("\n") == 4
