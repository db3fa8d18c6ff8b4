"""A parsed template and all that can be done with it."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from arriero.canonical.requests import Message, Think, Tool
from arriero.dialects.ollama.gotemplate import conversation, jinja
from arriero.dialects.ollama.gotemplate.faults import TemplateError
from arriero.dialects.ollama.gotemplate.nodes import Action, Block, Command, Field, Pipe
from arriero.dialects.ollama.gotemplate.parse import Tree, parse
from arriero.dialects.ollama.gotemplate.render import render
from arriero.dialects.ollama.gotemplate.tells import Tells, tells, variables


class Template:
    """A template. Made by `parse_template`; never changes."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.text = tree.text
        self.variables = variables(tree)
        """The fields that it mentions, in lower case."""
        self._root = tree.root
        if not self.variables & {"messages", "response"}:
            # The answer goes where the template ends.
            end = len(tree.text)
            answer = Pipe((Command((Field(("Response",), end),), end),), end)
            self._root = (*tree.root, Action(answer, end))

    @property
    def takes_messages(self) -> bool:
        """Whether it is executed once with all messages, and not once a turn."""
        return "messages" in self.variables

    @cached_property
    def tells(self) -> Tells:
        """What it tells of the model."""
        return tells(self._tree)

    def render(self, values: Mapping[str, object], *, today: str) -> str:
        """One execution with values as they are: texts, numbers, bools, `None`, mappings and sequences of these.

        `today` is `YYYY-MM-DD`. Raises `TemplateError`.
        """
        return self._execute(self._root, values, today)

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, think: Think | None = None, today: str
    ) -> str:
        """The prompt of a conversation, up to where the model's answer begins.

        Raises `TemplateError`, and `BadRequest` for what cannot stand in a prompt.
        """
        if self.takes_messages:
            return self._execute(self._root, conversation.chat_values(messages, tools, think), today)
        rounds = conversation.legacy_values(messages, think)
        return conversation.legacy(self._root, rounds, lambda root, values: self._execute(root, values, today))

    def fill(self, prompt: str, suffix: str, *, think: Think | None = None, today: str) -> str:
        """The prompt of a text to fill in between two others. Raises `TemplateError`."""
        values = {"Prompt": prompt, "Suffix": suffix, "Response": "", **conversation.thinking_values(think)}
        return self._execute(self._root, values, today)

    def to_jinja(self) -> str:
        """The chat template for llama.cpp that makes the same prompts as `chat`.

        Raises `TemplateError`, which names the construct that has no translation and where it stands.
        """
        try:
            return jinja.translate(self._tree, self._root)
        except RecursionError:
            raise TemplateError("the template cannot be translated for the engine: it is nested too deeply") from None

    def _execute(self, root: Block, values: Mapping[str, object], today: str) -> str:
        return render(self._tree, root, values, today)


def parse_template(text: str) -> Template:
    """Read a template. Raises `TemplateError` with Go's words."""
    return Template(parse(text))
