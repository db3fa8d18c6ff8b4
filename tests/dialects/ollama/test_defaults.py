"""The layers of a store in, what a model brings along out."""

import pytest

from arriero.canonical.catalog import Defaults
from arriero.canonical.requests import Message, Sampling, Text
from arriero.dialects.ollama.defaults import read_defaults
from arriero.errors import BadRequest, InvalidOption


def test_every_layer() -> None:
    params = {"stop": ["<end>"], "num_ctx": 8192, "temperature": 1, "num_predict": 9, "use_mmap": False}
    messages = [{"role": "User", "content": "hi"}, {"role": "assistant", "content": "üé"}]
    assert read_defaults(params, "be kind", messages) == Defaults(
        sampling=Sampling(stop=("<end>",), temperature=1.0, max_tokens=9),
        runner={"num_ctx": 8192, "use_mmap": False},
        system="be kind",
        messages=(Message("user", (Text("hi"),)), Message("assistant", (Text("üé"),))),
    )


@pytest.mark.parametrize("params", [{}, {"seed": -1, "num_predict": -1}, {"stop": None}])
def test_nothing_in_them(params: dict[str, object]) -> None:
    assert read_defaults(params, "", []) is None


def test_what_is_wrong_in_them_is_told() -> None:
    with pytest.raises(InvalidOption, match='option "stop" must be of type array'):
        read_defaults({"stop": "<end>"})
    with pytest.raises(BadRequest, match=r"cannot unmarshal array into Go struct field ChatRequest\.messages\.content"):
        read_defaults({}, None, [{"role": "user", "content": []}])
