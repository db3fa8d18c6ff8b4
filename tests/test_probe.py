from pathlib import Path

from arriero.config import Config, EngineConfig, OllamaConfig
from arriero.config.backends import OpenAIConfig
from arriero.config.members import Host
from arriero.holdings import Holdings
from arriero.probe import ProbeResult, probe
from support.answering import Answer, answering


def test_each_backend_is_asked(tmp_path: Path) -> None:
    tags = Answer(b'{"models":[{"name":"a:1","model":"a:1"}]}', headers={"Content-Type": "application/json"})
    with answering({"/api/tags": tags}) as server, answering({}) as other:
        good, bad = (f"http://127.0.0.1:{port}" for port in (server.port, other.port))
        backends = (OllamaConfig(name="a", url=good), OllamaConfig(name="b", url=bad))
        first, second = probe(Config(backends=backends))
    assert first == ProbeResult("a", "ollama", good, ("a:1",))
    assert (second.name, second.models) == ("b", ())
    assert second.error


def test_models_that_the_operator_names_are_told_with_the_others() -> None:
    models = Answer(b'{"data":[{"id":"a"},{"id":"b"}]}', headers={"Content-Type": "application/json"})
    with answering({"/v1/models": models}) as server, answering({}) as other:
        lists, lacks = (f"http://127.0.0.1:{port}/v1" for port in (server.port, other.port))
        backends = (
            OpenAIConfig(name="lists", url=lists, extra_models=("b", "c")),
            OpenAIConfig(name="lacks", url=lacks, extra_models=("x",)),
            OpenAIConfig(name="vendor", url=lacks, profile="perplexity", extra_models=("sonar", "sonar-pro")),
            OpenAIConfig(name="nothing", url=lacks, profile="perplexity"),
        )
        *answered, nothing = probe(Config(backends=backends))
    assert answered == [
        ProbeResult("lists", "openai", lists, ("a", "b", "c")),
        ProbeResult("lacks", "openai", lacks, ("x",)),
        ProbeResult("vendor", "openai", lacks, ("sonar", "sonar-pro")),
    ]
    assert (nothing.models, nothing.error) == (
        (),
        "Perplexity has no list of its models: none is offered until they are named in extra_models of the backend "
        "nothing",
    )


def test_an_engine_without_models(tmp_path: Path) -> None:
    engine = EngineConfig(name="e", models_dir=tmp_path, demo_model=False)
    assert probe(Config(backends=(engine,))) == [ProbeResult("e", "engine", "this machine", store=Holdings(tmp_path))]


def test_each_backend_behind_a_name_is_asked() -> None:
    async def by(host: Host) -> list[str]:
        if host.name == "gpu.invalid":
            return ["127.0.0.1"]
        raise OSError(5, "Broken")

    tags = Answer(b'{"models":[{"name":"a:1","model":"a:1"}]}', headers={"Content-Type": "application/json"})
    with answering({"/api/tags": tags}) as server:
        url = f"http://gpu.invalid:{server.port}"
        backends = (
            OllamaConfig(name="gpu", url=url, discover="dns"),
            OllamaConfig(name="lab", url="http://lab.invalid", discover="dns"),
        )
        found = probe(Config(backends=backends), by)
    assert found == [
        ProbeResult("gpu-127.0.0.1", "ollama", f"{url} at 127.0.0.1", ("a:1",)),
        ProbeResult("lab", "ollama", "http://lab.invalid", error="lab.invalid cannot be looked up: broken"),
    ]


def test_nothing_to_ask() -> None:
    assert probe(Config()) == []
