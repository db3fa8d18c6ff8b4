"""A client's text in, the offers it means out."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from arriero.canonical.catalog import ModelCard
from arriero.errors import AmbiguousModel, ModelForbidden, ModelNotFound
from arriero.routing.names import (
    CANDIDATES,
    Names,
    Offer,
    Patterns,
    forbidden,
    has_tag,
    key_of,
    listed_name,
    proxy_name,
    tail_of,
)


def offers(text: str) -> list[Offer]:
    """`backend=id backend=id`."""
    pairs = (pair.partition("=") for pair in text.split())
    return [Offer(backend, ModelCard(id=id)) for backend, _, id in pairs]


def shown(found: tuple[Offer, ...]) -> str:
    return " ".join(f"{offer.backend}={offer.card.id}" for offer in found)


FLEET = offers(
    "gpu1=llama3:latest gpu1=qwen3:4b gpu1=qwen3:32b gpu1=hf.co/unsloth/Phi-4-GGUF:Q4_K_M"
    " gpu2=llama3:latest gpu2=gemma3:12b"
    " router=openai/gpt-4o router=openai/gpt-4o-mini router=google/gemma3:27b router=deepseek/r1:free"
    " lab=gpt-oss lab=meta/llama3 lab=localhost:5000/own"
    " router=x/llama-3:free router=y/phi+3.5_(mini) router=meta/llama-2-7b"
)
ALIASES = {
    "fast": ["qwen3:4b", "gpt-4o-mini"],
    "llama3": ["gemma3:12b"],
    "Away": ["nobody", "gpt-4o"],
    "gone": ["nobody", "nothing"],
    "twice": ["r1", "deepseek/r1:free", "gpt-oss"],
    "vague": ["qwen3", "gpt-oss"],
    "gpt-oss": ["llama3"],
    "gpt-4o": ["qwen3:4b"],
    "Tagged:latest": ["gemma3:12b"],
}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # Exact: the backend's own id, whatever its letter case, from everyone who has it.
        ("llama3:latest", "gpu1=llama3:latest gpu2=llama3:latest"),
        ("LLaMA3:Latest", "gpu1=llama3:latest gpu2=llama3:latest"),
        ("openai/gpt-4o", "router=openai/gpt-4o"),
        ("hf.co/unsloth/phi-4-gguf:q4_k_m", "gpu1=hf.co/unsloth/Phi-4-GGUF:Q4_K_M"),
        (" qwen3:4b ", "gpu1=qwen3:4b"),
        ("deepseek/r1:free", "router=deepseek/r1:free"),
        # Exact beats alias.
        ("gpt-oss", "lab=gpt-oss"),
        # Alias beats `:latest`, and the tail.
        ("llama3", "gpu2=gemma3:12b"),
        ("gpt-4o", "gpu1=qwen3:4b"),
        ("FAST", "gpu1=qwen3:4b router=openai/gpt-4o-mini"),
        ("away", "router=openai/gpt-4o"),
        ("twice", "router=deepseek/r1:free lab=gpt-oss"),
        ("vague", "lab=gpt-oss"),
        # An alias under its name in a listing, and without the `:latest` that it was given.
        ("fast:latest", "gpu1=qwen3:4b router=openai/gpt-4o-mini"),
        ("Away:Latest", "router=openai/gpt-4o"),
        ("tagged", "gpu2=gemma3:12b"),
        # With `:latest` where the id has no tag.
        ("gpt-oss:latest", "lab=gpt-oss"),
        ("openai/gpt-4o:latest", "router=openai/gpt-4o"),
        ("localhost:5000/own:latest", "lab=localhost:5000/own"),
        # Pinned to a backend: by id, with or without `:latest`, by tail, by beginning.
        ("gpu2/llama3", "gpu2=llama3:latest"),
        ("GPU2/llama3:latest", "gpu2=llama3:latest"),
        ("router/openai/gpt-4o", "router=openai/gpt-4o"),
        ("router/gpt-4o", "router=openai/gpt-4o"),
        ("lab/llama3", "lab=meta/llama3"),
        ("gpu2/gemma3", "gpu2=gemma3:12b"),
        ("router/gemma3", "router=google/gemma3:27b"),
        # Tail.
        ("gpt-4o-mini", "router=openai/gpt-4o-mini"),
        ("r1:free", "router=deepseek/r1:free"),
        ("own", "lab=localhost:5000/own"),
        ("phi-4-gguf:Q4_K_M", "gpu1=hf.co/unsloth/Phi-4-GGUF:Q4_K_M"),
        # The name that ollama-proxy made of the id: its last segment, with `-` for what was strange to it.
        ("llama-3-free:latest", "router=x/llama-3:free"),
        ("llama-3-free", "router=x/llama-3:free"),
        ("router/Llama-3-Free", "router=x/llama-3:free"),
        ("phi-3.5_-mini-:latest", "router=y/phi+3.5_(mini)"),
        ("phi-4-gguf-q4_k_m:latest", "gpu1=hf.co/unsloth/Phi-4-GGUF:Q4_K_M"),
        # The id's own spelling of the same stays.
        ("x/llama-3:free", "router=x/llama-3:free"),
        ("llama-3:free", "router=x/llama-3:free"),
        # Beginning, up to a tag.
        ("llama-3", "router=x/llama-3:free"),
        ("r1", "router=deepseek/r1:free"),
        ("deepseek/r1", "router=deepseek/r1:free"),
        ("Phi-4-GGUF", "gpu1=hf.co/unsloth/Phi-4-GGUF:Q4_K_M"),
        ("google/gemma3", "router=google/gemma3:27b"),
        # Ollama's long form, and its word for what is not of its cloud.
        ("registry.ollama.ai/library/gemma3:12b", "gpu2=gemma3:12b"),
        ("library/gemma3:12b", "gpu2=gemma3:12b"),
        ("https://registry.ollama.ai/library/gemma3:12b", "gpu2=gemma3:12b"),
        ("registry.ollama.ai/deepseek/r1:free", "router=deepseek/r1:free"),
        ("Gemma3:12b:local", "gpu2=gemma3:12b"),
        ("library/own:latest:local", "lab=localhost:5000/own"),
    ],
)
def test_names(text: str, answer: str) -> None:
    assert shown(Names(FLEET, aliases=ALIASES).resolve(text)) == answer


@pytest.mark.parametrize(
    ("fleet", "text", "answer"),
    [
        # One step of the order against the next, all else being equal.
        ("a=b/m a=x/b/m b=m", "b/m", "a=b/m"),  # exact, pin, tail
        ("a=x/b/m b=m", "b/m", "b=m"),  # pin, tail
        ("a=x/m a=m:7b", "m", "a=x/m"),  # tail, beginning
        ("a=m:latest a=x/m", "m", "a=m:latest"),  # `:latest`, tail
        ("a=x/m:7b b=m-7b", "m-7b:latest", "b=m-7b"),  # `:latest`, ollama-proxy's name
        ("a=x/m:7b b=y/m-7b", "m-7b", "b=y/m-7b"),  # tail, ollama-proxy's name
        ("a=x/m:7b b=m-7b:q4", "m-7b", "a=x/m:7b"),  # ollama-proxy's name, beginning
        ("a=m b=m:latest", "m:latest", "a=m b=m:latest"),  # two spellings of one model
        ("a=x/m b=y/m", "a/m", "a=x/m"),  # a pin looks at its own backend only
        ("a=x/m b=m", "a/m", "a=x/m"),
        ("a=m:7b b=m", "a/m", "a=m:7b"),
        ("a=library/m b=m", "library/m", "a=library/m"),  # whole, without Ollama's library
        ("library=x/m b=m", "library/m", "library=x/m"),
        ("a=m:local b=m", "m:local", "a=m:local"),
    ],
)
def test_the_order(fleet: str, text: str, answer: str) -> None:
    assert shown(Names(offers(fleet)).resolve(text)) == answer


@pytest.mark.parametrize(
    ("text", "candidates"),
    [
        ("qwen3", ("qwen3:32b", "qwen3:4b")),
        ("gpu1/qwen3", ("qwen3:32b", "qwen3:4b")),
        ("gemma3", ("gemma3:12b", "google/gemma3:27b")),
    ],
)
def test_an_ambiguity_names_the_candidates(text: str, candidates: tuple[str, ...]) -> None:
    with pytest.raises(AmbiguousModel) as raised:
        Names(FLEET, aliases=ALIASES).resolve(text)
    assert (raised.value.name, raised.value.candidates) == (text, candidates)
    assert raised.value.message == (
        f"model '{text}' not found: the name is ambiguous, it may mean {', '.join(candidates)}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "model 'nope' not found"),
        ("", "model '' not found"),
        (":latest", "model ':latest' not found"),
        ("qwen3:", "model 'qwen3:' not found"),
        ("qwen", "model 'qwen' not found"),
        ("gpu1/", "model 'gpu1/' not found"),
        ("gpu2/qwen3:4b", "model 'gpu2/qwen3:4b' not found"),
        ("gpu1/gpu1/llama3", "model 'gpu1/gpu1/llama3' not found"),
        ("r1:paid", "model 'r1:paid' not found"),
        ("library/nope:local", "model 'library/nope:local' not found"),
        ("llama-2", "model 'llama-2' not found"),  # a beginning goes up to a tag, and no further
        ("llama-2-7b:v2", "model 'llama-2-7b:v2' not found"),
        ("llama-3-paid", "model 'llama-3-paid' not found"),
        ("x/llama-3-free", "model 'x/llama-3-free' not found"),  # ollama-proxy kept no vendor
        ("gone", "model 'gone' not found: none of nobody, nothing is there"),
    ],
)
def test_what_is_not_there(text: str, message: str) -> None:
    with pytest.raises(ModelNotFound) as raised:
        Names(FLEET, aliases=ALIASES).resolve(text)
    assert (type(raised.value), raised.value.name, raised.value.message) == (ModelNotFound, text, message)


def test_a_text_of_many_segments_is_only_a_name() -> None:
    with pytest.raises(ModelNotFound):
        Names(FLEET).resolve("gpu1/" * 50_000)
    with pytest.raises(ModelNotFound):
        Names(FLEET).resolve("library/" * 50_000 + "llama3")


def test_models_with_one_name_there_are_told() -> None:
    with pytest.raises(AmbiguousModel) as raised:
        Names(offers("a=x/m:free a=y/m:free a=z/m@free")).resolve("m-free:latest")
    assert raised.value.candidates == ("x/m:free", "y/m:free", "z/m@free")


def test_hidden_models() -> None:
    names = Names(
        FLEET,
        aliases={"best": ["gpt-4o", "qwen3:32b"], "other": ["openai/gpt-4o", "qwen3:4b"], "worst": ["openai/gpt-4o"]},
        admit=Patterns(exclude=("openai/*", "x/*", "phi*", "y/*", "meta/llama-2*")).admit,
        per_backend={"gpu1": Patterns(exclude=("LLAMA3", "*:32b")), "gpu2": Patterns(include=("llama*",))},
    )
    assert shown(names.offers) == (
        "gpu1=qwen3:4b gpu1=hf.co/unsloth/Phi-4-GGUF:Q4_K_M gpu2=llama3:latest router=google/gemma3:27b"
        " router=deepseek/r1:free lab=gpt-oss lab=meta/llama3 lab=localhost:5000/own"
    )
    assert set(names.hidden) == {
        "qwen3:32b",
        "gemma3:12b",
        "openai/gpt-4o",
        "openai/gpt-4o-mini",
        "x/llama-3:free",
        "y/phi+3.5_(mini)",
        "meta/llama-2-7b",
    }
    assert shown(names.resolve("llama3")) == "gpu2=llama3:latest"
    assert shown(names.resolve("qwen3")) == "gpu1=qwen3:4b"  # of two with this beginning, the one that is not hidden
    assert shown(names.resolve("gemma3")) == "router=google/gemma3:27b"
    assert shown(names.resolve("other")) == "gpu1=qwen3:4b"
    with pytest.raises(ModelNotFound):
        names.resolve("gpu1/llama3")  # hidden there, and to be had elsewhere


@pytest.mark.parametrize(
    "text",
    [
        "openai/gpt-4o",  # the id
        "OpenAI/gpt-4o:latest",  # as it would be listed
        "gpt-4o",  # the last segment
        "gpt-4o:latest",
        "router/openai/gpt-4o",  # pinned
        "router/gpt-4o",
        "library/openai/gpt-4o",  # as Ollama reads it
        "llama-3",  # a beginning
        "x/llama-3",
        "llama-3-free",  # ollama-proxy's name
        "llama-3-free:latest",
        "router/llama-3-free",
        "gpt",  # a beginning of two, both hidden
        "best",  # an alias of nothing else
        "best:latest",
    ],
)
def test_a_hidden_model_is_forbidden_in_whatever_spelling(text: str) -> None:
    fleet = offers("router=openai/gpt-4o router=x/llama-3:free router=gpt:a router=gpt:b lab=llama3")
    names = Names(fleet, aliases={"best": ["gpt-4o", "nobody"]}, admit=Patterns(include=("llama3",)).admit)
    with pytest.raises(ModelForbidden) as raised:
        names.resolve(text)
    told = (raised.value.status, raised.value.type, raised.value.message)
    assert told == (403, "model_forbidden", f"Model '{text}' is not allowed by the filter")
    with pytest.raises(ModelNotFound):
        names.resolve(f"{text}-x")


def test_a_visible_model_comes_before_a_hidden_one_whatever_the_spelling() -> None:
    fleet = offers("a=gpt-4o b=openai/gpt-4o b=m b=x/m:7b c=y/m-7b")
    names = Names(fleet, admit=Patterns(exclude=("gpt-4o", "m", "y/*")).admit)
    assert shown(names.resolve("gpt-4o")) == "b=openai/gpt-4o"
    assert shown(names.resolve("m")) == "b=x/m:7b"
    assert shown(names.resolve("m-7b")) == "b=x/m:7b"


# ---- tags that no list has -----------------------------------------------------------------------------------------

ROUTED = offers(
    "router=openai/gpt-4o router=openai/gpt-4o-mini router=x/gpt-4o router=meta/llama-3 router=meta/llama-3:free"
    " router=mistral/mixtral:8x7b other=openai/gpt-4o-mini other=own"
)
VARIANTS = {"router": ("nitro", "floor"), "other": ()}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("openai/gpt-4o:nitro", "router=openai/gpt-4o:nitro"),
        ("OpenAI/gpt-4o:FLOOR", "router=openai/gpt-4o:floor"),
        ("openai/gpt-4o-mini:nitro", "router=openai/gpt-4o-mini:nitro"),  # `other` would not know the tag
        ("gpt-4o-mini:nitro", "router=openai/gpt-4o-mini:nitro"),
        ("gpt-4o-mini:latest:nitro", "router=openai/gpt-4o-mini:nitro"),
        ("router/gpt-4o-mini:floor", "router=openai/gpt-4o-mini:floor"),
        ("library/openai/gpt-4o:nitro", "router=openai/gpt-4o:nitro"),
        ("llama-3:nitro", "router=meta/llama-3:nitro"),
        ("meta/llama-3:free:nitro", "router=meta/llama-3:free:nitro"),
        ("fast", "router=openai/gpt-4o:nitro"),
    ],
)
def test_a_tag_that_a_vendor_takes_behind_any_id(text: str, answer: str) -> None:
    assert shown(Names(ROUTED, aliases={"fast": ["openai/gpt-4o:nitro"]}, variants=VARIANTS).resolve(text)) == answer


def test_it_stands_behind_the_card_of_the_model() -> None:
    card = ModelCard(id="m", context_length=8, input_price=1.0)
    (found,) = Names([Offer("router", card)], variants=VARIANTS).resolve("m:nitro")
    assert found == Offer("router", ModelCard(id="m:nitro", context_length=8, input_price=1.0))


@pytest.mark.parametrize(
    "text",
    [
        "openai/gpt-4o:paid",  # no such tag
        "other/own:nitro",  # not there
        "own:nitro",
        "mixtral:nitro",  # the tag that it has is not taken away
        "nobody:nitro",
        ":nitro",
        "nitro",
    ],
)
def test_a_tag_that_nobody_takes(text: str) -> None:
    with pytest.raises(ModelNotFound) as raised:
        Names(ROUTED, variants=VARIANTS).resolve(text)
    assert raised.value.message == f"model '{text}' not found"


def test_an_ambiguity_with_such_a_tag() -> None:
    with pytest.raises(AmbiguousModel) as raised:
        Names(ROUTED, variants=VARIANTS).resolve("gpt-4o:nitro")
    assert (raised.value.name, raised.value.candidates) == ("gpt-4o:nitro", ("openai/gpt-4o", "x/gpt-4o"))


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        (Names(ROUTED, variants=VARIANTS, admit=Patterns(exclude=("*:nitro",)).admit), "openai/gpt-4o:floor"),
        (Names(ROUTED, variants=VARIANTS, per_backend={"router": Patterns(exclude=("*:nitro",))}), "meta/llama-3"),
        (Names(ROUTED, variants=VARIANTS, admit=Patterns(include=("openai/gpt-4o",)).admit), "openai/gpt-4o"),
        (Names(ROUTED, variants=VARIANTS, admit=Patterns(exclude=("openai/gpt-4o",)).admit), "x/gpt-4o:nitro"),
    ],
)
def test_such_a_tag_passes_the_filter_like_any_other(names: Names, allowed: str) -> None:
    assert shown(names.resolve(allowed)) == f"router={allowed}"
    with pytest.raises(ModelForbidden, match=r"^Model 'openai/gpt-4o:nitro' is not allowed by the filter$"):
        names.resolve("openai/gpt-4o:nitro")


def test_the_model_that_a_list_has_for_an_id() -> None:
    names = Names([*ROUTED, *offers("router=m:latest")], variants=VARIANTS)
    ids = ("Own:latest", "openai/gpt-4o:nitro", "own:paid", "nobody:nitro", names.resolve("m:nitro")[0].card.id)
    assert [names.listed_key(id) for id in ids] == ["own", "openai/gpt-4o", None, None, "m"]


def test_a_refusal_says_the_text_of_the_client() -> None:
    assert forbidden("Fast:latest").message == "Model 'Fast:latest' is not allowed by the filter"


@pytest.mark.parametrize(
    ("id", "name", "tail"),
    [
        ("openai/gpt-4o", "gpt-4o", "gpt-4o"),
        ("x/llama-3:free", "llama-3-free", "llama-3:free"),
        ("a/b/C_d.e f+g", "C_d.e-f-g", "C_d.e f+g"),
        ("llama3:latest", "llama3", "llama3:latest"),
        ("x/ünlü", "-nl-", "ünlü"),
    ],
)
def test_what_ollama_proxy_calls_a_model(id: str, name: str, tail: str) -> None:
    assert (proxy_name(id), tail_of(id)) == (name, tail)


@pytest.mark.parametrize(
    ("include", "exclude", "id", "admitted"),
    [
        ((), (), "a", True),
        (("a*",), (), "abc", True),
        (("a*",), (), "ABC", True),
        (("A*",), (), "abc", True),
        (("a*",), (), "bac", False),
        (("a*",), ("*c",), "abc", False),
        ((), ("google/*:free",), "google/gemma:free", False),
        ((), ("google/*:free",), "google/gemma", True),
        # Both spellings of a name without a tag are the same name.
        (("llama3",), (), "llama3:latest", True),
        (("llama3:latest",), (), "llama3", True),
        (("llama3",), (), "llama3:8b", False),
    ],
)
def test_patterns(include: tuple[str, ...], exclude: tuple[str, ...], id: str, admitted: bool) -> None:
    assert Patterns(include, exclude).admit(id) is admitted


@pytest.mark.parametrize(
    ("id", "tagged", "listed", "key"),
    [
        ("llama3", False, "llama3:latest", "llama3"),
        ("llama3:latest", True, "llama3:latest", "llama3"),
        ("Llama3:8B", True, "Llama3:8B", "llama3:8b"),
        ("host:5000/name", False, "host:5000/name:latest", "host:5000/name"),
        ("deepseek/r1:free", True, "deepseek/r1:free", "deepseek/r1:free"),
    ],
)
def test_tags(id: str, tagged: bool, listed: str, key: str) -> None:
    assert (has_tag(id), listed_name(id), key_of(id)) == (tagged, listed, key)


@pytest.mark.parametrize(
    ("text", "there_is", "it_is"),
    [
        ("fast", True, True),
        ("FAST:latest", True, True),
        ("tagged", True, True),
        ("llama3", True, True),
        # A model's own name, and the same with `:latest`.
        ("llama3:latest", False, False),
        ("gpt-oss", True, False),
        ("gpt-oss:latest", False, False),
        ("qwen3:4b", False, False),
    ],
)
def test_what_is_an_alias(text: str, there_is: bool, it_is: bool) -> None:
    names = Names(FLEET, aliases=ALIASES)
    assert (names.has_alias(text), names.is_alias(text)) == (there_is, it_is)


def test_what_the_index_holds() -> None:
    names = Names(offers("a=m:latest b=M c=n"), aliases={"Fast": ("m",)})
    assert {key: shown(found) for key, found in names.models.items()} == {"m": "a=m:latest b=M", "n": "c=n"}
    assert names.aliases == {"Fast": ("m",)}
    assert shown(names.offers) == "a=m:latest b=M c=n"


SEGMENT = st.sampled_from(["a", "b", "m", "Mm", "x"])
ID = st.builds(
    lambda parts, tag: "/".join(parts) + tag,
    st.lists(SEGMENT, min_size=1, max_size=3),
    st.sampled_from(["", ":latest", ":7b", ":free"]),
)
SOME = st.lists(st.builds(Offer, st.sampled_from(["a", "b", "c"]), st.builds(ModelCard, id=ID)), max_size=8)


@given(SOME, ID)
def test_an_answer_is_one_model_or_an_error_that_names_several(fleet: list[Offer], text: str) -> None:
    names = Names(fleet)
    try:
        found = names.resolve(text)
    except AmbiguousModel as error:
        assert len(error.candidates) > 1
        assert set(error.candidates) <= {offer.card.id for offer in fleet}
    except ModelNotFound:
        assert all(key_of(offer.card.id) != key_of(text) for offer in fleet)
    else:
        assert found
        assert set(found) <= set(fleet)
        assert len({key_of(offer.card.id) for offer in found}) == 1


@given(SOME)
def test_every_listed_name_means_its_model_and_all_who_have_it(fleet: list[Offer]) -> None:
    names = Names(fleet)
    for offer in fleet:
        same = tuple(other for other in fleet if key_of(other.card.id) == key_of(offer.card.id))
        for text in (offer.card.id, offer.card.id.upper(), listed_name(offer.card.id)):
            assert names.resolve(text) == same
        assert offer in names.resolve(f"{offer.backend}/{offer.card.id}") or any(
            key_of(other.card.id) == key_of(f"{offer.backend}/{offer.card.id}") for other in fleet
        )


def test_thousands_of_models_with_one_tail_are_indexed_at_once() -> None:
    many = [Offer("one", ModelCard(id=f"v{number}/same")) for number in range(50_000)]
    with pytest.raises(AmbiguousModel) as caught:
        Names(many).resolve("same")
    assert caught.value.candidates == (*(sorted(offer.card.id for offer in many)[:CANDIDATES]), "49980 more")


@given(SOME, st.sets(ID), ID)
def test_a_text_means_hidden_models_only_where_it_means_no_other(
    fleet: list[Offer], hidden: set[str], text: str
) -> None:
    """Hiding models never changes what a text means among the others."""
    among = [offer for offer in fleet if offer.card.id not in hidden]
    assume(all(key_of(offer.card.id) not in {key_of(id) for id in hidden} for offer in among))
    assume({offer.backend for offer in among} == {offer.backend for offer in fleet})
    filtered, plain, whole = Names(fleet, admit=lambda id: id not in hidden), Names(among), Names(fleet)
    try:
        assert filtered.resolve(text) == plain.resolve(text)
    except ModelForbidden:
        with pytest.raises(ModelNotFound):
            plain.resolve(text)
    except AmbiguousModel as error:
        with pytest.raises(AmbiguousModel) as raised:
            plain.resolve(text)
        assert raised.value.candidates == error.candidates
    except ModelNotFound:
        with pytest.raises(ModelNotFound):
            whole.resolve(text)
