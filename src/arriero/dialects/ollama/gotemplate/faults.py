"""The one error of templates, and the limits that a template from anywhere is held to."""

from typing import Final

from arriero.errors import BadRequest

TEXT_CHARS: Final = 1 << 20
"""The longest template."""
NESTING: Final = 100
"""How deep blocks and parentheses may stand in one another, both together."""
DEPTH: Final = 150
"""How deep a rendering may go, blocks, parentheses and calls of templates together."""
PIECES: Final = 50_000
"""The most tokens of one template."""
STEPS: Final = 500_000
"""The most nodes that one rendering, or translation, may visit."""
OUTPUT_CHARS: Final = 32 << 20
"""The longest text that one rendering may make, intermediate texts included."""
JINJA_CHARS: Final = 1 << 20
"""The longest translation."""


class TemplateError(BadRequest):
    """A template cannot be read, executed or translated. The message is Go's where Go has one."""


def line_of(text: str, at: int) -> int:
    """The line of an offset, from 1."""
    return text.count("\n", 0, at) + 1


def place(text: str, at: int) -> str:
    """`line:column` of an offset; the column counts from 0, as Go's does."""
    return f"{line_of(text, at)}:{at - (text.rfind(chr(10), 0, at) + 1)}"


def unreadable(text: str, at: int, message: str) -> TemplateError:
    """A fault of syntax at an offset."""
    return TemplateError(f"template: :{line_of(text, at)}: {_short(message)}")


def failed(text: str, at: int, source: str, message: str) -> TemplateError:
    """A fault while executing the node that reads `source`."""
    shown = source if len(source) <= 40 else f"{source[:20]}..."
    return TemplateError(f'template: :{place(text, at)}: executing "" at <{shown}>: {_short(message)}')


def refused(text: str, at: int, construct: str, why: str) -> TemplateError:
    """A construct that has no translation."""
    return TemplateError(
        f"the template cannot be translated for the engine: {_short(construct)} at {place(text, at)}: {_short(why)}"
    )


def _short(message: str) -> str:
    """A message may quote the template, which may be long."""
    return message if len(message) <= 300 else f"{message[:300]}..."
