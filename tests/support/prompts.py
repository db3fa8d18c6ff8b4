"""Prompt templates in the shapes of well-known families, and conversations to render with them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Raw

from arriero.canonical.requests import Message, Part, Text, Thinking, Tool, ToolCall

# ---- templates -----------------------------------------------------------------------------------------------------

CHATML: Final = """\
{{- range $i, $m := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}
{{ .Content }}{{ if or (ne .Role "assistant") (not $last) }}<|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""

QWEN: Final = """\
{{- if .Suffix }}<|fim_prefix|>{{ .Prompt }}<|fim_suffix|>{{ .Suffix }}<|fim_middle|>
{{- else if .Messages }}
{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

# Functions

Call one or more of these to answer:
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>

Write a call as JSON between tags:
<tool_call>
{"name": <name>, "arguments": <object>}
</tool_call>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}
{{- else }}
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ end }}{{ .Response }}{{ if .Response }}<|im_end|>{{ end }}"""

QWEN_THINKING: Final = """\
{{- $lastUser := -1 -}}
{{- range $i, $m := .Messages -}}{{- if eq $m.Role "user" }}{{ $lastUser = $i }}{{ end -}}{{- end }}
{{- if or .System .Tools }}<|im_start|>system
{{ if .System }}{{ .System }}

{{ end }}
{{- if .Tools }}<tools>
{{- range .Tools }}
{{ json . }}
{{- end }}
</tools>
{{- end -}}<|im_end|>
{{ end }}
{{- range $i, $m := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}
{{- if and $.IsThinkSet (eq $i $lastUser) }}
{{- if $.Think }} /think{{ else }} /no_think{{ end }}
{{- end }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if and $.IsThinkSet (and .Thinking (or $last (gt $i $lastUser))) -}}
<think>{{ .Thinking }}</think>
{{ end -}}
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}
{{- range $j, $call := .ToolCalls }}{{ if $j }}
{{ end }}<tool_call>
{"name": "{{ $call.Function.Name }}", "arguments": {{ $call.Function.Arguments }}}
</tool_call>
{{- end }}
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ if and $.IsThinkSet (not $.Think) -}}
<think>

</think>

{{ end }}
{{- end }}
{{- end }}"""

LLAMA3: Final = """\
{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>
{{- if .System }}

{{ .System }}
{{- end }}
{{- if .Tools }}

Today is {{ currentDate }}. When you get the result of a call, answer the question with it.
{{- end }}<|eot_id|>
{{- end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>
{{- if and $.Tools $last }}

Answer with a call of one of these functions, as {"name": name, "parameters": {argument: value}}.

{{ range $.Tools }}
{{- . }}
{{ end }}
{{ .Content }}<|eot_id|>
{{- else }}

{{ .Content }}<|eot_id|>
{{- end }}{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>
{{- if .ToolCalls }}
{{ range .ToolCalls }}
{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}
{{- else }}

{{ .Content }}
{{- end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}
{{- end }}"""

MISTRAL: Final = """\
{{- range $index, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and (le (len (slice $.Messages $index)) 2) $.Tools }}[AVAILABLE_TOOLS] {{ $.Tools }}[/AVAILABLE_TOOLS]
{{- end }}[INST] {{ if and (eq (len (slice $.Messages $index)) 1) $.System }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}
{{- if not (eq (len (slice $.Messages $index)) 1) }}</s>
{{- end }}
{{- else if .ToolCalls }}[TOOL_CALLS] [
{{- range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]</s>
{{- end }}
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ json .Content }}}[/TOOL_RESULTS]
{{- end }}
{{- end }}"""

GEMMA: Final = """\
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if or (eq .Role "user") (eq .Role "system") }}<start_of_turn>user
{{ .Content }}<end_of_turn>
{{ if $last }}<start_of_turn>model
{{ end }}
{{- else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if not $last }}<end_of_turn>
{{ end }}
{{- end }}
{{- end }}"""

COMMAND_R: Final = """\
{{- if or .Tools .System }}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>
{{- if .Tools }}# Tools
{{ range .Tools }}
```typescript
type {{ .Function.Name }} = (_: {
{{- range $name, $property := .Function.Parameters.Properties }}
  // {{ $property.Description }}
  {{ $name }}: {{ toTypeScriptType $property }}, // {{ $property.Type }}
{{- end }}
}) => any; // needs {{ range $i, $name := .Function.Parameters.Required }}{{ if $i }}, {{ end }}{{ $name }}{{ end }}
```
{{ end }}
{{- end }}
{{- with .System }}{{ . }}{{ end }}<|END_OF_TURN_TOKEN|>
{{- end }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ continue }}{{ end }}<|START_OF_TURN_TOKEN|>
{{- if eq .Role "user" }}<|USER_TOKEN|>{{ .Content }}
{{- else if eq .Role "assistant" }}<|CHATBOT_TOKEN|>
{{- if .Content }}{{ .Content }}
{{- else }}Action: [{{ range $i, $call := .ToolCalls }}{{ if $i }},{{ end }}
    {{ .Function.Name }}({{ $comma := "" }}
{{- range $key, $value := .Function.Arguments }}{{ $comma }}{{ $key }}={{ $value }}{{ $comma = ", " }}{{ end }})
{{- end }}]
{{- end }}
{{- else }}<|SYSTEM_TOKEN|><results>
{{ .ToolName }}: {{ .Content }}</results>
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"""

DEEPSEEK: Final = """\
{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1}}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>
  {{- if and $.IsThinkSet (and $last .Thinking) -}}
<think>
{{ .Thinking }}
</think>
{{- end }}{{ .Content }}{{- if not $last }}<｜end▁of▁sentence｜>{{- end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>
{{- if and $.IsThinkSet (not $.Think) -}}
<think>

</think>

{{ end }}
{{- end -}}
{{- end }}"""

GRANITE: Final = """\
{{- define "turn" }}<|start_of_role|>{{ .Role }}<|end_of_role|>{{ .Content }}
{{- if .ToolCalls }}<|tool_call|>{{ json .ToolCalls }}{{ end }}<|end_of_text|>
{{ end }}
{{- if .Tools }}<|start_of_role|>available_tools<|end_of_role|>[
{{- range $index, $tool := .Tools }}
{{- if $index }},
{{ end }}{{ $tool }}
{{- else }}none{{ end }}]<|end_of_text|>
{{ end }}
{{- range .Messages }}{{ template "turn" . }}{{ end -}}
<|start_of_role|>assistant{{ if .Think }} thinking {{ .ThinkLevel }}{{ end }}<|end_of_role|>"""

PHI3: Final = """\
{{- range .Messages }}<|{{ .Role }}|>
{{ .Content }}<|end|>
{{ end }}<|assistant|>
{{ .Response }}<|end|>"""

ALPACA: Final = """\
{{- if .System }}{{ .System }}

{{ end }}
{{- if .Prompt }}### Instruction:
{{ .Prompt }}

{{ end }}### Response:
{{ .Response }}

"""

LLAMA2: Final = """\
{{ if .First }}{{ end }}[INST] {{ if .System }}<<SYS>>
{{ .System }}
<</SYS>>

{{ end }}{{ .Prompt }} [/INST]{{ .Response }}</s>"""

VICUNA: Final = """\
{{ .System }} USER: {{ .Prompt }} ASSISTANT: {{ .Response }}{{- if .Response }}</s>{{ end }}"""

ZEPHYR: Final = """\
{{- /* one block for each part of a turn */ -}}
{{ with .System }}<|system|>
{{ . }}</s>
{{ end }}{{ with .Prompt }}<|user|>
{{ . }}</s>
{{ end }}<|assistant|>
{{ .Response }}</s>
"""

CODE: Final = """\
{{- if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>
{{- else }}{{ if .System }}{{ .System }}
{{ end }}{{ .Prompt }}
{{ end }}"""

STARCODER: Final = (
    "{{ if .Suffix }}<fim_prefix>{{ .Prompt }}<fim_suffix>{{ .Suffix }}<fim_middle>{{ else }}{{ .Prompt }}{{ end }}"
)

GPT_OSS: Final = """\
<|start|>system<|message|>You are a model. Current date: {{ currentDate }}
{{- if and .IsThinkSet .Think (ne .ThinkLevel "") }}

Reasoning: {{ .ThinkLevel }}
{{- else if or (not .IsThinkSet) (and .IsThinkSet .Think) }}

Reasoning: medium
{{- end }}{{ $hasTools := false }}{{ if .Tools }}{{ $hasTools = true }}{{ end }}
{{- if $hasTools }}

Calls go to the commentary channel: 'functions'.
{{- end }}<|end|>
{{- $lastUserIdx := -1 }}{{ $prefilling := false }}
{{- range $i, $m := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq $m.Role "user" }}{{ $lastUserIdx = $i }}{{ end }}
{{- if and $last (eq $m.Role "assistant") (gt (len $m.Content) 0) }}{{ $prefilling = true }}{{ end }}
{{- end }}
{{- if $hasTools }}<|start|>developer<|message|>{{ .System }}
namespace functions {
{{- range .Tools }}
{{- if .Function.Description }}
// {{ .Function.Description }}
{{- end }}
{{- if and .Function.Parameters.Properties (gt (len .Function.Parameters.Properties) 0) }}
type {{ .Function.Name }} = (_: {
{{- range $name, $prop := .Function.Parameters.Properties }}
{{- if $prop.Description }}
  // {{ $prop.Description }}
{{- end }}
  {{ $name }}: {{ $prop | toTypeScriptType }},
{{- end }}
}) => any;
{{- else }}
type {{ .Function.Name }} = () => any;
{{- end }}
{{- end }}
}<|end|>
{{- end }}
{{- range $i, $m := .Messages }}
{{- if eq .Role "user" }}<|start|>user<|message|>{{ .Content }}<|end|>
{{- else if eq .Role "assistant" }}
{{- if and .Thinking (gt $i $lastUserIdx) }}<|start|>assistant<|channel|>analysis<|message|>{{ .Thinking }}<|end|>
{{- end }}
{{- range .ToolCalls }}<|start|>assistant<|channel|>commentary to=functions.{{ .Function.Name }} <|constrain|>json
{{- /* */ -}} <|message|>{{ .Function.Arguments }}<|call|>
{{- end }}
{{- if len .Content | eq 0 | not }}<|start|>assistant<|channel|>final<|message|>{{ .Content }}<|end|>{{ end }}
{{- else if eq .Role "tool" }}<|start|>functions.{{ .ToolName }} to=assistant<|message|>{{ .Content }}<|end|>
{{- end }}
{{- end }}
{{- if not $prefilling }}<|start|>assistant{{ end }}"""

ODD: Final = """\
{{- $sep := "" }}{{ $first := true }}
{{- range $m := .Messages }}{{ $sep }}{{ $sep = print "\\"" `\\` "', " }}
{{- if $first }}{{ $first = false }}\u00a1{{ printf "%s/%d%%" .Role 7 }}{{ else }}{{ .Role | printf "<%s>" }}{{ end }}
{{- if not (or .Content .ToolCalls) }}{{ break }}{{ end }}{{ (index $.Messages 0).Content | json }} {% if %} }}
{{- with $x := .Content }}[{{ $x }}|{{ $.Missing }}|{{ eq .  "a" "b" }}|{{ and 1 "" }}|{{ or "" $.Think }}]{{ end }}
{{- range .ToolCalls }}{{ with .Function.Arguments }}({{ len . }}{{ .city }}){{ end }}{{ .Function.Arguments.deep }}
{{- range $k, $v := .Function.Arguments }} {{ $k }}:{{ json $v }}{{ $v }}{{ end }}{{ end }}
{{- end }}{# no comment #}{{ range 3 }}{{ . }}{{ else }}never{{ end }}{{ range $.Nothing }}{{ else }}nothing{{ end }}
{{- block "end" .Think }}{{ if . }}!{{ else }}?{{ end }}{{ end }}
"""

LEAVING: Final = """\
{{- range $i, $m := .Messages }}<{{ .Role }}>
{{- range $j, $c := .ToolCalls }}{{ $j }}{{ if $j }}{{ break }}{{ end }}{{ .Function.Name }},
{{- else }}{{ if eq $m.Role "system" }}{{ continue }}{{ end }}no calls{{ end }}
{{- if eq .Role "tool" }}{{ .ToolCallID }}{{ continue }}never{{ else if .Thinking }}!{{ end }}{{ .Content }}
{{- if eq (len (slice $.Messages $i)) 2 }}last but one{{ if .Content }}{{ break }}{{ end }}{{ .Content }}{{ end }};
{{- end }}"""

FAMILIES: Final[Mapping[str, str]] = {
    "chatml": CHATML,
    "qwen": QWEN,
    "qwen-thinking": QWEN_THINKING,
    "llama3": LLAMA3,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "command-r": COMMAND_R,
    "deepseek": DEEPSEEK,
    "granite": GRANITE,
    "phi3": PHI3,
    "alpaca": ALPACA,
    "llama2": LLAMA2,
    "vicuna": VICUNA,
    "zephyr": ZEPHYR,
    "code": CODE,
    "starcoder": STARCODER,
    "gpt-oss": GPT_OSS,
    "odd": ODD,
    "leaving": LEAVING,
    "nothing": "",
    "prompt": "{{ .Prompt }}",
}

# ---- conversations -------------------------------------------------------------------------------------------------


def said(role: str, *parts: Part | str, tool: str | None = None) -> Message:
    """A message; a text stands for itself."""
    made = tuple(Text(part) if isinstance(part, str) else part for part in parts)
    return Message(role, made, tool_name=tool, tool_call_id="call_1" if tool else None)


def offered(name: str, description: str, **properties: Any) -> Tool:
    """A tool in the shape that llama.cpp hands to its templates."""
    parameters = {"type": "object", "required": list(properties)[:1], "properties": properties}
    function = {"name": name, "description": description, "parameters": parameters}
    return Tool(name, Raw(json.dumps({"type": "function", "function": function}).encode()))


TOOLS: Final = (
    offered(
        "get_weather",
        "The weather <now> & later",
        place={"type": "string", "description": 'A town, as in "Ñuñoa"', "enum": ["Oslo", "Ñuñoa"]},
        days={"type": ["integer", "null"], "description": "How many days"},
        exact={"anyOf": [{"type": "boolean"}, {"type": "array"}, {"type": "object"}]},
    ),
    offered("now", ""),
)
ARGUMENTS: Final = (
    '{"place":"Ñuñoa","days":3,"deep":{"b":[1,2.5,"x"],"a":null,"c":true},"city":"<O\'slo> & \\"so\\"\\n"}'
)

CONVERSATIONS: Final[Mapping[str, tuple[Sequence[Message], Sequence[Tool]]]] = {
    "one question": ((said("user", "Hi"),), ()),
    "with system": ((said("system", "Be brief."), said("user", "Hi\n  there ")), ()),
    "several turns": (
        (
            said("system", "Be brief."),
            said("user", "Who's there?"),
            said("assistant", "A llama: {{ \"x\" }} {% y %} \\n 'z'"),
            said("user", "¿Qué? 🦙"),
            said("assistant", "A llama."),
            said("user", "Again"),
        ),
        (),
    ),
    "same role again": (
        (
            said("system", "Be brief."),
            said("system", "Be kind."),
            said("user", "One"),
            said("user", "Two"),
            said("assistant", "Three"),
            said("assistant", "Four"),
            said("system", "Now be long."),
            said("user", "Five"),
        ),
        (),
    ),
    "tools offered": ((said("system", "Be brief."), said("user", "Hi")), TOOLS),
    "a tool called": (
        (
            said("user", "Weather?"),
            said("assistant", ToolCall("get_weather", ARGUMENTS, "call_1")),
            said("tool", "rain", tool="get_weather"),
        ),
        TOOLS,
    ),
    "two tools called": (
        (
            said("system", "Be brief."),
            said("user", "Weather?"),
            said(
                "assistant",
                Thinking("Two calls."),
                ToolCall("get_weather", ARGUMENTS, "call_1"),
                ToolCall("now", "{}", "call_2"),
            ),
            said("tool", "rain", tool="get_weather"),
            said("tool", '{"at":"<noon>"}', tool="now"),
            said("assistant", Thinking("It rains."), "Rain at noon."),
            said("user", "Thanks"),
        ),
        TOOLS,
    ),
    "thinking": (
        (said("user", "2+2?"), said("assistant", Thinking("Four."), "4"), said("user", "And 3+3?")),
        (),
    ),
}


def wire(message: Message) -> dict[str, Any]:
    """A message as llama.cpp's server takes it."""
    found: dict[str, Any] = {"role": message.role, "content": None}
    for part in message.parts:
        if isinstance(part, Text):
            found["content"] = part.text
        elif isinstance(part, Thinking):
            found["reasoning_content"] = part.text
        elif isinstance(part, ToolCall):
            call = {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
            found.setdefault("tool_calls", []).append(call)
    if message.tool_name:
        found |= {"name": message.tool_name, "tool_call_id": message.tool_call_id}
    return found
