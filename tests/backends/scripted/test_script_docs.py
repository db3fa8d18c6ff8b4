"""docs/scripted.md against the values it describes, and its session against a server."""

import asyncio
import http.client
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest
from msgspec import Struct
from msgspec.structs import fields

from arriero.backends.scripted.commands import COMMANDS, FaultQuery, SeenQuery
from arriero.backends.scripted.faults import CHECKS, INFERENCE, RETRY_AFTER_SECONDS, WORDS
from arriero.backends.scripted.script import (
    Fault,
    Form,
    Model,
    Play,
    Script,
    ToolCall,
    Usage,
    When,
    parse_script,
)
from arriero.backends.scripted.seen import KEPT, Seen
from arriero.backends.scripted.server import ScriptedServer

TEXT = (Path(__file__).parents[3] / "docs" / "scripted.md").read_text("utf-8")
COMMANDS_TEXT = TEXT.partition("\n## Commands\n")[2]
SECONDS = 10.0


@pytest.mark.parametrize("part", [Script, Model, When, Play, Form, ToolCall, Usage])
def test_every_word_is_described(part: type[Struct]) -> None:
    words = {field.encode_name for field in fields(part)} - {"exact"}
    assert {word for word in words if f"`{word}`" not in TEXT} == set()


@pytest.mark.parametrize(("part", "first"), [(Script, "speaks"), (When, "method"), (Play, "say"), (Form, "as")])
def test_every_word_has_its_row(part: type[Struct], first: str) -> None:
    """Of each table; a row may describe several words."""
    table = next(block for block in TEXT.split("\n\n") if f"| `{first}` |" in block)
    rows = {word for line in table.splitlines() for word in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert rows == {field.encode_name for field in fields(part)} - {"exact"}


def test_every_fault_is_described() -> None:
    assert {fault for fault in get_args(Fault) if f"| `{fault}` |" not in TEXT} == set()


def test_the_examples_are_scripts() -> None:
    examples = [text for text in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if text.startswith("models:")]
    assert len(examples) == 1
    script = parse_script(examples[0])
    assert (len(script.models), len(script.rules)) == (1, 3)


# ---- commands ------------------------------------------------------------------------------------------------------


def test_every_command_has_its_row_and_no_other() -> None:
    assert re.findall(r"^\| `([A-Z]+ [^`]+)` \|", COMMANDS_TEXT, re.MULTILINE) == list(COMMANDS)


def test_every_word_of_a_command_is_described() -> None:
    shorthands = [word for word in WORDS if word not in get_args(Fault)]
    assert re.findall(r"^\| `(\w+)` \|", COMMANDS_TEXT.partition("| field")[0], re.MULTILINE) == shorthands
    assert {
        word for word in SeenQuery.__struct_fields__ + FaultQuery.__struct_fields__ if f"?{word}=" not in TEXT
    } == set()
    shown = COMMANDS_TEXT.partition("| field")[2].partition("\n\n")[0]
    assert {field for field in ("name", *Seen().value(0)) if f"`{field}`" not in shown} == set()
    assert {path for path in CHECKS + INFERENCE if f"`{path}`" not in COMMANDS_TEXT} == set()
    assert COMMANDS_TEXT.count(f"`Retry-After: {RETRY_AFTER_SECONDS}`") == 2
    assert f"the last {SeenQuery().last} of them; `?last=N` shows N, up to {KEPT}" in COMMANDS_TEXT


async def test_the_session_is_true() -> None:
    """Each command of the example, as curl sends it, is answered with the line below it."""
    lines = re.findall(r"^\$ curl (.+)\n(.+)$", COMMANDS_TEXT, re.MULTILINE)
    assert len(lines) == COMMANDS_TEXT.count("$ curl ")
    async with asyncio.timeout(SECONDS), ScriptedServer(Script(name="gpu1")) as server:
        for command, answer in lines:
            assert await asyncio.to_thread(curl, server.address, shlex.split(command)) == answer


def curl(address: str, words: list[str]) -> str:
    """The answer to what `curl` would send with these words."""
    method, body, url = None, None, ""
    given = iter(words)
    for word in given:
        match word:
            case "-X":
                method = next(given)
            case "-d":
                body = next(given)
            case _:
                url = word
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=SECONDS)
    try:
        connection.request(method or ("GET" if body is None else "POST"), "/" + url.split("/", 3)[3], body)
        return connection.getresponse().read().decode()
    finally:
        connection.close()
