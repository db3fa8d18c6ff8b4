"""`template` of /api/generate: rendered here for the engine, left to an Ollama server, named where nobody can."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import ollama
import pytest

from arriero.canonical.requests import Message, Text
from arriero.dialects.ollama.memory import recalled
from e2e.conftest import SENTENCE, THOUGHT
from support.program import Program

LONG = "{{ if .System }}{{ .System }} {{ end }}" + "really " * 40 + "{{ .Prompt }}"


@pytest.mark.parametrize("door", ["engine", "by_ollama"], indirect=True)
def test_the_model_reads_the_prompt_that_the_template_makes(client: ollama.Client) -> None:
    bare = client.generate("hello", "hi", template="{{ .Prompt }}")
    long = client.generate("hello", "hi", template=LONG)
    raw = client.generate("hello", "hi", raw=True)
    assert (bare.response, long.response) == (SENTENCE, SENTENCE)
    assert bare.prompt_eval_count == raw.prompt_eval_count, "nothing else is put around it"
    assert (long.prompt_eval_count or 0) > (bare.prompt_eval_count or 0) + 40


@pytest.mark.parametrize("door", ["engine", "by_ollama"], indirect=True)
def test_a_conversation_goes_on_by_a_template(client: ollama.Client) -> None:
    first = client.generate("hello", "hi", template=LONG)
    said = (Message("user", (Text("hi"),)), Message("assistant", (Text(SENTENCE),)))
    assert recalled(first.context or ()) == said
    *_, last = client.generate("hello", "hi", template=LONG, context=first.context, stream=True)
    assert recalled(last.context or ()) == said * 2


def test_thinking_is_told_apart_without_the_models_own_template(engine: Program) -> None:
    with ollama.Client(engine.url, timeout=20) as client:
        answer = client.generate("thinker", "hi", template="{{ .Prompt }}")
    assert ((answer.thinking or "").strip(), answer.response) == (THOUGHT, SENTENCE)


@pytest.mark.parametrize("door", ["engine", "by_ollama"], indirect=True)
def test_a_faulty_template(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="template: ") as caught:
        client.generate("hello", "hi", template="{{ .Prompt")
    assert caught.value.status_code == 500


def test_a_template_that_takes_long_keeps_nobody_waiting(engine: Program) -> None:
    body = {
        "model": "hello",
        "prompt": "hi",
        "template": "{{ range 400000 }}{{ end }}{{ index .System 99 }}",
        "stream": False,
    }
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(engine.post, "/api/generate", body)
        answers = []
        while not slow.done():
            answers.append(engine.ask("GET", "/")[2])
            time.sleep(0.02)
        status, told = slow.result()
    assert (status, told["error"][:10]) == (500, "template: ")
    assert len(answers) > 2 and set(answers) == {b"Ollama is running"}


def test_a_server_of_which_nobody_knows_whether_it_continues_text(by_openai: Program) -> None:
    body = {"model": "hello", "prompt": "hi", "template": "{{ .Prompt }}", "stream": False}
    status, headers, answer = by_openai.ask("POST", "/api/generate", body)
    assert (status, headers["x-arriero-dropped"], json.loads(answer)["response"]) == (200, "template", SENTENCE)
