"""keep_alive, options, format and think, both ways."""

import pytest
from msgspec import Raw

from arriero.canonical.requests import FOREVER, Format, JsonFormat, Sampling, Scalar, SchemaFormat, Think
from arriero.dialects.ollama import options
from arriero.errors import BadRequest, InvalidOption
from arriero.wire.jsontext import json_text


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        (b"", None),
        (b"null", None),
        (b"0", 0.0),
        (b"300", 300.0),
        (b"1.5", 1.5),
        (b"-1", FOREVER),
        (b"-0.5", FOREVER),
        (b'"5m"', 300.0),
        (b'"5m0s"', 300.0),
        (b'"300ms"', 0.3),
        (b'"0"', 0.0),
        (b'"0s"', 0.0),
        (b'"-1m"', FOREVER),
    ],
)
def test_keep_alive(raw: bytes, seconds: float | None) -> None:
    assert options.read_keep_alive(raw) == seconds


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'"-1"', 'time: missing unit in duration "-1"'),
        (b'"300"', 'time: missing unit in duration "300"'),
        (b'""', 'time: invalid duration ""'),
        (b'"abc"', 'time: invalid duration "abc"'),
        (b"true", "Unsupported type: 'bool'"),
        (b"[]", "Unsupported type: '[]interface {}'"),
        (b"{}", "Unsupported type: 'map[string]interface {}'"),
    ],
)
def test_keep_alive_that_is_none(raw: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        options.read_keep_alive(raw)
    assert (caught.value.status, caught.value.message) == (400, message)


@pytest.mark.parametrize(("seconds", "number"), [(FOREVER, -1), (0.0, 0), (300.0, 300), (1.5, 1.5)])
def test_keep_alive_is_written_as_a_number(seconds: float, number: float) -> None:
    assert options.write_keep_alive(seconds) == number


def raws(**values: bytes) -> dict[str, Raw]:
    return {name: Raw(value) for name, value in values.items()}


def test_every_option_has_its_place() -> None:
    given = raws(
        num_keep=b"4", seed=b"7", num_predict=b"100", top_k=b"40", top_p=b"0.9", min_p=b"0.05", typical_p=b"1",
        repeat_last_n=b"64", temperature=b"0.8", repeat_penalty=b"1.1", presence_penalty=b"0", frequency_penalty=b"0.5",
        stop=b'["a","b"]', num_ctx=b"4096", num_batch=b"512", num_gpu=b"-1", num_thread=b"8", main_gpu=b"0",
        use_mmap=b"true", draft_num_predict=b"4",
    )  # fmt: skip
    sampling = Sampling(
        max_tokens=100, temperature=0.8, top_p=0.9, top_k=40, min_p=0.05, typical_p=1.0, seed=7, stop=("a", "b"),
        presence_penalty=0.0, frequency_penalty=0.5, repeat_penalty=1.1, repeat_last_n=64, num_keep=4,
    )  # fmt: skip
    runner: dict[str, Scalar] = {
        "num_ctx": 4096, "num_batch": 512, "num_gpu": -1, "num_thread": 8, "main_gpu": 0, "use_mmap": True,
        "draft_num_predict": 4,
    }  # fmt: skip
    assert options.read_options(given) == (sampling, runner)
    assert options.read_options(
        {name: Raw(json_text(value)) for name, value in options.write_options(sampling, runner).items()}
    ) == (sampling, runner)


@pytest.mark.parametrize(
    ("given", "sampling", "runner"),
    [
        (None, Sampling(), {}),
        (raws(temperature=b"null", num_ctx=b"null"), Sampling(), {}),
        (raws(top_k=b"40.9", seed=b"1e2"), Sampling(top_k=40, seed=100), {}),
        (raws(num_predict=b"-1"), Sampling(), {}),
        (raws(num_predict=b"-2"), Sampling(), {}),
        (raws(seed=b"-1"), Sampling(), {}),
        (raws(seed=b"0"), Sampling(seed=0), {}),
        (raws(stop=b"[]"), Sampling(stop=()), {}),
        (raws(mirostat=b"2", numa=b"false", tfs_z=b"1.0"), Sampling(), {"mirostat": 2, "numa": False, "tfs_z": 1.0}),
        (raws(whatever=b"[1]", other=b"{}"), Sampling(), {}),
    ],
)
def test_options(given: dict[str, Raw] | None, sampling: Sampling, runner: dict[str, Scalar]) -> None:
    assert options.read_options(given) == (sampling, runner)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (raws(temperature=b'"hot"'), 'option "temperature" must be of type float32'),
        (raws(temperature=b"true"), 'option "temperature" must be of type float32'),
        (raws(num_ctx=b'"4096"'), 'option "num_ctx" must be of type integer'),
        (raws(seed=b"true"), 'option "seed" must be of type integer'),
        (raws(use_mmap=b"1"), 'option "use_mmap" must be of type boolean'),
        (raws(stop=b'"END"'), 'option "stop" must be of type array'),
        (raws(stop=b"[1]"), 'option "stop" must be of an array of strings'),
    ],
)
def test_an_option_of_a_wrong_type_is_a_500(given: dict[str, Raw], message: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        options.read_options(given)
    assert (caught.value.status, caught.value.message) == (500, message)


def test_a_number_that_no_float_holds_is_a_bad_request() -> None:
    with pytest.raises(BadRequest) as caught:
        options.read_options(raws(temperature=b"1e999"))
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("raw", "format"),
    [
        (b"", None),
        (b"null", None),
        (b'""', None),
        (b'"json"', JsonFormat()),
        (b'{"type": "object"}', SchemaFormat(Raw(b'{"type": "object"}'))),
    ],
)
def test_format(raw: bytes, format: Format | None) -> None:
    assert options.read_format(raw) == format
    if format is not None:
        assert bytes(options.write_format(format)) == raw


@pytest.mark.parametrize(
    ("raw", "shown"), [(b'"xml"', r'"\"xml\""'), (b"true", '"true"'), (b"[1]", '"[1]"'), (b"7", '"7"')]
)
def test_another_format_is_a_500(raw: bytes, shown: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        options.read_format(raw)
    expected = f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
    assert (caught.value.status, caught.value.message) == (500, expected)


@pytest.mark.parametrize(
    ("raw", "think"),
    [(b"", None), (b"null", None), (b"true", True), (b"false", False), (b'"low"', "low"), (b'"max"', "max")],
)
def test_think(raw: bytes, think: Think | None) -> None:
    assert options.read_think(raw) == think


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'"extreme"', 'invalid think value: "extreme" (must be "high", "medium", "low", "max", true, or false)'),
        (b'""', 'invalid think value: "" (must be "high", "medium", "low", "max", true, or false)'),
        (b"1", 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
        (b"[]", 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
    ],
)
def test_another_think_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        options.read_think(raw)
    assert (caught.value.status, caught.value.message) == (400, message)


@pytest.mark.parametrize(
    ("think", "written"),
    [
        (True, True), (False, False), ("none", False), ("minimal", "low"), ("low", "low"), ("medium", "medium"),
        ("high", "high"), ("max", "max"), ("xhigh", "max"), ("odd", "odd"),
    ],
)  # fmt: skip
def test_efforts_become_levels(think: Think, written: Think) -> None:
    assert options.write_think(think) == written
