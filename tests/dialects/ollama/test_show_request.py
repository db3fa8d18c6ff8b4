"""The request of /api/show."""

import pytest

from arriero.dialects.ollama.show_request import ShowRequest, decode_show, show_not_found
from arriero.errors import BadRequest


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"tiny"}', ShowRequest("tiny")),
        (b'{"name":"tiny"}', ShowRequest("tiny")),
        (b'{"model":"","name":"tiny"}', ShowRequest("tiny")),
        (b'{"model":"tiny","name":"other"}', ShowRequest("tiny")),
        (b'{"MODEL":"tiny","verbose":true,"unknown":1}', ShowRequest("tiny", verbose=True)),
        (
            b'{"model":"tiny","system":"Be kind.","options":{"num_ctx":8,"stop":["a"]},"template":"x"}',
            ShowRequest("tiny", system="Be kind.", options={"num_ctx": 8, "stop": ["a"]}),
        ),
    ],
)
def test_what_is_asked(body: bytes, expected: ShowRequest) -> None:
    assert decode_show(body) == expected


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "missing request body"),
        (b"{}", "model is required"),
        (b'{"model":7}', "json: cannot unmarshal number into Go struct field ShowRequest.model of type string"),
        (b'{"model":"a\\u0000b"}', "invalid model name"),
    ],
)
def test_what_cannot_be_asked(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as raised:
        decode_show(body)
    assert raised.value.message == said


def test_what_is_no_name_is_not_looked_for() -> None:
    with pytest.raises(BadRequest, match=r"^invalid model name$"):
        show_not_found("m:")


def test_an_unknown_model_is_named_with_its_tag() -> None:
    assert show_not_found("nope").message == "model 'nope:latest' not found"
    assert show_not_found("registry.ollama.ai/library/nope:1b").message == "model 'nope:1b' not found"
