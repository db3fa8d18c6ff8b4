"""What a translated template begins with: its macros, and the messages prepared as Ollama prepares them.

`used` names what the translation uses: Go's fields, macros, `go.more`. Nothing else is touched, since llama.cpp tells
from what a template touches what the model can do.
"""

from collections.abc import Set as AbstractSet
from typing import Final

MESSAGE_FIELDS: Final = {
    "Thinking": ("thinking", "m.reasoning_content or ''"),
    "ToolName": ("tool_name", "m.name or ''"),
    "ToolCallID": ("tool_call_id", "m.tool_call_id or ''"),
    "ToolCalls": ("tool_calls", "go.calls"),
}
"""Field to the key of a prepared message, and where llama.cpp has it."""

_GO_NAMES: Final = """{%- macro go_names(v) -%}
{{- v if v is string else '[' ~ ((v or [])|join(' ')) ~ ']' -}}
{%- endmacro -%}"""
_GO_SHOW: Final = """{%- macro go_show(v, nil) -%}
{%- if v is string -%}{{- v -}}
{%- elif v is boolean -%}{{- 'true' if v else 'false' -}}
{%- elif v is none or v is undefined -%}{{- nil -}}
{%- elif v is mapping -%}map[
{%- for k, x in v|dictsort(case_sensitive=true) -%}
{{- ('' if loop.first else ' ') ~ k ~ ':' ~ go_show(x, '<nil>') -}}
{%- endfor -%}]
{%- elif v is iterable -%}[
{%- for x in v -%}{{- ('' if loop.first else ' ') ~ go_show(x, '<nil>') -}}{%- endfor -%}]
{%- else -%}{{- v -}}
{%- endif -%}
{%- endmacro -%}"""
_GO_TYPE_SCRIPT: Final = """{%- macro go_type_name(t) -%}
{%- if t == 'string' or t == 'boolean' or t == 'null' -%}{{- t -}}
{%- elif t == 'number' or t == 'integer' -%}number
{%- elif t == 'array' -%}any[]
{%- elif t == 'object' -%}Record<string, any>
{%- else -%}any
{%- endif -%}
{%- endmacro -%}
{%- macro go_type_script(p) -%}
{%- if p is mapping and p.anyOf -%}
{%- for x in p.anyOf -%}{{- ('' if loop.first else ' | ') ~ go_type_script(x) -}}{%- endfor -%}
{%- elif p is mapping and p.type is string -%}{{- go_type_name(p.type) -}}
{%- elif p is mapping and p.type -%}
{%- for x in p.type -%}{{- ('' if loop.first else ' | ') ~ go_type_name(x) -}}{%- endfor -%}
{%- else -%}any
{%- endif -%}
{%- endmacro -%}"""
MACROS: Final = {"go_names": _GO_NAMES, "go_show": _GO_SHOW, "go_type_script": _GO_TYPE_SCRIPT}
"""What a translation defines first, where it needs it."""

_LEGACY_TURNS: Final = """{%- set go.turns = [] -%}{%- set go.s = '' -%}{%- set go.p = '' -%}{%- set go.r = '' -%}
{%- for m in go.messages -%}
{%- if (m.role == 'system' and (go.p or go.r)) or (m.role == 'user' and go.r) -%}
{%- set go.turns = go.turns + [{'system': go.s, 'prompt': go.p, 'response': go.r}] -%}
{%- set go.s = '' -%}{%- set go.p = '' -%}{%- set go.r = '' -%}
{%- endif -%}
{%- if m.role == 'system' -%}{%- set go.s = m.content -%}
{%- elif m.role == 'user' -%}{%- set go.p = m.content -%}
{%- elif m.role == 'assistant' -%}{%- set go.r = m.content -%}
{%- endif -%}
{%- endfor -%}"""


def prologue(used: AbstractSet[str], *, legacy: bool) -> list[str]:
    """Lines of jinja: the macros that are used, the messages in Ollama's shape in `go.messages`, the system texts in
    `go.system`. For a template of the old kind the finished turns in `go.turns`, and in `go.s`, `go.p` and `go.r` the
    system text, the prompt and the response of the last.
    """
    extra = [MESSAGE_FIELDS[name] for name in MESSAGE_FIELDS if name in used]
    new = "".join(f", '{key}': {code}" for key, code in extra)
    old = "".join(f", '{key}': l.{key}" for key, _ in extra)
    lines = [text for name, text in MACROS.items() if name in used]
    lines.append("{%- set go = namespace(messages=[], system='', systems=0, calls=[], more=0, think=false) -%}")
    if "go.more" in used:
        lines.append("{%- if not add_generation_prompt -%}{%- set go.more = 1 -%}{%- endif -%}")
    if used & {"Think", "ThinkLevel"}:
        lines.append(
            "{%- if enable_thinking is defined and enable_thinking -%}{%- set go.think = true -%}{%- endif -%}"
        )
    if "ThinkLevel" in used:
        lines.append("{%- set go.think_level = 'medium' if go.think else '' -%}")
        lines.append(
            "{%- if reasoning_effort is defined and reasoning_effort -%}"
            "{%- set go.think_level = reasoning_effort -%}{%- endif -%}"
        )
    lines.append("{%- for m in messages -%}")
    lines.append("{%- set c = m.content if m.content is string else '' -%}")
    if "System" in used:
        lines.append(
            "{%- if m.role == 'system' -%}{%- set go.system = go.system ~ ('\\n\\n' if go.systems else '') ~ c -%}"
            "{%- set go.systems = 1 -%}{%- endif -%}"
        )
    if "ToolCalls" in used:
        call = "'function': {'name': f.function.name, 'arguments': f.function.arguments}"
        call = f"'id': f.id, {call}" if "ID" in used else call
        lines.append("{%- set go.calls = [] -%}{%- for f in m.tool_calls or [] -%}")
        lines.append(f"{{%- set go.calls = go.calls + [{{{call}}}] -%}}")
        # Shown to be used as an object, the arguments are handed over as one and not as a text.
        lines.append(
            "{%- if f.function.arguments is not string -%}{%- set a = f.function.arguments|tojson -%}{%- endif -%}"
        )
        lines.append("{%- endfor -%}")
    lines += [
        "{%- if go.messages and go.messages[-1].role == m.role and m.role != 'tool' -%}",
        "{%- set l = go.messages[-1] -%}{%- set c = l.content ~ '\\n\\n' ~ c -%}",
        f"{{%- set go.messages = go.messages[:-1] + [{{'role': l.role, 'content': c{old}}}] -%}}",
        "{%- else -%}",
        f"{{%- set go.messages = go.messages + [{{'role': m.role, 'content': c{new}}}] -%}}",
        "{%- endif -%}",
        "{%- endfor -%}",
    ]
    return [*lines, _LEGACY_TURNS] if legacy else lines
