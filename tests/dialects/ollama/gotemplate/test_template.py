"""A template as the rest of the program uses it."""

import pytest

from arriero.dialects.ollama.gotemplate import Template, TemplateError, parse_template
from support.prompts import CONVERSATIONS, FAMILIES, said

TODAY = "2026-01-02"


def family(name: str) -> Template:
    return parse_template(FAMILIES[name])


def chat(name: str, conversation: str, think: bool | str | None = None) -> str:
    messages, tools = CONVERSATIONS[conversation]
    return family(name).chat(messages, tools, think=think, today=TODAY)


def test_a_template_knows_its_text_and_variables() -> None:
    template = parse_template("{{ if .System }}{{ .Prompt }}{{ end }}")
    assert (template.text, template.variables) == (
        "{{ if .System }}{{ .Prompt }}{{ end }}",
        frozenset({"system", "prompt"}),
    )
    assert (template.takes_messages, family("chatml").takes_messages) == (False, True)
    assert template.tells.tools is False


def test_values_as_they_are() -> None:
    assert parse_template("{{ .A }}-{{ json .B }}").render({"A": 1, "B": [True]}, today=TODAY) == "1-[true]<no value>"
    # Where nothing says where the answer goes, it goes to the end.
    assert parse_template("{{ .A }}").render({"A": 1, "Response": "yes"}, today=TODAY) == "1yes"


def test_a_chat() -> None:
    assert chat("chatml", "with system") == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi\n  there <|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_answer_may_be_begun() -> None:
    begun = (said("user", "Hi"), said("assistant", "Well,"))
    assert family("chatml").chat(begun, today=TODAY) == ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nWell,")
    assert family("alpaca").chat(begun, today=TODAY) == "### Instruction:\nHi\n\n### Response:\nWell,"


def test_a_chat_with_tools() -> None:
    assert chat("mistral", "a tool called") == (
        '[INST] Weather?[/INST][TOOL_CALLS] [{"name": "get_weather", "arguments": {"place":"Ñuñoa","days":3,'
        '"deep":{"b":[1,2.5,"x"],"a":null,"c":true},"city":"\\u003cO\'slo\\u003e \\u0026 \\"so\\"\\n"}}]</s>'
        '[TOOL_RESULTS] {"content": "rain"}[/TOOL_RESULTS]'
    )


def test_a_chat_of_the_old_kind() -> None:
    assert chat("zephyr", "several turns") == (
        "<|system|>\nBe brief.</s>\n<|user|>\nWho's there?</s>\n<|assistant|>\n"
        "A llama: {{ \"x\" }} {% y %} \\n 'z'</s>\n"
        "<|user|>\n¿Qué? 🦙</s>\n<|assistant|>\nA llama.</s>\n<|user|>\nAgain</s>\n<|assistant|>\n"
    )


def test_thinking_is_said_to_the_template() -> None:
    assert chat("deepseek", "one question", think=False) == "<｜User｜>Hi<｜Assistant｜><think>\n\n</think>\n\n"
    assert chat("deepseek", "one question", think=True) == "<｜User｜>Hi<｜Assistant｜>"
    assert chat("granite", "one question", think="high").endswith("assistant thinking high<|end_of_role|>")


def test_fill_in_the_middle() -> None:
    assert family("starcoder").fill("def f(", "return 1", today=TODAY) == (
        "<fim_prefix>def f(<fim_suffix>return 1<fim_middle>"
    )
    assert family("code").fill("a", "b", today=TODAY) == "<PRE> a <SUF>b <MID>"


def test_the_date_is_an_argument() -> None:
    assert "Today is 2026-01-02." in chat("llama3", "tools offered")


def test_faults_are_told() -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template("{{ if }}")
    assert caught.value.message == "template: :1: missing value for if"
    with pytest.raises(TemplateError) as caught:
        parse_template("{{ range .Messages }}{{ .Size }}{{ end }}").chat((said("user", "Hi"),), today=TODAY)
    assert caught.value.message == (
        'template: :1:24: executing "" at <.Size>: can\'t evaluate field Size in type api.Message'
    )


def test_the_translation_is_jinja() -> None:
    assert family("prompt").to_jinja().endswith("{{- t.prompt -}}\n{{- t.response -}}")


def test_what_is_as_deep_as_it_may_be_is_rendered_and_translated() -> None:
    template = parse_template(
        "{{ if .Response }}" * 50 + "{{ " + "(not " * 50 + "1" + ")" * 50 + " }}" + "{{ end }}" * 50
    )
    assert template.render({"Response": "x"}, today=TODAY) == "true"
    assert "{{- 'true' -}}" in template.to_jinja().splitlines()
