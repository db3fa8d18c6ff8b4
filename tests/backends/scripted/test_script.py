"""Texts of scripts in, values or a sentence about what is wrong out."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.backends.scripted.script import (
    SENTENCE,
    Delay,
    Form,
    Model,
    Play,
    Rule,
    Script,
    ScriptError,
    ToolCall,
    Usage,
    When,
    named,
    parse_rules,
    parse_script,
    pieces,
    read_script,
)


def test_an_empty_script_is_the_built_in_one() -> None:
    assert parse_script("") == parse_script("{}") == Script()
    assert Script().models == (Model(name="scripted"),)
    assert "".join(Play().text) == SENTENCE


def test_every_word_of_a_script() -> None:
    script = parse_script(
        """
        speaks: [openai]
        name: gpu 1
        version: "1.2.3"
        key: secret
        models:
          - {name: tiny, capabilities: [embedding], context_length: 512, embedding_length: 4, size_bytes: 9,
             loaded: true, load_ms: 1500}
        rules:
          - when: {method: post, path: [/v1/*, /], model: tiny*, contains: weather, call: [1, 3], every: 2, times: 4}
            play:
              say: [Hel, lo]
              think: hm
              call: [{name: f, arguments: {a: 1}, id: c1}, {name: g, arguments: "{"}]
              embed: 3
              usage: {prompt_tokens: 1, completion_tokens: 2, cached_tokens: 3, reasoning_tokens: 4}
              finish: length
              error: out of memory
              delay_ms: {head: 5, piece: 1.5}
              status: 429
              headers: {Retry-After: "7"}
              body: {error: slow down}
              fault: cut_stream
              form: {as: json, line_end: crlf, comments: true, space: false, done: false, usage: every,
                     reasoning: tags, arguments: whole, index: false, ids: false, finish_chunk: false, framing: close}
        """
    )
    assert script == Script(
        speaks=("openai",),
        name="gpu 1",
        version="1.2.3",
        key="secret",
        models=(
            Model(
                name="tiny",
                capabilities=("embedding",),
                context_length=512,
                embedding_length=4,
                size_bytes=9,
                loaded=True,
                load_ms=1500,
            ),
        ),
        rules=(
            Rule(
                Play(
                    say=("Hel", "lo"),
                    think="hm",
                    call=(ToolCall("f", {"a": 1}, "c1"), ToolCall("g", "{")),
                    embed=3,
                    usage=Usage(1, 2, 3, 4),
                    finish="length",
                    error="out of memory",
                    delay_ms=Delay(5, 1.5),
                    status=429,
                    headers={"Retry-After": "7"},
                    body={"error": "slow down"},
                    fault="cut_stream",
                    form=Form(
                        shape="json",
                        line_end="crlf",
                        comments=True,
                        space=False,
                        done=False,
                        usage="every",
                        reasoning="tags",
                        arguments="whole",
                        index=False,
                        ids=False,
                        finish_chunk=False,
                        framing="close",
                    ),
                ),
                When("post", ("/v1/*", "/"), "tiny*", "weather", (1, 3), 2, 4),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{play: {sya: x}}]", "the script: Object contains unknown field `sya` - at `$.rules[0].play`"),
        ("rules: [{play: {exact: AAAA}}]", "the script: Object contains unknown field `exact`"),
        ("rules: 1", "the script: Expected `array`, got `int` - at `$.rules`"),
        ("rules: [{play: {fault: boom}}]", "the script: Invalid enum value 'boom' - at `$.rules[0].play.fault`"),
        ("speaks: []", "the script: speaks names no dialect"),
        ("speaks: [anthropic]", "the script: Invalid enum value 'anthropic' - at `$.speaks[0]`"),
        ("[", "the script is not YAML: while parsing a flow node"),
        ("[" * 5000, "the script is not YAML: it is nested too deeply"),
        ("version: 2020-13-45", "the script is not YAML: month must be in 1..12"),
        ('name: "a\\nb"', "the script: the name 'a\\nb' has to be printable ASCII: it goes into a header"),
        ("name: ' a'", "the script: the name ' a' has to be printable ASCII"),
        ("name: ''", "the script: the name '' has to be printable ASCII"),
        ("rules: [{when: {times: 0}}]", "the script: Expected `int` >= 1 - at `$.rules[0].when.times`"),
        ("models: [{name: a, load_ms: -1}]", "the script: Expected `float` >= 0.0 - at `$.models[0].load_ms`"),
        ("hello", "the script: Expected `object`, got `str`"),
        ("rules: [{play: {bytes: nowhere.txt}}]", "the script: the recording nowhere.txt cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(ScriptError) as raised:
        parse_script(text)
    assert str(raised.value).startswith(message)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "answer.bin").write_bytes(b"HTTP/1.1 200 OK\r\n\r\n\xff")
    script = tmp_path / "script.yaml"
    script.write_text('{"rules": [{"play": {"bytes": "answer.bin"}}, {"play": {"raw": "HTTP/1.1 204 \\r\\n\\r\\n"}}]}')
    read = read_script(script)
    assert [rule.play.exact for rule in read.rules] == [b"HTTP/1.1 200 OK\r\n\r\n\xff", b"HTTP/1.1 204 \r\n\r\n"]
    assert read_script(tmp_path) == read
    with pytest.raises(ScriptError, match=r"missing\.yaml cannot be read: No such file or directory"):
        read_script(tmp_path / "missing.yaml")
    with pytest.raises(ScriptError, match="cannot be read"):
        read_script(tmp_path / "answer.bin")


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        (When(), True),
        (When(method="post"), True),
        (When(method="GET"), False),
        (When(path="/api/chat"), True),
        (When(path="/api/*"), True),
        (When(path="/v1/*"), False),
        (When(path=("/v1/*", "/api/*")), True),
        (When(path=("/v1/*", "/")), False),
        (When(path=()), False),
        (When(model="TINY:*"), True),
        (When(model="big"), False),
        (When(contains="¿qué?"), True),
        (When(contains="weather"), False),
        (When(path="/api/*", contains="weather"), False),
    ],
)
def test_when(when: When, fits: bool) -> None:
    assert when.fits("POST", "/api/chat", "tiny:latest", '{"prompt":"¿qué?"}') is fits


def test_when_something_stands_behind_the_question_mark() -> None:
    when = When(path="/v1/models", query="*offset=500*")
    assert when.fits("GET", "/v1/models", None, "", "limit=500&offset=500")
    assert not when.fits("GET", "/v1/models", None, "", "limit=500")
    assert not when.fits("GET", "/v1/models", None, "")
    assert When(query="").fits("GET", "/v1/models", None, "")


def test_a_model_is_asked_for_where_none_is_named() -> None:
    assert not When(model="*").fits("GET", "/api/tags", None, "")


@pytest.mark.parametrize(("call", "numbers"), [(None, [1, 2, 3]), (2, [2]), ((1, 3), [1, 3]), ((), [])])
def test_counts(call: int | tuple[int, ...] | None, numbers: list[int]) -> None:
    assert [number for number in (1, 2, 3) if When(call=call).counts(number)] == numbers


@pytest.mark.parametrize(
    ("when", "numbers"),
    [
        (When(times=2), [1, 2]),
        (When(every=3), [3, 6]),
        (When(every=2, times=2), [2, 4]),
        (When(call=(1, 5), times=3), [1]),
        (When(every=2, call=(3, 4)), [4]),
    ],
)
def test_every_and_times(when: When, numbers: list[int]) -> None:
    assert [number for number in range(1, 8) if when.counts(number)] == numbers


@pytest.mark.parametrize(
    ("play", "said"),
    [
        (Play(), "Hello from gpu1! This is a scripted answer: no model has read your question."),
        (Play(say="{name}, {name}: {"), "gpu1, gpu1: {"),
        (Play(say=("I am {name}", "{na", "me}")), ("I am gpu1", "{na", "me}")),
        (Play(say=""), ""),
        (Play(think="{name}"), None),
        (Play(call=(ToolCall("f"),)), None),
    ],
)
def test_a_name(play: Play, said: str | tuple[str, ...] | None) -> None:
    assert named(play, "gpu1").say == said
    assert named(play, None) is play


def test_rules_of_a_command(tmp_path: Path) -> None:
    rule = Rule(Play(say="a"), When(path="/x"))
    assert parse_rules("{when: {path: /x}, play: {say: a}}", None, "it") == (rule,)
    assert parse_rules('{"rules": [{"when": {"path": "/x"}, "play": {"say": "a"}}, {}]}', None, "it") == (rule, Rule())
    assert parse_rules("rules: []", None, "it") == ()
    (tmp_path / "in").write_bytes(b"1")
    (tmp_path / "out").symlink_to("/etc/hostname")
    assert parse_rules("play: {bytes: in}", tmp_path, "it")[0].play.exact == b"1"
    for file in ("out", "../in", "/in"):
        with pytest.raises(ScriptError, match="is not in the folder of the script; use raw"):
            parse_rules(f"play: {{bytes: {file}}}", tmp_path, "it")


@pytest.mark.parametrize(
    ("play", "text", "thinking"),
    [
        (Play(say="Hi  there\n"), ("Hi", "  there", "\n"), ()),
        (Play(say=("Hi th", "ere")), ("Hi th", "ere"), ()),
        (Play(say=""), (), ()),
        (Play(think="Hm so"), (), ("Hm", " so")),
        (Play(call=(ToolCall("f"),)), (), ()),
        (Play(think="Hm", say="Hi"), ("Hi",), ("Hm",)),
    ],
)
def test_what_is_said(play: Play, text: tuple[str, ...], thinking: tuple[str, ...]) -> None:
    assert (play.text, play.thinking) == (text, thinking)


def test_a_bare_delay_is_before_the_head() -> None:
    assert Play(delay_ms=5).delay == Delay(5, 0)


@given(st.text())
def test_pieces_joined_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert all(pieces(text))
