"""Pipelines to jinja expressions."""

import pytest

from arriero.dialects.ollama.gotemplate.expressions import TO_JSON, Expressions
from arriero.dialects.ollama.gotemplate.faults import TemplateError
from arriero.dialects.ollama.gotemplate.nodes import Action
from arriero.dialects.ollama.gotemplate.parse import parse
from arriero.dialects.ollama.gotemplate.shapes import CALL, LEGACY_ROOT, MESSAGE, PROPERTY, ROOT, TOOL, Shape, Typed

DOTS = {
    "root": Typed("", ROOT),
    "turn": Typed("t", LEGACY_ROOT),
    "message": Typed("m", MESSAGE),
    "tool": Typed("f", TOOL),
    "call": Typed("c", CALL),
    "property": Typed("p", PROPERTY),
}


def translated(text: str, dot: str) -> Typed:
    whole = f"{{{{ {text} }}}}"
    (action,) = parse(whole).root
    assert isinstance(action, Action)
    return Expressions(whole).pipe(action.pipe, DOTS[dot])


@pytest.mark.parametrize(
    ("text", "dot", "code"),
    [
        (".System", "root", "go.system"),
        (".System", "turn", "t.system"),
        (".Nothing", "root", "none"),
        (".Content", "message", "m.content"),
        (".Function.Parameters.Properties", "tool", "((f.function.parameters or {}).properties or {})"),
        (
            ".Function.Arguments.city",
            "call",
            "(ARGS['city'] if 'city' in ARGS else none)".replace("ARGS", "c.function.arguments"),
        ),
        (
            "index .Function.Arguments `city`",
            "call",
            "(ARGS['city'] if 'city' in ARGS else none)".replace("ARGS", "c.function.arguments"),
        ),
        ("index .Messages 0", "root", "go.messages[0]"),
        ("(index .Messages 0).Role", "root", "go.messages[0].role"),
        ("eq .Role `a` `b`", "message", "((m.role == 'a') or (m.role == 'b'))"),
        ("ne .Role `a`", "message", "(m.role != 'a')"),
        ("eq .Type `string`", "property", "(go_names(p.type) == 'string')"),
        ("eq .Nothing nil", "root", "true"),
        ("eq .Nothing `a`", "root", "false"),
        ("gt (len .Content) 0", "message", "((m.content|length) > 0)"),
        ("len (slice .Messages 1)", "root", "(go.messages[1:]|length + go.more)"),
        ("len (slice .Messages 1 2)", "root", "(go.messages[1:2]|length)"),
        ("len .Messages", "root", "(go.messages|length)"),
        ("and .Content .Role", "message", "(m.role if m.content else m.content)"),
        ("or .Content .Role", "message", "(m.content if m.content else m.role)"),
        ("and .Content .ToolCalls", "message", "(m.content and (m.tool_calls|length > 0))"),
        ("or .Nothing .System", "root", "go.system"),
        ("and .Nothing .System", "root", "none"),
        ("not .Content", "message", "(not m.content)"),
        ("not .Nothing", "root", "true"),
        ("json .Content", "message", f"(m.content{TO_JSON})"),
        ("json .", "property", f"(p{TO_JSON})"),
        ("print .Role 1 2 `x`", "message", "(m.role ~ (1 ~ '') ~ ' ' ~ (2 ~ '') ~ 'x')"),
        ("println .Role 1", "message", "(m.role ~ ' ' ~ (1 ~ '') ~ '\\n')"),
        (
            "printf `<%s|%v|%d%%>` .Role true 7",
            "message",
            "('<' ~ m.role ~ '|' ~ 'true' ~ '|' ~ (7 ~ '') ~ '%' ~ '>')",
        ),
        (".Role | printf `%s`", "message", "m.role"),
        ("toTypeScriptType .", "property", "go_type_script(p)"),
        (".ToTypeScriptType", "property", "go_type_script(p)"),
        ("currentDate", "root", "strftime_now('%Y-%m-%d')"),
        ("-1", "root", "(-1)"),
    ],
)
def test_translations(text: str, dot: str, code: str) -> None:
    assert translated(text, dot).code == code


@pytest.mark.parametrize(
    ("text", "dot", "message"),
    [
        ("html .Role", "message", "html at 1:3: it cannot be called so there"),
        ("yesterdayDate", "root", "yesterdayDate at 1:3: it has no argument"),
        ("slice .Role 1", "message", "slice at 1:3: only lists can be cut, at numbers"),
        ("eq .Role 1", "message", "eq at 1:3: incompatible types for comparison"),
        ("eq (len .Role) 7", "message", "eq at 1:3: incompatible types for comparison"),
        ("lt true false", "root", "lt at 1:3: incompatible types for comparison"),
        ("eq (and .Role 1) 1", "message", "eq at 1:3: a value of either of two types"),
        ("eq .Role", "message", "eq at 1:3: wrong number of arguments"),
        (".Size", "message", ".Size at 1:3: a message has no field Size here"),
        (".System.Size", "root", ".System.Size at 1:10: a text has no field Size here"),
        (".Role 1", "message", ".Role at 1:3: it is not a function"),
        ("json .Messages", "root", "json at 1:3: no JSON can be made of a list"),
        ("print .", "message", "print at 1:3: a message cannot be printed"),
        ("len true", "root", "len at 1:3: the length of a bool is not known"),
        ("index .Role 0", "message", "index at 1:3: a text has no such index"),
        ("printf .Role", "message", "printf at 1:3: the format is no constant"),
        ("printf `%5s` .Role", "message", "printf at 1:3: the verb %5 does not fit its argument"),
        ("printf `%s`", "root", "printf at 1:3: the verb %s does not fit its argument"),
        ("printf `` 1", "root", "printf at 1:3: there are more arguments than verbs"),
        (
            "print .Function.Arguments.x 1",
            "call",
            "print at 1:3: whether a space stands between two values is not known",
        ),
        ("and", "root", "and at 1:3: it has no argument"),
        ("print ($x := 1)", "root", "$x := 1 at 1:10: a variable is set within parentheses"),
    ],
)
def test_what_is_refused(text: str, dot: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        translated(text, dot)
    assert caught.value.message == f"the template cannot be translated for the engine: {message}"


def test_what_prints_how() -> None:
    expressions = Expressions("")
    (action,) = parse("{{ . }}").root
    assert isinstance(action, Action)

    def shown(code: str, shape: Shape) -> str:
        return expressions.shown(action.pipe, Typed(code, shape))

    assert shown("x", TOOL) == f"(x{TO_JSON})"
    assert shown("x", Shape("list", TOOL, prints=True)) == f"(x{TO_JSON})"
    assert shown("x", Shape("json")) == "go_show(x, '<no value>')"
    assert shown("x", Shape("list", Shape("text"))) == "go_show(x, '<no value>')"
    assert shown("x", Shape("names")) == "go_names(x)"
    assert shown("x", Shape("none")) == "'<no value>'"
    assert expressions.used == {"go_show", "go_names"}
