"""The servers of the house: no vendor's name; the one of which nothing is known is the last."""

from arriero.dialects.servers import GENERIC, SERVERS


def test_the_servers() -> None:
    assert [profile.name for profile in SERVERS] == [
        "vllm",
        "sglang",
        "vllm-mlx",
        "llama-server",
        "engine",
        "lmstudio",
        "ollama",
        "litellm",
        "lmdeploy",
        "lemonade",
        "dmr",
        "omlx",
        "generic",
    ]
    assert SERVERS[-1] is GENERIC


def test_none_is_a_vendor() -> None:
    assert [profile.name for profile in SERVERS if profile.title or profile.carried or profile.headers] == []


def test_only_a_stranger_and_arrieros_own_child_learn_nothing_of_the_client() -> None:
    assert [server.name for server in SERVERS if not server.forwards_client_address] == ["engine", "generic"]
