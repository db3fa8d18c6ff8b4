"""The translation against the original: the real llama.cpp applies the one, the renderer executes the other.

Whether a model thinks is always said (`enable_thinking`): where it is not, llama.cpp guesses from what the template
prints, and does not see every template's way.
"""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from arriero.backends.engine.process import Child, ChildSettings
from arriero.backends.http.call import Timeouts
from arriero.backends.http.origin import Origin
from arriero.backends.http.pool import Pool
from arriero.canonical.requests import Message, Tool
from arriero.dialects.ollama.gotemplate import parse_template
from support.engine import needs_engine, post
from support.gguf import scripted
from support.prompts import CONVERSATIONS, FAMILIES, TOOLS, said, wire

pytestmark = needs_engine


def request(messages: tuple[Message, ...], tools: tuple[Tool, ...], **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [wire(message) for message in messages], **fields}
    if tools:
        body["tools"] = [json.loads(bytes(tool.raw)) for tool in tools]
    return body


async def answers(
    tmp_path: Path, family: str, target: str, *bodies: dict[str, Any], script: str = "Hello there"
) -> list[dict[str, Any]]:
    """What a llama.cpp with the translation of a family's template answers to each body."""
    model = scripted(tmp_path / "m.gguf", script, template=parse_template(FAMILIES[family]).to_jinja())
    child = await Child.start(ChildSettings(model=str(model), alias="m", context_length=4096, threads=1))
    pool = Pool(Origin.parse(f"unix://{child.socket}"), timeouts=Timeouts())
    try:
        return [(await post(pool, target, **body))[1] for body in bodies]
    finally:
        pool.close()
        await child.stop()


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_same_prompts(family: str, tmp_path: Path) -> None:
    today = date.today().isoformat()
    template = parse_template(FAMILIES[family])
    bodies, prompts = [], []
    for name, (messages, tools) in CONVERSATIONS.items():
        for think in (True, False, "low") if name in ("one question", "two tools called") else (True,):
            kwargs = {"enable_thinking": bool(think), **({"reasoning_effort": think} if think == "low" else {})}
            bodies.append(request(tuple(messages), tuple(tools), chat_template_kwargs=kwargs))
            prompts.append(template.chat(messages, tools, think=think, today=today))
    got = [answer["prompt"] for answer in await answers(tmp_path, family, "/apply-template", *bodies)]
    assert got == prompts
    assert date.today().isoformat() == today, "midnight passed"


async def test_an_answer_that_is_begun_goes_on(tmp_path: Path) -> None:
    """llama.cpp takes the last message away and puts its text behind the prompt."""
    messages = (said("user", "Hi"), said("assistant", "Well,"))
    (answer,) = await answers(tmp_path, "chatml", "/apply-template", request(messages, ()))
    assert answer["prompt"] == parse_template(FAMILIES["chatml"]).chat(messages, today="2026-01-02")


@pytest.mark.parametrize(
    ("family", "closed"),
    [
        ("chatml", "<|im_start|>user\nHi<|im_end|>\n"),
        ("llama3", "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"),
        ("phi3", "<|user|>\nHi<|end|>\n"),
        ("granite", "<|start_of_role|>user<|end_of_role|>Hi<|end_of_text|>\n"),
    ],
)
async def test_a_prompt_without_the_beginning_of_an_answer(family: str, closed: str, tmp_path: Path) -> None:
    body = request((said("user", "Hi"),), (), add_generation_prompt=False)
    (answer,) = await answers(tmp_path, family, "/apply-template", body)
    assert answer["prompt"] == closed


@pytest.mark.parametrize(
    ("family", "script"),
    [
        ("qwen", '<tool_call>\n{"name": "get_weather", "arguments": {"place": "Oslo"}}\n</tool_call>'),
        ("llama3", '{"name": "get_weather", "parameters": {"place": "Oslo"}}'),
        ("mistral", '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"place": "Oslo"}}]'),
    ],
)
async def test_llama_cpp_reads_tool_calls_by_the_translation(family: str, script: str, tmp_path: Path) -> None:
    body = request((said("user", "Weather?"),), TOOLS, max_tokens=100, parallel_tool_calls=False)
    (answer,) = await answers(tmp_path, family, "/v1/chat/completions", body, script=script)
    calls = [call["function"] for call in answer["choices"][0]["message"]["tool_calls"]]
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [("get_weather", {"place": "Oslo"})]


async def test_llama_cpp_reads_thinking_by_the_translation(tmp_path: Path) -> None:
    body = request((said("user", "Hi"),), (), max_tokens=100)
    (answer,) = await answers(
        tmp_path, "qwen-thinking", "/v1/chat/completions", body, script="<think>Hm hm</think>Hi you"
    )
    message = answer["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm hm", "Hi you")
