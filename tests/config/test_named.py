import pytest

from arriero.config import Flags, OpenAIConfig
from support.config import Place, key_of, names, openai_of

# ---- the backend openai ---------------------------------------------------------------------------------------------

URL, OTHER = "http://h:1/v1", "http://other/v1"

NAMED: list[tuple[Flags, dict[str, str], str | None, str | None, str | None]] = [
    # flags, environment -> URL, key, profile; None is no such backend
    (Flags(), {}, None, None, None),
    (Flags(), {"OPENAI_API_KEY": "k"}, "https://api.openai.com/v1", "k", "openai"),
    (Flags(), {"OPENAI_BASE_URL": URL}, URL, None, "generic"),
    (Flags(), {"OPENAI_BASE_URL": URL + "/", "OPENAI_API_KEY": "k"}, URL, "k", "generic"),
    (Flags(), {"openai_base_url": URL, "Openai_Api_Key": "k"}, URL, "k", "generic"),
    (Flags(), {"BASE_URL": URL, "API_KEY": "k"}, URL, "k", "generic"),
    (Flags(), {"BASE_URL": URL, "OPENAI_API_KEY": "k"}, URL, "k", "generic"),
    (Flags(), {"OPENAI_BASE_URL": URL, "BASE_URL": OTHER, "OPENAI_API_KEY": "k", "API_KEY": "x"}, URL, "k", "generic"),
    (Flags(), {"API_KEY": "k"}, None, None, None),
    (Flags(), {"BASE_URL": URL}, None, None, None),
    (Flags(base_url=URL), {}, URL, None, "generic"),
    (Flags(base_url=URL), {"OPENAI_BASE_URL": OTHER, "OPENAI_API_KEY": "k"}, URL, "k", "generic"),
    (Flags(api_key="f"), {"OPENAI_BASE_URL": OTHER, "OPENAI_API_KEY": "k"}, OTHER, "f", "generic"),
    (Flags(api_key="f"), {}, "https://api.openai.com/v1", "f", "openai"),
    (Flags(base_url="https://openrouter.ai/api/v1"), {}, "https://openrouter.ai/api/v1", None, "openrouter"),
]


@pytest.mark.parametrize(("flags", "env", "url", "key", "profile"), NAMED)
def test_the_backend_openai(
    place: Place, flags: Flags, env: dict[str, str], url: str | None, key: str | None, profile: str | None
) -> None:
    loaded = place.load(flags, env)
    if url is None:
        assert names(loaded) == ["local"]
        return
    assert names(loaded) == ["openai", "local"]
    backend = openai_of(loaded)
    assert (backend.url, key_of(backend), backend.profile) == (url, key, profile)


@pytest.mark.parametrize(
    ("flags", "env", "models", "capabilities"),
    [
        (Flags(), {}, (), None),
        (Flags(models=["a", "b,c", '["d"]']), {}, ("a", "b", "c", "d"), None),
        (Flags(), {"MODELS": '["a","b"]'}, ("a", "b"), None),
        (Flags(), {"models": "a,b"}, ("a", "b"), None),
        (Flags(models=["x"]), {"MODELS": "a"}, ("x",), None),
        (Flags(capabilities=["tools,vision"]), {}, (), ("completion", "tools", "vision")),
        (Flags(capabilities=["tools", "completion"]), {}, (), ("completion", "tools")),
        (Flags(), {"CAPABILITIES": '["thinking"]'}, (), ("completion", "thinking")),
    ],
)
def test_models_and_capabilities(
    place: Place, flags: Flags, env: dict[str, str], models: tuple[str, ...], capabilities: tuple[str, ...] | None
) -> None:
    backend = openai_of(place.load(flags, {"OPENAI_BASE_URL": URL, **env}))
    assert backend.extra_models == models
    given = {name: tuple(item.value for item in words) for name, words in backend.models.capabilities.items()}
    assert given == ({} if capabilities is None else {"*": capabilities})


def test_the_old_name_of_capabilities_is_a_warning(place: Place) -> None:
    loaded = place.load(env={"OPENAI_BASE_URL": URL, "CAPACITIES": '["tools"]'})
    assert loaded.warnings == ("CAPACITIES is deprecated: use CAPABILITIES",)
    assert "*" in openai_of(loaded).models.capabilities


def test_models_of_nobody(place: Place) -> None:
    assert place.load(env={"MODELS": "a", "CAPABILITIES": "tools"}).warnings == ()
    assert place.fails(Flags(models=["a"], capabilities=["tools"])) == [
        "--models: needs a backend of the OpenAI API: give --base-url or --api-key as well",
        "--capabilities: needs a backend of the OpenAI API: give --base-url or --api-key as well",
    ]


def test_wrong_capabilities(place: Place) -> None:
    (problem,) = place.fails(Flags(base_url=URL, capabilities=["tool"]))
    assert problem.startswith("--capabilities (backends[0].models.capabilities.*[1]): is not one of completion, tools,")
    assert problem.endswith("; did you mean tools?")
    assert place.fails(env={"OPENAI_BASE_URL": URL, "MODELS": "[a"}) == ["MODELS: is not a JSON list"]


# ---- vendors --------------------------------------------------------------------------------------------------------


def test_a_backend_for_each_vendor_with_a_key(place: Place) -> None:
    loaded = place.load(
        env={"OPENROUTER_API_KEY": "a", "GROQ_API_KEY": "b", "GOOGLE_API_KEY": "c", "OPENAI_API_KEY": "d"}
    )
    assert {name: key_of(backend) for name, backend in zip(names(loaded), loaded.config.backends, strict=True)} == {
        "openai": "d",
        "openrouter": "a",
        "groq": "b",
        "google": "c",
        "local": None,
    }


def test_a_vendor_at_another_address(place: Place) -> None:
    loaded = place.load(env={"OPENROUTER_API_KEY": "a", "OPENROUTER_BASE_URL": "http://h/v1"})
    assert isinstance(loaded.config.backends[0], OpenAIConfig)
    assert (loaded.config.backends[0].url, loaded.config.backends[0].profile) == ("http://h/v1", "openrouter")
    assert names(place.load(env={"OPENROUTER_BASE_URL": "http://h/v1"})) == ["local"]


def test_what_clients_of_ollama_set_names_no_backend(place: Place) -> None:
    assert names(place.load(env={"OLLAMA_API_KEY": "k"})) == ["local"]


def test_flags_change_the_files_openai_and_variables_do_not(place: Place) -> None:
    place.file(f"backends: [{{name: openai, kind: openai, url: '{URL}', api_key: f}}]")
    plain = openai_of(place.load(env={"OPENAI_BASE_URL": OTHER, "OPENAI_API_KEY": "k", "MODELS": "m"}))
    assert (plain.url, key_of(plain), plain.extra_models) == (URL, "f", ())
    changed = openai_of(place.load(Flags(base_url=OTHER, api_key="k", models=["m"])))
    assert (changed.url, key_of(changed), changed.extra_models) == (OTHER, "k", ("m",))


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("profile: openrouter", "k"),
        ("url: 'https://openrouter.ai/api/v1'", "k"),
        ("profile: openrouter, url: 'https://openrouter.ai/api/v1/'", "k"),
        ("profile: openrouter, url: 'http://elsewhere/v1'", None),
        ("profile: openrouter, api_key: own", "own"),
        ("profile: openrouter, api_key: null", None),
        ("url: 'http://h/v1'", None),
    ],
)
def test_a_vendors_entry_takes_the_vendors_key(place: Place, entry: str, key: str | None) -> None:
    place.file(f"backends: [{{name: r, kind: openai, {entry}}}]")
    assert key_of(place.load(env={"OPENROUTER_API_KEY": "k"}).config.backends[0]) == key
