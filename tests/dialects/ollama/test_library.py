"""Bodies of library requests, read as Ollama reads them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.dialects.ollama.library import (
    COPY,
    CREATE,
    DELETE,
    PULL,
    PUSH,
    READ,
    Asked,
    missing,
    renamed,
    same_name,
    unknown,
)
from arriero.errors import BadRequest

ONE, TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        (PULL, b'{"model":"tiny"}', Asked("tiny")),
        (PULL, b'{"name":"hf.co/me/tiny:Q4_K_M","stream":false}', Asked("hf.co/me/tiny:Q4_K_M", stream=False)),
        (PULL, b'{"MODEL":"tiny:cloud","Stream":null} rest', Asked("tiny:cloud")),
        (PULL, b'{"model":"lab:5000/me/tiny","insecure":true}', Asked("lab:5000/me/tiny", insecure=True)),
        (PUSH, b'{"model":"me/tiny","insecure":true}', Asked("me/tiny", insecure=True)),
        (PUSH, b'{"model":"@cf/me/tiny","name":"x","stream":true}', Asked("@cf/me/tiny")),
        (DELETE, b'{"name":"tiny:1b","stream":7}', Asked("tiny:1b")),
        (COPY, b'{"source":"gpu1/tiny","destination":"me/mine:1b"}', Asked("gpu1/tiny", "me/mine:1b")),
        (CREATE, b'{"model":"mine","from":"tiny"}', Asked("mine", base="tiny")),
        (
            CREATE,
            json.dumps(
                {"model": "mine", "files": {"a": ONE, "b": 7}, "adapters": {"c": TWO}, "draft_files": None}
            ).encode(),
            Asked("mine", digests=(ONE, TWO)),
        ),
    ],
)
def test_what_is_asked_for(path: str, body: bytes, asked: Asked) -> None:
    assert READ[path](body) == asked


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        (PULL, b"", "missing request body"),
        (PULL, b"  \n", "missing request body"),
        (PULL, b'{"model":"ti', "unexpected EOF"),
        (PULL, b"null", "invalid model name"),
        (PULL, b'{"model":7}', "json: cannot unmarshal number into Go struct field PullRequest.model of type string"),
        (
            PULL,
            b'{"stream":"no"}',
            "json: cannot unmarshal string into Go struct field PullRequest.stream of type bool",
        ),
        (PULL, b'{"model":"../tiny"}', "invalid model name"),
        (PULL, b'{"model":"tiny:cloud:local"}', 'use either :local or :cloud, not both: "tiny:cloud:local"'),
        (PUSH, b'{"model":""}', "model is required"),
        (CREATE, b'{"model":"a b"}', "invalid model name"),
        (
            CREATE,
            b'{"model":"a","files":[]}',
            "json: cannot unmarshal array into Go struct field CreateRequest.files of type map[string]interface {}",
        ),
        (COPY, b'{"source":"a"}', 'destination "" is invalid'),
        (COPY, b'{"source":"a","destination":"/b"}', 'destination "/b" is invalid'),
        (COPY, b'{"destination":"b"}', 'source "" is invalid'),
        (DELETE, b"{}", "model is required"),
    ],
)
def test_what_cannot_be_asked_for(path: str, body: bytes, text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        READ[path](body)
    assert raised.value.message == text


@pytest.mark.parametrize(
    ("path", "body", "there"),
    [
        (DELETE, b'{"model" : "tiny", "x":[1, 2.50]}', b'{"model" : "acme/tiny:7b", "x":[1, 2.50]}'),
        (DELETE, b'{"name":"tiny"}', b'{"name":"acme/tiny:7b"}'),
        (
            DELETE,
            b'{"Name":"a","model":"b","name":"c"}',
            b'{"Name":"acme/tiny:7b","model":"acme/tiny:7b","name":"acme/tiny:7b"}',
        ),
        (PUSH, b'{"\\u006dodel":"tiny","insecure":true}', b'{"\\u006dodel":"acme/tiny:7b","insecure":true}'),
        (
            COPY,
            b'{"source":"x","destination":"x","model":"x"}',
            b'{"source":"acme/tiny:7b","destination":"x","model":"x"}',
        ),
        (COPY, b'{"SOURCE":"\xff"}', b'{"SOURCE":"acme/tiny:7b"}'),
    ],
)
def test_the_backends_id_stands_where_the_name_stood(path: str, body: bytes, there: bytes) -> None:
    assert renamed(path, body, "acme/tiny:7b") == there


@given(
    st.dictionaries(st.sampled_from(["model", "name", "Model", "x", "source"]), st.text(max_size=5)),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_whatever_is_written_it_is_read_as_the_backends_id(fields: dict[str, str], id: str) -> None:
    body = json.dumps({"model": "tiny", **fields}).encode()
    there = json.loads(renamed(DELETE, body, id))
    assert there == {key: id if key.lower() in ("model", "name") else value for key, value in json.loads(body).items()}


def test_one_name_in_two_spellings() -> None:
    assert same_name("Tiny", "library/tiny:latest")
    assert not same_name("tiny", "tiny:1b")
    assert not same_name("../x", "../x")


def test_what_is_not_there_in_the_words_of_the_operation() -> None:
    assert missing(DELETE, "a b").message == "model 'a b' not found"
    assert missing(COPY, 'a"b').message == 'model "a\\"b" not found'
    assert unknown(DELETE, "Tiny:1b").message == "model 'Tiny:1b' not found"
    for path, text in ((DELETE, 'name "a b" is invalid'), (COPY, 'source "a b" is invalid')):
        with pytest.raises(BadRequest) as raised:
            unknown(path, "a b")
        assert raised.value.message == text
