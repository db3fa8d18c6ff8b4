"""What a profile can say of itself: whose host it is, and where a request about a model goes."""

from arriero.dialects.quirks import Profile, all_as, words

WILD = Profile(name="wild", hosts=("api.wild.example", "run.*.wild.example"))


def test_a_host_and_those_below_it() -> None:
    assert WILD.has_host("api.wild.example")
    assert WILD.has_host("eu.api.wild.example")
    assert not WILD.has_host("notapi.wild.example")
    assert not WILD.has_host("api.wild.example.org")


def test_a_host_by_its_region() -> None:
    assert WILD.has_host("run.eu-west-1.wild.example")
    assert not WILD.has_host("run.wild.example")
    assert not WILD.has_host("walk.eu-west-1.wild.example")


def test_the_model_in_the_path() -> None:
    placed = Profile(name="placed", model_path="/deployments/{model}")
    assert placed.path_of("/chat/completions", "gpt-4o") == "/deployments/gpt-4o/chat/completions"
    assert placed.path_of("/chat/completions", "a b/../c?d#e") == "/deployments/a%20b%2F..%2Fc%3Fd%23e/chat/completions"
    assert WILD.path_of("/chat/completions", "gpt-4o") == "/chat/completions"


def test_words() -> None:
    assert dict(words("off:none low max:high")) == {"off": "none", "low": "low", "max": "high"}
    assert set(all_as("high").values()) == {"high"}
