"""A filter file, and old clients' names: model servers and the program are processes."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import ollama
import openai
import pytest

from support.hosts import Host
from support.program import Program, command, environment, free_port, program, until, write_config

CHANGED = "the filter has changed"
STAYS = "the filter stays as it was"

ROUTER = ["openai/gpt-4o", "openai/gpt-4o-mini", "x/llama-3:free", "google/gemini-pro"]
LOCAL = ["qwen3:4b", "llama3:latest"]


@contextmanager
def hosts(folder: Path) -> Iterator[Sequence[dict[str, Any]]]:
    """A vendor with the OpenAI API and an Ollama server, as entries of a configuration."""
    with ExitStack() as stack:
        router, local = Host("router", folder / "router", ROUTER), Host("local", folder / "local", LOCAL)
        for host in (router, local):
            stack.callback(host.kill)
            host.start()
        yield (
            {"name": "router", "kind": "openai", "url": f"{router.url}/v1"},
            {"name": "local", "kind": "ollama", "url": local.url},
        )


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program that shows two models of six; an alias stands for hidden ones, another one for both."""
    folder = tmp_path_factory.mktemp("filtered")
    (folder / "run").mkdir()
    (folder / "run" / "rules.txt").write_text("# mine\ngpt-4o*:latest\n*:free\nllama3\n!*-mini:latest\n!llama-3*\n")
    aliases = {"best": ["google/gemini-pro"], "some": ["qwen3:4b", "gpt-4o"]}
    with (
        hosts(folder) as backends,
        program(folder / "run", backends, models={"filter_file": "rules.txt"}, routing={"aliases": aliases}) as running,
    ):
        until(lambda: names(running) == SHOWN)
        yield running


SHOWN = ["llama3:latest", "openai/gpt-4o:latest", "some:latest"]


def names(running: Program) -> list[str]:
    return sorted(model["name"] for model in running.get("/api/tags")["models"])


def told(running: Program, event: str) -> list[dict[str, Any]]:
    """What the log says with these words, without what every line has."""
    usual = ("event", "timestamp", "logger")
    found = [line for line in running.lines if line["event"] == event]
    return [{key: value for key, value in line.items() if key not in usual} for line in found]


# ---- listings and requests -----------------------------------------------------------------------------------------


def test_listings_show_what_the_filter_admits(filtered: Program) -> None:
    assert names(filtered) == SHOWN
    assert sorted(model["id"] for model in filtered.get("/v1/models")["data"]) == [
        "llama3:latest",
        "openai/gpt-4o",
        "some",
    ]
    assert sorted(model["id"] for model in filtered.get("/olla/models")["data"]) == ["llama3:latest", "openai/gpt-4o"]


def chat(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": False}


@pytest.mark.parametrize(
    "model", ["gpt-4o", "gpt-4o:latest", "openai/gpt-4o:latest", "router/gpt-4o", "llama3", "some"]
)
def test_what_is_shown_answers(filtered: Program, model: str) -> None:
    status, answer = filtered.post("/api/chat", chat(model))
    assert (status, answer["model"]) == (200, model)


HIDDEN = [
    "openai/gpt-4o-mini",
    "gpt-4o-mini",
    "gpt-4o-mini:latest",
    "router/openai/gpt-4o-mini",
    "x/llama-3:free",
    "llama-3:free",
    "llama-3-free",
    "llama-3-free:latest",
    "llama-3",
    "Qwen3:4B",
    "local/qwen3",
    "best",
]
"""Each spelling of a hidden model."""


@pytest.mark.parametrize("model", HIDDEN)
def test_what_is_hidden_is_forbidden_in_every_spelling(filtered: Program, model: str) -> None:
    refusal = {"error": f"Model '{model}' is not allowed by the filter", "type": "model_forbidden"}
    assert filtered.post("/api/chat", chat(model)) == (403, refusal)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", chat("gemini-pro")),
        ("/api/chat", {**chat("gemini-pro"), "stream": True}),
        ("/api/generate", {"model": "gemini-pro", "prompt": "hi"}),
        ("/api/embed", {"model": "gemini-pro", "input": "hi"}),
        ("/api/embeddings", {"model": "gemini-pro", "prompt": "hi"}),
        ("/api/show", {"model": "gemini-pro"}),
        ("/api/show", {"name": "gemini-pro"}),
        ("/api/copy", {"source": "gemini-pro", "destination": "gpt-4o-x"}),
        ("/api/push", {"model": "gemini-pro"}),
        # A model that the filter would hide is not made either.
        ("/api/copy", {"source": "llama3", "destination": "gemini-pro"}),
        ("/api/pull", {"model": "gemini-pro"}),
        ("/api/create", {"model": "gemini-pro", "from": "llama3"}),
    ],
)
def test_every_path_of_ollama_that_takes_a_model(filtered: Program, path: str, body: object) -> None:
    refusal = {"error": "Model 'gemini-pro' is not allowed by the filter", "type": "model_forbidden"}
    assert filtered.post(path, body) == (403, refusal)


def test_a_hidden_model_is_not_deleted(filtered: Program) -> None:
    status, _, answer = filtered.ask("DELETE", "/api/delete", {"model": "qwen3:4b"})
    assert (status, json.loads(answer)["type"]) == (403, "model_forbidden")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat("gemini-pro")),
        ("/v1/completions", {"model": "gemini-pro", "prompt": "hi"}),
        ("/v1/embeddings", {"model": "gemini-pro", "input": "hi"}),
        ("/v1/rerank", {"model": "gemini-pro", "query": "hi", "documents": ["a"]}),
        ("/olla/openai/v1/chat/completions", chat("gemini-pro")),
    ],
)
def test_every_path_of_openai_that_takes_a_model(filtered: Program, path: str, body: object) -> None:
    status, answer = filtered.post(path, body)
    assert (status, answer["error"]["message"]) == (403, "Model 'gemini-pro' is not allowed by the filter")


def test_one_model_of_the_list(filtered: Program) -> None:
    asked = [
        filtered.ask("GET", f"/v1/models/{name}")[0] for name in ("gpt-4o", "gemini-pro", "google/gemini-pro", "x")
    ]
    assert asked == [200, 403, 403, 404]


def test_what_nobody_has_is_unknown(filtered: Program) -> None:
    for model in ("gpt-5", "gpt-4", "llama-2", "gemini"):
        status, answer = filtered.post("/api/chat", chat(model))
        assert (status, answer) == (404, {"error": f"model '{model}' not found", "type": "model_not_found"})


def test_a_loaded_model_that_is_hidden_is_not_listed(tmp_path: Path) -> None:
    with hosts(tmp_path) as backends, program(tmp_path / "run", backends, models={"filter_file": "f"}) as running:
        for model in ("qwen3:4b", "llama3"):
            assert running.post("/api/chat", chat(model))[0] == 200
        assert sorted(model["name"] for model in running.get("/api/ps")["models"]) == ["llama3:latest", "qwen3:4b"]
        (running.folder / "f").write_text("!qwen3*")
        until(lambda: bool(told(running, CHANGED)))
        assert [model["name"] for model in running.get("/api/ps")["models"]] == ["llama3:latest"]


def test_the_clients_say_what_is_forbidden(filtered: Program) -> None:
    with closing(ollama.Client(filtered.url)) as asking, pytest.raises(ollama.ResponseError) as refused:
        asking.chat("gemini-pro", [{"role": "user", "content": "hi"}])
    assert (refused.value.status_code, refused.value.error) == (
        403,
        "Model 'gemini-pro' is not allowed by the filter",
    )
    with (
        openai.OpenAI(base_url=f"{filtered.url}/v1", api_key="x", max_retries=0) as client,
        pytest.raises(openai.PermissionDeniedError, match="Model 'gemini-pro' is not allowed by the filter"),
    ):
        client.chat.completions.create(model="gemini-pro", messages=[{"role": "user", "content": "hi"}])


def test_a_name_that_nobody_lists_passes_the_filter_too(tmp_path: Path) -> None:
    """With `unknown_model: any` it would go to a backend that may have it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "f").write_text("!secret*\n")
    with (
        hosts(tmp_path) as backends,
        program(tmp_path / "run", backends, models={"filter_file": "f"}, routing={"unknown_model": "any"}) as running,
    ):
        refusal = {"error": "Model 'x/secret-1' is not allowed by the filter", "type": "model_forbidden"}
        assert running.post("/api/chat", chat("x/secret-1")) == (403, refusal)
        assert running.post("/api/chat", chat("x/other-1"))[1].get("type") != "model_forbidden"


# ---- while it runs -------------------------------------------------------------------------------------------------


@contextmanager
def following(folder: Path, rules: str, **sections: Any) -> Iterator[tuple[Program, Path]]:
    """A program whose filter file will change."""
    (folder / "run").mkdir()
    file = folder / "run" / "rules.txt"
    file.write_text(rules)
    with (
        hosts(folder) as backends,
        program(folder / "run", backends, models={"filter_file": "rules.txt"}, **sections) as running,
    ):
        yield running, file


def test_a_changed_file_counts_for_listings_and_requests_at_once(tmp_path: Path) -> None:
    with following(tmp_path, "gpt-4o\n") as (running, file):
        until(lambda: names(running) == ["openai/gpt-4o:latest"])
        assert running.post("/api/chat", chat("qwen3:4b"))[0] == 403
        file.write_text("!gpt-4o\n!*mini*\n")
        until(lambda: bool(told(running, CHANGED)))
        assert told(running, CHANGED) == [{"level": "info", "file": str(file), "rules": 2, "shown": 3, "hidden": 3}]
        assert names(running) == ["llama3:latest", "qwen3:4b", "x/llama-3:free"]
        statuses = [running.post("/api/chat", chat(model))[0] for model in ("qwen3:4b", "gpt-4o")]
        assert statuses == [200, 403]
        # In the place of the old one, as editors do.
        new = file.with_suffix(".new")
        new.write_text("*\n")
        new.replace(file)
        until(lambda: len(told(running, CHANGED)) == 2)
        assert told(running, CHANGED)[-1]["shown"] == 6
        # A file that is gone hides nothing.
        file.write_text("!*\n")
        until(lambda: len(told(running, CHANGED)) == 3)
        assert names(running) == []
        file.unlink()
        until(lambda: len(told(running, CHANGED)) == 4)
        assert told(running, f"models.filter_file: there is no file {file}; every model is allowed") == [
            {"level": "warning"}
        ]
        assert len(names(running)) == 6
        # The same rules in other words change nothing.
        file.write_text("# nothing\n")
        until(lambda: bool(told(running, "the configuration was read again and is the same")))
        assert len(told(running, CHANGED)) == 4


def test_a_hang_up_reads_it_where_nobody_watches_it(tmp_path: Path) -> None:
    with following(tmp_path, "gpt-4o\n", server={"watch": False}) as (running, file):
        file.write_text("llama3\n")
        assert running.post("/api/chat", chat("gpt-4o"))[0] == 200
        running.process.send_signal(signal.SIGHUP)
        until(lambda: bool(told(running, CHANGED)))
        assert [running.post("/api/chat", chat(model))[0] for model in ("gpt-4o", "llama3")] == [403, 200]


def to_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def to_other_bytes(file: Path) -> None:
    file.write_bytes(b"llama3\n\xff\xfe\n")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (to_folder, "{} is a folder; name the file in it"),
        (to_other_bytes, "{}:2: this is not UTF-8; save the file as text in UTF-8"),
    ],
)
def test_of_a_file_that_cannot_be_read_any_more_the_old_rules_stay(
    tmp_path: Path, spoil: Callable[[Path], None], problem: str
) -> None:
    with following(tmp_path, "gpt-4o\n") as (running, file):
        spoil(file)
        until(lambda: bool(told(running, STAYS)))
        assert told(running, STAYS)[-1] == {"level": "error", "problem": problem.format(file), "rules": 1}
        assert "every model is allowed" not in running.log
        assert (names(running), running.post("/api/chat", chat("llama3"))[0]) == (["openai/gpt-4o:latest"], 403)
        if file.is_dir():
            file.rmdir()
        good = file.with_suffix(".good")
        good.write_text("llama3\n")
        good.replace(file)
        until(lambda: names(running) == ["llama3:latest"])


def test_one_that_cannot_be_read_at_the_start_hides_nothing_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "run" / "rules.txt").mkdir(parents=True)
    file = tmp_path / "run" / "rules.txt"
    with (
        hosts(tmp_path) as backends,
        program(tmp_path / "run", backends, models={"filter_file": "rules.txt"}) as running,
    ):
        until(lambda: len(names(running)) == 6)
        warning = f"models.filter_file: {file} is a folder; name the file in it; every model is allowed"
        assert f"arriero: warning: {warning}\n" in running.log


def test_a_hundred_thousand_lines_hide_nothing_that_they_do_not_name(tmp_path: Path) -> None:
    lines = "".join(f"!vendor/model-{number}*\n" for number in range(99_998))
    with following(tmp_path, f"!\n{lines}!gpt-4o-mini\n") as (running, file):
        until(lambda: len(names(running)) == 5)
        assert f"arriero: warning: {file}:1: a ! excludes what stands behind it" in running.log
        file.write_text(f"{lines}!gpt-4o\n!qwen3:4b\n")
        until(lambda: bool(told(running, CHANGED)))
        assert told(running, CHANGED) == [
            {"level": "info", "file": str(file), "rules": 100_000, "shown": 4, "hidden": 2}
        ]


# ---- without a configuration file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["", "MODELS_FILTER_PATH"])
def test_the_file_of_ollama_proxy(tmp_path: Path, where: str) -> None:
    """In the folder where arriero is started, or where the variable says; it may come later."""
    port, file = free_port(), tmp_path / (f"my-{where}.txt" if where else "models-filter.txt")
    with hosts(tmp_path) as (router, _):
        variables = {
            "OPENAI_API_KEY": "sk-x",
            "OPENAI_BASE_URL": router["url"],
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "ARRIERO_DISCOVER": "false",
            **({where: file.name} if where else {}),
        }
        with (tmp_path / "stdout").open("wb") as out, (tmp_path / "stderr").open("wb") as err:
            process = subprocess.Popen(
                command("serve", "--no-demo-model"),
                cwd=tmp_path,
                env=environment(tmp_path, variables),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        running = Program(process, port, tmp_path)
        try:
            running.wait_ready()
            until(lambda: len(names(running)) == 4)
            file.write_text("*gemini*:*\n")
            until(lambda: names(running) == ["google/gemini-pro:latest"])
            assert running.post("/api/chat", chat("gpt-4o"))[0] == 403
            os.unlink(file)
            until(lambda: len(names(running)) == 4)
            assert running.stop() == 0
        finally:
            process.kill()
            process.wait(10)


def test_check_says_how_many_rules_there_are(tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text("gpt-4o\n*:free\n!x*\n!\n")
    write_config(tmp_path / "arriero.yaml", [], models={"filter_file": "rules.txt"})
    done = subprocess.run(
        command("check", "--no-probe"),
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert f"Filter: {tmp_path / 'rules.txt'} (2 rules that include, 1 that excludes)\n" in done.stdout
    assert f"arriero: warning: {tmp_path / 'rules.txt'}:4: a ! excludes" in done.stderr
