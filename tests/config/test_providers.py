from urllib.parse import urlsplit

from arriero.config import vendors
from arriero.config.providers import PROVIDERS, RANKED, RULES, SETTINGS, UNRANKED, every_name, priority_of, rank_of


def test_every_provider_has_a_name_and_variables_of_its_own() -> None:
    names = [row.name for row in PROVIDERS]
    assert len(names) == len(set(names))
    variables = [
        name
        for row in PROVIDERS
        for name in (*row.keys, *row.addresses, *(one for setting in SETTINGS for one in row.names(setting)))
    ]
    assert len(variables) == len(set(variables))


def test_the_ranks_are_those_of_ollama_proxy() -> None:
    assert {row.name: row.rank for row in PROVIDERS if row.rank is not None} == {
        "openrouter": 1,
        "openai": 2,
        "anthropic": 3,
        "google": 4,
        "azure": 5,
        "aws_bedrock": 6,
        "ollama": 7,
    }
    assert [row.rank for row in RANKED] == [1, 2, 3, 4, 5, 6, 7]


def test_ranks_count_down_where_priorities_count_up() -> None:
    assert [priority_of(rank) for rank in (1, 7, None, 100, 500)] == [99, 93, 100 - UNRANKED, 0, 0]
    assert [rank_of(priority_of(rank)) for rank in (1, 7, 100)] == [1, 7, 100]


def test_every_vendor_with_a_key_and_an_address_has_a_provider() -> None:
    keys = {key for row in PROVIDERS for key in row.keys}
    assert [key for key in vendors.key_variables().values() if key not in keys] == []
    profiles = {row.profile for row in PROVIDERS} | {"openai"}
    assert [name for name in vendors.key_variables() if name not in profiles] == []


def test_every_profile_is_there() -> None:
    assert [row.name for row in PROVIDERS if row.profile is not None and not vendors.is_known(row.profile)] == []


def test_an_other_vendor_is_named_by_its_profile() -> None:
    (groq,) = (row for row in PROVIDERS if row.name == "groq")
    assert (groq.profile, groq.keys, groq.urls, groq.rank) == ("groq", ("GROQ_API_KEY",), ("GROQ_BASE_URL",), None)
    assert groq.names("TIMEOUT") == ("GROQ_TIMEOUT",)


def test_who_has_no_list_has_a_variable_for_its_models() -> None:
    without = {row.name for row in PROVIDERS if row.profile is not None and not vendors.has_list(row.profile)}
    assert without == {row.name for row in PROVIDERS if row.models}
    assert {"azure", "aws_bedrock"} <= without


def test_the_store_of_ollama_is_no_list_of_models() -> None:
    assert "OLLAMA_MODELS" not in every_name()


def test_every_address_is_on_the_network() -> None:
    for row in PROVIDERS:
        if row.kind == "openai" and row.profile is not None and (url := vendors.base_url(row.profile)) is not None:
            assert urlsplit(url).scheme == "https"


def test_every_name_is_listed_once() -> None:
    names = every_name()
    assert len(names) == len(set(names))
    assert {name for rule in RULES for name in rule.names} <= set(names)
