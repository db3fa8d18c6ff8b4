"""The lines of a filter file in, the models that it lets through out."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.routing.model_filter import EVERYTHING, FEW, MAX_RULE, Fault, Globs, ModelFilter, names_of, parse

MODELS = (
    "openai/gpt-4o",
    "openai/gpt-4o-mini",
    "google/gemini-pro",
    "x/llama-3:free",
    "meta/llama-2-7b",
    "llama3:latest",
    "qwen3:4b",
    "Mixed/Case",
)


def shown(*lines: str) -> list[str]:
    found, faults = parse("\n".join(lines))
    assert faults == ()
    return [id for id in MODELS if found.admit(id)]


def but(*hidden: str) -> list[str]:
    return [id for id in MODELS if id not in hidden]


# ---- what a line means ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "models"),
    [
        # No rules let everything through.
        ([], [*MODELS]),
        (["", "  ", "# gpt-4o", "  # indented", "#"], [*MODELS]),
        # An exact name, in each of its spellings.
        (["openai/gpt-4o"], ["openai/gpt-4o"]),
        (["openai/gpt-4o:latest"], ["openai/gpt-4o"]),
        (["gpt-4o"], ["openai/gpt-4o"]),
        (["gpt-4o:latest"], ["openai/gpt-4o"]),
        (["  gpt-4o:latest\t"], ["openai/gpt-4o"]),
        (["x/llama-3:free"], ["x/llama-3:free"]),
        (["llama-3:free"], ["x/llama-3:free"]),
        (["llama-3-free"], ["x/llama-3:free"]),
        (["llama-3-free:latest"], ["x/llama-3:free"]),
        (["llama3"], ["llama3:latest"]),
        (["llama3:latest"], ["llama3:latest"]),
        # What is no name of it.
        (["gpt-4"], []),
        (["llama-2"], []),
        (["llama-3"], []),
        (["qwen3"], []),
        (["qwen3:latest"], []),
        (["x/llama-3:free:latest"], []),
        # Letter case counts.
        (["GPT-4o"], []),
        (["Case"], ["Mixed/Case"]),
        (["case"], []),
        (["GPT*"], []),
        (["Mixed/*"], ["Mixed/Case"]),
        # Patterns, over the whole of a name.
        (["gpt*:latest"], ["openai/gpt-4o", "openai/gpt-4o-mini"]),
        (["*gemini*:*"], ["google/gemini-pro"]),
        (["openai/*"], ["openai/gpt-4o", "openai/gpt-4o-mini"]),
        (["*:free"], ["x/llama-3:free"]),
        (["llama*:latest"], ["x/llama-3:free", "meta/llama-2-7b", "llama3:latest"]),
        (["qwen?:4b"], ["qwen3:4b"]),
        (["gpt-4?"], ["openai/gpt-4o"]),
        (["llama-[23]*"], ["x/llama-3:free", "meta/llama-2-7b"]),
        (["llama-[!3]*"], ["meta/llama-2-7b"]),
        (["*"], [*MODELS]),
        (["gpt*mini*free"], []),
        # Includes are joined.
        (["gpt-4o", "qwen3:4b", "gpt-4o"], ["openai/gpt-4o", "qwen3:4b"]),
        # Excludes alone leave the rest.
        (["!gpt-4o:latest"], but("openai/gpt-4o")),
        (["! gpt-4o"], but("openai/gpt-4o")),
        (["!openai/*"], but("openai/gpt-4o", "openai/gpt-4o-mini")),
        (["!*:free", "!*-mini"], but("x/llama-3:free", "openai/gpt-4o-mini")),
        (["!*"], []),
        # Excludes beat includes, wherever they stand.
        (["gpt*", "!gpt-4o-mini"], ["openai/gpt-4o"]),
        (["!gpt-4o-mini:latest", "gpt*"], ["openai/gpt-4o"]),
        (["gpt-4o", "!gpt-4o"], []),
        # Only a first # is a comment, only a first ! an exclude.
        (["qwen3:4b#"], []),
        (["!#gpt-4o"], [*MODELS]),
        (["!!gpt-4o"], [*MODELS]),
        (["gpt!4o"], []),
    ],
)
def test_lines(lines: list[str], models: list[str]) -> None:
    assert shown(*lines) == models


@pytest.mark.parametrize(
    ("id", "names"),
    [
        ("openai/gpt-4o", ("openai/gpt-4o", "openai/gpt-4o:latest", "gpt-4o", "gpt-4o:latest")),
        ("x/llama-3:free", ("x/llama-3:free", "llama-3:free", "llama-3-free", "llama-3-free:latest")),
        ("llama3:latest", ("llama3", "llama3:latest")),
        ("qwen3:4b", ("qwen3:4b", "qwen3-4b", "qwen3-4b:latest")),
    ],
)
def test_the_names_of_a_model(id: str, names: tuple[str, ...]) -> None:
    assert names_of(id) == names


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_any_end_of_line(end: str) -> None:
    found, faults = parse(f"\ufeffgpt-4o{end}{end}!qwen3:4b{end}")
    assert (found, faults) == (ModelFilter(["gpt-4o"], ["qwen3:4b"]), ())


def test_no_other_character_ends_a_line() -> None:
    assert parse("a\u2028b\x85c*")[0] == ModelFilter(["a\u2028b\x85c*"])


# ---- malformed lines -----------------------------------------------------------------------------------------------

EMPTY = "a ! excludes what stands behind it, and nothing does: write !gpt-4o:latest or the like; the line is left out"
LONG = f"it has more than {MAX_RULE} characters, and no name has so many: write one name or pattern a line"
BLANKS = "blanks are part of a name here: write one name a line, and comments on lines of their own"
LETTERS = "this is read as a name: [..] stands for one of its letters only where a * or a ? is in the line"


def strange(code: str) -> str:
    return f"it holds the character {code}, which no name has: write it as plain text in UTF-8; the line is left out"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("!", EMPTY),
        ("!  ", EMPTY),
        ("a\x00b", strange("U+0000")),
        ("!\x1b[1mgpt*", strange("U+001B")),
        ("gpt\ufffd*", strange("U+FFFD")),
        ("\x00\ufeffgpt", strange("U+0000")),
        ("x" * (MAX_RULE + 1), f"{LONG}; the line is left out"),
        ("!" + "*" * (MAX_RULE + 1), f"{LONG}; the line is left out"),
    ],
)
def test_a_line_that_is_no_rule_is_told_and_the_others_count(line: str, problem: str) -> None:
    found, faults = parse(f"gpt-4o\n{line}\n!qwen3:4b")
    assert (found, faults) == (ModelFilter(["gpt-4o"], ["qwen3:4b"]), (Fault(2, problem),))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("gpt-4o:latest # the good one", BLANKS),
        ("gpt-4o, gpt-4o-mini", BLANKS),
        ("- gpt-4o", BLANKS),
        ("gpt\t4o", BLANKS),
        ("gpt-[34]o", LETTERS),
    ],
)
def test_a_line_that_may_be_meant_otherwise_is_told_and_counts_as_it_is_read(line: str, problem: str) -> None:
    found, faults = parse(f"# first\n{line}")
    assert (found, faults) == (ModelFilter([line]), (Fault(2, problem),))
    assert not any(map(found.admit, MODELS))


def test_square_brackets_alone_are_a_name() -> None:
    found, _ = parse("gpt-[4]")
    assert [id for id in ("gpt-[4]", "gpt-4") if found.admit(id)] == ["gpt-[4]"]


def test_a_pattern_of_many_stars_ends() -> None:
    found, _ = parse("a*" * 400 + "b")
    assert found.admit("a" * 5000) is False


# ---- equality ------------------------------------------------------------------------------------------------------


def test_filters_are_equal_by_their_rules() -> None:
    found, _ = parse("b\na*\n# c\n!d\na*")
    assert (found, hash(found)) == (ModelFilter(["a*", "b"], ["d"]), hash(ModelFilter(["a*", "b"], ["d"])))
    assert (len(found), len(EVERYTHING), parse("# nothing")[0] == EVERYTHING) == (3, 0, True)
    assert ModelFilter(["d"], ["a*", "b"]) != found != "b"
    assert repr(found) == "ModelFilter(2 include, 1 exclude)"


# ---- patterns ------------------------------------------------------------------------------------------------------

LETTER = st.sampled_from(["a", "b", "-", ":"])
NAME = st.text(LETTER, max_size=8)
PATTERN = st.lists(
    st.one_of(LETTER, st.sampled_from(["*", "?", "[ab]", "[!a]", "[", "]", "[]", "[!]", "[]a]", "aab", "[a-b]"])),
    max_size=6,
).map(lambda parts: "".join(parts) + "*")


@given(st.lists(PATTERN, max_size=6), NAME, st.sampled_from([0, FEW + 1]))
def test_patterns_match_as_those_of_fnmatch(patterns: list[str], name: str, others: int) -> None:
    """Alone, and among many others."""
    globs = Globs([*patterns, *(f"*+{number}*" for number in range(others))])
    tried = list(globs.tried(name))
    matching = {pattern for pattern in patterns if fnmatchcase(name, pattern)}
    assert globs.fit(name) is bool(matching)
    assert matching <= set(tried)
    assert len(tried) == len(set(tried))


@given(st.lists(st.one_of(PATTERN, NAME.filter(bool)), max_size=6), st.lists(PATTERN, max_size=3), NAME.filter(bool))
def test_a_model_is_admitted_by_rules_alone(include: list[str], exclude: list[str], id: str) -> None:
    def fits(rule: str) -> bool:
        wild = "*" in rule or "?" in rule
        return any(fnmatchcase(name, rule) if wild else name == rule for name in names_of(id))

    expected = not any(map(fits, exclude)) and (not include or any(map(fits, include)))
    assert ModelFilter(include, exclude).admit(id) is expected


@pytest.mark.parametrize(
    ("form", "name", "tried"),
    [
        ("vendor/model-{}-*", "vendor/model-77-chat", ["vendor/model-77-*"]),
        ("*-{}-chat", "vendor/model-77-chat", ["*-77-chat"]),
        ("*model-{}-*", "vendor/model-77-chat-model-77-", ["*model-77-*"]),
        ("model-?{}-*", "model-977-x", ["model-?977-*", "model-?77-*", "model-?7-*"]),
        ("[m]odel*-{}*", "model-77", ["[m]odel*-77*", "[m]odel*-7*"]),
        ("model-*-{}-*", "other", []),
    ],
)
def test_of_a_hundred_thousand_patterns_a_name_tries_those_that_it_holds(
    form: str, name: str, tried: list[str]
) -> None:
    """What all have in common (`model-`) is passed over for what tells one from the other."""
    globs = Globs([form.format(number) for number in range(100_000)])
    assert sorted(globs.tried(name), reverse=True) == sorted(tried, reverse=True)


def test_a_hundred_thousand_lines() -> None:
    lines = [f"v{number % 50}/model-{number}" + ("*" if number % 2 else "") for number in range(99_999)]
    found, faults = parse("\n".join([*lines, "!*-4999?"]))
    ids = [f"v{number % 50}/model-{number}" for number in range(50_000, 55_000)]
    assert (len(found), faults) == (100_000, ())
    assert all(map(found.admit, ids))
    assert not found.admit("v40/model-49990")
    assert not found.admit("v0/model-3")
