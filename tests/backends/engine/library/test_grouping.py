from typing import Any

import pytest

from arriero.backends.engine.card import Kind
from arriero.backends.engine.gguf import GgufHeader, Tensor
from arriero.backends.engine.library.grouping import Given, Group, grouped
from arriero.errors import ArrieroError, BadRequest, ModelBroken


def given(name: str, **metadata: Any) -> Given:
    header = GgufHeader(
        version=3,
        metadata={"general.architecture": "llama", **{key.replace("__", "."): said for key, said in metadata.items()}},
        tensors=(Tensor("t", "F32", (1,), 0),),
        parameter_count=1,
        length=100,
        size_bytes=200,
        digest="0" * 64,
        infill=False,
        tokens_at=None,
    )
    return Given(name, f"sha256:{'0' * 64}", header)


MODEL = given("a.gguf")
EYES = given("eyes.gguf", general__architecture="clip")
LORA = given("lora.gguf", general__type="adapter")
PARTS = tuple(given(f"b-{number:05}-of-00003.gguf") for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("files", "groups"),
    [
        ([MODEL], (Group(Kind.MODEL, (MODEL,)),)),
        (
            [EYES, LORA, MODEL],
            (Group(Kind.MODEL, (MODEL,)), Group(Kind.ADAPTER, (LORA,)), Group(Kind.PROJECTOR, (EYES,))),
        ),
        ([PARTS[2], EYES, PARTS[0], PARTS[1]], (Group(Kind.MODEL, PARTS), Group(Kind.PROJECTOR, (EYES,)))),
    ],
)
def test_what_belongs_together(files: list[Given], groups: tuple[Group, ...]) -> None:
    assert grouped(files) == groups


@pytest.mark.parametrize(
    ("files", "kind", "message"),
    [
        ([EYES], BadRequest, 'there is no model among the files: "eyes.gguf"'),
        ([EYES, LORA], BadRequest, 'there is no model among the files: "eyes.gguf", "lora.gguf"'),
        (
            [MODEL, given("c.gguf")],
            BadRequest,
            'there is more than one model among the files: "a.gguf", "c.gguf"',
        ),
        (
            [MODEL, *PARTS],
            BadRequest,
            'there is more than one model among the files: "b-00001-of-00003.gguf", "a.gguf"',
        ),
        (
            [PARTS[0], PARTS[2]],
            BadRequest,
            'part 2 of 3 is missing: "b-00001-of-00003.gguf" is one of a set',
        ),
        (
            [given("x.gguf", split__count=2, split__no=0), given("y.gguf", split__count=2, split__no=0)],
            BadRequest,
            '"y.gguf" and "x.gguf" are the same part of a model',
        ),
        (
            [given("a.gguf", llama__block_count=4711)],
            ModelBroken,
            '"a.gguf" cannot be used: llama.block_count is 4711, which cannot be',
        ),
        (
            [given("i.gguf", general__type="imatrix")],
            ModelBroken,
            '"i.gguf" cannot be used: not a model of its own: a GGUF file of the type imatrix',
        ),
    ],
)
def test_what_does_not(files: list[Given], kind: type[ArrieroError], message: str) -> None:
    with pytest.raises(kind) as raised:
        grouped(files)
    assert raised.value.message == message
