"""Lines of several backends in, lines of one operation out."""

import json
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.errors import BackendUnreachable
from arriero.gateway.library import progress
from arriero.gateway.library.progress import Progress

A, B = "sha256:aa", "sha256:bb"


def same(text: str) -> str:
    return text


def of(*names: str) -> Progress:
    return Progress(dict.fromkeys(names, same))


def line(**frame: Any) -> bytes:
    return json.dumps(frame).encode() + b"\n"


def layer(digest: str, total: int = 100, **completed: int) -> bytes:
    return line(status=f"pulling {digest[7:]}", digest=digest, total=total, **completed)


def lines(*said: bytes) -> list[Any]:
    return [json.loads(text) for text in b"".join(said).splitlines()]


SUCCESS = line(status="success")


def test_one_bar_stands_for_a_layer_on_all_backends() -> None:
    both = of("gpu1", "gpu2")
    assert lines(
        both.feed("gpu1", layer(A)),
        both.feed("gpu1", layer(A, completed=40)),
        both.feed("gpu2", layer(A, completed=10)),
        both.feed("gpu2", layer(B, 7, completed=7)),
    ) == [
        {"status": "pulling aa", "digest": A, "total": 200},
        {"status": "pulling aa", "digest": A, "total": 200, "completed": 40},
        {"status": "pulling aa", "digest": A, "total": 200, "completed": 50},
        {"status": "pulling bb", "digest": B, "total": 14, "completed": 7},
    ]


def test_what_is_no_layer_is_the_backends_own() -> None:
    both = of("gpu1", "gpu2")
    assert lines(both.feed("gpu2", line(status="writing manifest"))) == [{"status": "writing manifest (gpu2)"}]


def test_a_success_is_told_when_the_answer_ends_there() -> None:
    # A model that is created from one that has to be pulled first says it twice.
    both = of("gpu1", "gpu2")
    assert both.feed("gpu1", SUCCESS) == b""
    assert lines(both.feed("gpu1", line(status="writing manifest") + SUCCESS)) == [
        {"status": "writing manifest (gpu1)"}
    ]
    assert not both.over("gpu1")
    assert lines(both.end("gpu1")) == [{"status": "finished (gpu1)"}]
    assert both.over("gpu1")
    assert both.outcomes == {"gpu1": None, "gpu2": None}


def test_who_has_ended_well_has_every_layer() -> None:
    both = of("gpu1", "gpu2")
    both.feed("gpu1", layer(A, completed=30))
    assert lines(both.feed("gpu2", SUCCESS), both.end("gpu2"), both.feed("gpu1", layer(B, 5))) == [
        {"status": "pulling aa", "digest": A, "total": 200, "completed": 130},
        {"status": "finished (gpu2)"},
        {"status": "pulling bb", "digest": B, "total": 10, "completed": 5},
    ]


def test_a_bar_never_runs_backwards_nor_over_its_end() -> None:
    both = of("gpu1", "gpu2")
    said = [
        both.feed("gpu1", layer(A, completed=60)),
        both.feed("gpu1", layer(A, completed=20)),
        both.feed("gpu1", layer(A, 9_000, completed=5_000)),
        both.feed("gpu2", layer(A, 3)),
    ]
    assert [(frame["completed"], frame["total"]) for frame in lines(*said)] == [
        (60, 200),
        (60, 200),
        (100, 200),
        (100, 200),
    ]


def test_a_failure_is_told_at_once_and_nothing_behind_it_counts() -> None:
    both = of("gpu1", "gpu2")
    both.feed("gpu1", line(status="pulling manifest"))
    said = both.feed("gpu2", line(error="no space left") + line(status="pulling manifest"))
    assert lines(said) == [{"status": "failed (gpu2): no space left"}]
    assert both.feed("gpu2", SUCCESS) + both.end("gpu2") == b""
    errors = {name: error and error.message for name, error in both.outcomes.items()}
    assert errors == {"gpu1": None, "gpu2": "no space left"}


def test_as_long_as_all_have_only_failed_nothing_is_said() -> None:
    three = of("gpu1", "gpu2", "gpu3")
    assert three.fail("gpu1", BackendUnreachable("gpu1 is away")) == b""
    assert three.feed("gpu2", line(error="no")) == b""
    assert lines(three.feed("gpu3", line(status="pulling manifest"))) == [
        {"status": "failed (gpu1): is away"},
        {"status": "failed (gpu2): no"},
        {"status": "pulling manifest (gpu3)"},
    ]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "its answer ended before it said success"),
        (line(status="pulling manifest"), "its answer ended before it said success"),
        (b'{"status":"succ', "its answer holds a line that is no JSON object"),
        (b"[1]\n", "its answer holds a line that is no JSON object"),
        (b"<html>\n", "its answer holds a line that is no JSON object"),
        (b'{"status":"\xff"}\n', "its answer holds a line that is no JSON object"),
        (b"[" * 100_000 + b"\n", "its answer holds a line that is no JSON object"),
        (b'{"error":{"message":"nested"}}\n', "nested"),
        (b'{"error":[1]}\n', '{"error":[1]}'),
    ],
)
def test_an_answer_that_is_none_has_failed(answer: bytes, reason: str) -> None:
    one = of("gpu1", "gpu2")
    one.feed("gpu1", answer)
    one.end("gpu1")
    error = one.outcomes["gpu1"]
    assert error is not None
    assert error.message == reason


def test_numbers_that_are_none_count_for_nothing() -> None:
    both = of("gpu1", "gpu2")
    odd = [True, -1, 1.5, "7", None, 1 << 60, [1]]
    said = [both.feed("gpu1", line(status="x", digest=A, total=value, completed=value)) for value in odd]
    assert lines(*said) == [{"status": "x", "digest": A}] * len(odd)


def test_a_frame_without_a_status_is_passed_over() -> None:
    both = of("gpu1", "gpu2")
    assert both.feed("gpu1", b'{}\n{"status":7}\n{"digest":"sha256:aa","total":3}\n') == b""


def test_more_layers_than_any_model_has_are_not_counted() -> None:
    both = of("gpu1", "gpu2")
    many = b"".join([layer(f"sha256:{number}") for number in range(progress.MAX_LAYERS + 5)])
    assert len(lines(both.feed("gpu1", many))) == progress.MAX_LAYERS


def test_secrets_are_hidden_in_what_is_told() -> None:
    hushed = Progress({"gpu1": lambda text: text.replace("sk-1", "***"), "gpu2": same})
    told = hushed.feed(
        "gpu1", line(status="with sk-1") + line(status="pulling sk-1", digest=A) + line(error="not sk-1")
    )
    assert [frame["status"] for frame in lines(told)] == ["with *** (gpu1)", "pulling ***", "failed (gpu1): not ***"]


def test_every_line_is_ascii() -> None:
    # Some clients cut lines at U+2028.
    both = of("gpu1", "größe")
    assert both.feed("größe", '{"status":"über\u2028"}\n'.encode()).isascii()


STEPS = st.lists(
    st.one_of(
        st.builds(
            lambda digest, total, completed: {
                "status": "pulling",
                "digest": digest,
                "total": total,
                "completed": completed,
            },
            st.sampled_from([A, B]),
            st.integers(0, 50),
            st.integers(0, 80),
        ),
        st.sampled_from([{"status": "pulling manifest"}, {"status": "success"}]),
    ),
    max_size=8,
)


@given(st.lists(STEPS, min_size=2, max_size=4), st.randoms(use_true_random=False), st.data())
def test_whatever_comes_in_whatever_order_bars_grow_and_are_full_at_the_end(
    plans: list[list[dict[str, Any]]], random: Any, data: st.DataObject
) -> None:
    names = [f"gpu{number}" for number in range(len(plans))]
    merged = of(*names)
    turns = [name for name, plan in zip(names, plans, strict=True) for _ in (*plan, "end")]
    random.shuffle(turns)
    left = {name: [*plan, {"status": "success"}] for name, plan in zip(names, plans, strict=True)}
    said: list[Any] = []
    for name in turns:
        frame = left[name].pop(0)
        said += lines(merged.feed(name, line(**frame)))
        if not left[name]:
            said += lines(merged.end(name))
    assert merged.outcomes == dict.fromkeys(names)
    bars: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for frame in said:
        if frame.get("total"):
            bars[frame["digest"]].append((frame["total"], frame.get("completed", 0)))
    for bar in bars.values():
        assert len({total for total, _ in bar}) == 1
        assert [completed for _, completed in bar] == sorted(completed for _, completed in bar)
        assert bar[-1][0] == bar[-1][1]
    assert sorted(frame["status"] for frame in said if "finished" in frame["status"]) == [
        f"finished ({name})" for name in names
    ]


@given(STEPS, st.lists(st.integers(0, 400), max_size=6))
def test_any_slicing_of_an_answer_gives_the_same(plan: list[dict[str, Any]], cuts: list[int]) -> None:
    answer = b"".join([line(**frame) for frame in plan]) + SUCCESS
    whole, sliced = of("gpu1", "gpu2"), of("gpu1", "gpu2")
    at, out = 0, b""
    for cut in [*sorted(cuts), len(answer)]:
        out += sliced.feed("gpu1", answer[at:cut])
        at = max(at, cut)
    assert out + sliced.end("gpu1") == whole.feed("gpu1", answer) + whole.end("gpu1")
