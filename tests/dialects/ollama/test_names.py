"""Names by Ollama's grammar, and which of other vendors' names pass."""

import pytest

from arriero.dialects.ollama import names
from arriero.dialects.ollama.names import Name
from arriero.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "full", "shortest"),
    [
        ("x", "registry.ollama.ai/library/x:latest", "x:latest"),
        (" x ", "registry.ollama.ai/library/x:latest", "x:latest"),
        ("x:20b", "registry.ollama.ai/library/x:20b", "x:20b"),
        ("library/x", "registry.ollama.ai/library/x:latest", "x:latest"),
        ("registry.ollama.ai/library/x:latest", "registry.ollama.ai/library/x:latest", "x:latest"),
        ("https://registry.ollama.ai/library/x", "registry.ollama.ai/library/x:latest", "x:latest"),
        ("me/x:v1", "registry.ollama.ai/me/x:v1", "me/x:v1"),
        ("hf.co/ns/model:Q4_K_M", "hf.co/ns/model:Q4_K_M", "hf.co/ns/model:Q4_K_M"),
        ("localhost:5000/ns/m", "localhost:5000/ns/m:latest", "localhost:5000/ns/m:latest"),
        ("LLaMA3:Latest", "registry.ollama.ai/library/LLaMA3:Latest", "LLaMA3:Latest"),
        ("openai/gpt-4o", "registry.ollama.ai/openai/gpt-4o:latest", "openai/gpt-4o:latest"),
    ],
)
def test_a_name_has_a_full_and_a_shortest_form(text: str, full: str, shortest: str) -> None:
    name = names.parse(text)
    assert name is not None
    assert (name.full, name.shortest) == (full, shortest)


@pytest.mark.parametrize(
    "text",
    ["", ":", "m:", "/m", "//m", "n//m", "-m", "a b", "ü", "a.b/m", "m:-t", "x@sha256:ab", "m" * 81, "@cf/meta/x"],
)
def test_what_the_grammar_does_not_know_is_shown_as_it_is(text: str) -> None:
    assert names.parse(text) is None
    assert (names.full(text), names.shortest(text)) == (text, text)


def test_one_model_has_one_key() -> None:
    spellings = ["x", "X:latest", "library/x", "registry.ollama.ai/library/x:LATEST"]
    assert {name.key for text in spellings if (name := names.parse(text))} == {Name("x").key}


@pytest.mark.parametrize(
    ("text", "base", "source"),
    [
        ("x", "x", None),
        ("x:cloud", "x", "cloud"),
        ("x:20b:cloud", "x:20b", "cloud"),
        ("x:20b-cloud", "x:20b", "cloud"),
        ("x:20b:local", "x:20b", "local"),
        (" x:CLOUD ", "x", "cloud"),
        ("x-cloud", "x-cloud", None),
        ("host:1-cloud/x", "host:1-cloud/x", None),
    ],
)
def test_a_source_suffix_is_cut_off(text: str, base: str, source: str | None) -> None:
    assert names.source(text) == (base, source)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "openai/gpt-4o",
        "google/gemini-2.5-pro:free",
        "meta-llama/Llama-3.1-8B-Instruct",
        "@cf/meta/x",
        "a.b/c",
        "accounts/fireworks/models/y",
        "gpt-oss:120b-cloud",
        "Qwen 3",
        "模型",
    ],
)
def test_a_name_that_some_backend_may_know_passes(text: str) -> None:
    names.check_name(text)


@pytest.mark.parametrize(
    "text", ["x", "x:7b", "@cf/meta/x", "hf.co/a/b:Q4", "https://hf.co/a/b", " x ", "模型", "a.b/c"]
)
def test_what_may_be_the_name_of_an_unknown_model(text: str) -> None:
    names.check_unknown(text)


@pytest.mark.parametrize("text", [" ", "m:", "/m", "//m", "n//m", "n/", ":7b", "n/:7b", "a b", "https://", "m" * 513])
def test_what_is_no_name_at_all(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^invalid model name$"):
        names.check_unknown(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ", "invalid model name"),
        ("a\nb", "invalid model name"),
        ("a\x00", "invalid model name"),
        ("m" * 513, "invalid model name"),
        ("x:cloud:local", 'use either :local or :cloud, not both: "x:cloud:local"'),
        ("x:20b-cloud:local", 'use either :local or :cloud, not both: "x:20b-cloud:local"'),
    ],
)
def test_a_name_that_no_backend_can_have_is_refused(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        names.check_name(text)
    assert (caught.value.status, caught.value.message) == (400, message)
