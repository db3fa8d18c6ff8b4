from pathlib import Path

from arriero.config import Config, EngineConfig, OllamaConfig
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


def test_an_engine_without_models(tmp_path: Path) -> None:
    engine = EngineConfig(name="e", models_dir=tmp_path, demo_model=False)
    assert probe(Config(backends=(engine,))) == [ProbeResult("e", "engine", "this machine")]


def test_nothing_to_ask() -> None:
    assert probe(Config()) == []
