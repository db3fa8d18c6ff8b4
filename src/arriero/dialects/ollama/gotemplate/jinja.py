"""A Go template to the jinja text that llama.cpp takes as a model's chat template.

The translation prepares the messages as Ollama does (`conversation`) and then says the same thing in jinja. What has
no counterpart there is refused, never left out. Two things of llama.cpp's are honoured: it asks for prompts without
the beginning of an answer (`add_generation_prompt`), where the messages are taken for ones that others follow; and it
tells from what a template touches what the model can do, so that nothing is touched which the Go template does not use.
"""

from collections.abc import Sequence

from arriero.dialects.ollama.gotemplate.conversation import until_response
from arriero.dialects.ollama.gotemplate.expressions import Expressions
from arriero.dialects.ollama.gotemplate.faults import DEPTH, JINJA_CHARS, STEPS, TemplateError
from arriero.dialects.ollama.gotemplate.nodes import (
    Action,
    Block,
    Break,
    Call,
    Continue,
    Field,
    If,
    Node,
    Pipe,
    Range,
    Text,
    Variable,
    With,
    fields,
    operands,
    source,
    statements,
)
from arriero.dialects.ollama.gotemplate.parse import Tree
from arriero.dialects.ollama.gotemplate.prologue import prologue
from arriero.dialects.ollama.gotemplate.shapes import (
    JSON,
    LEGACY_ROOT,
    MIXED,
    NONE,
    NUMBER,
    ROOT,
    TEXT,
    Typed,
    quoted,
    truth,
)


def translate(tree: Tree, root: Block) -> str:
    """The jinja text of a template. Raises `TemplateError`."""
    parts = _Translator(tree)
    legacy = all(name != "Messages" for block in (root, *tree.defined.values()) for name in fields(block))
    if not legacy:
        parts.template(root, Typed("", ROOT))
    else:
        parts.say("{%- for t in go.turns -%}")
        parts.template(root, Typed("t", LEGACY_ROOT))
        parts.say("{%- endfor -%}")
        parts.say("{%- set t = {'system': go.s, 'prompt': go.p, 'response': go.r} -%}")
        parts.template(until_response(root), Typed("t", LEGACY_ROOT))
    return "\n".join([*prologue(parts.used, legacy=legacy), *parts.lines()])


class _Translator(Expressions):
    """Statements to jinja. A Go variable is a field of the namespace `go`, since jinja's own end with their loop."""

    def __init__(self, tree: Tree) -> None:
        super().__init__(tree.text)
        self._tree = tree
        self._lines: list[str] = []
        self._pending = ""
        self._chars = 0
        self._count = 0
        self._depth = 0
        self._loops: list[str] = []
        self._steps = 0
        self._calling: list[str] = []

    def lines(self) -> list[str]:
        """What was said, each a line that leaves no trace in the output."""
        self._flush()
        return self._lines

    def say(self, line: str) -> None:
        self._flush()
        if line:
            self._add(line)

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._chars += len(line)
        if self._chars > JINJA_CHARS:
            raise TemplateError(f"the template cannot be translated for the engine: more than {JINJA_CHARS} characters")

    def _flush(self) -> None:
        if self._pending:
            literal, self._pending = self._pending, ""
            self._add(f"{{{{- {quoted(literal)} -}}}}")

    def _new(self) -> str:
        self._count += 1
        return str(self._count)

    def template(self, block: Block, dot: Typed) -> None:
        """A whole template: `$` is its dot."""
        names, self._names = self._names, [("$", dot)]
        self._block(block, dot)
        self._names = names

    # ---- statements ----

    def _block(self, block: Block, dot: Typed) -> None:
        self._depth += 1
        if self._depth > DEPTH:
            raise TemplateError(f"the template cannot be translated for the engine: deeper than {DEPTH} levels")
        mark = len(self._names)
        last = -1 if self._loops else self._last_walk(block)
        guards = 0
        for number, node in enumerate(block):
            self._node(node, dot)
            if isinstance(node, Break | Continue):
                break
            if self._loops and number + 1 < len(block) and _leaves((node,)):
                self.say(f"{{%- if {self._loops[-1]} == 0 -%}}")
                guards += 1
            if number == last and number + 1 < len(block):
                # After the messages comes what begins the answer.
                self.say("{%- if add_generation_prompt -%}")
        if -1 < last < len(block) - 1:
            self.say("{%- endif -%}")
        self.say("{%- endif -%}" * guards)
        del self._names[mark:]
        self._depth -= 1

    def _last_walk(self, block: Block) -> int:
        """The last statement that walks through the messages to print them, -1 if none does."""
        found = -1
        for number, node in enumerate(block):
            for inner in statements((node,)):
                if isinstance(inner, Range) and _walks(inner.pipe) and _prints(inner.body):
                    found = number
        return found

    def _node(self, node: Node, dot: Typed) -> None:
        self._steps += 1
        if self._steps > STEPS // 5:
            raise TemplateError("the template cannot be translated for the engine: it calls templates too often")
        match node:
            case Text(text=text):
                self._pending += text
            case Action(pipe=pipe):
                value = self.pipe(pipe, dot)
                if pipe.names:
                    self._declare(pipe, value)
                elif value.shape is TEXT and isinstance(value.literal, str):
                    self._pending += value.literal
                elif value.code != "''":
                    self._print(pipe, value)
            case If():
                self._if(node, dot)
            case With():
                self._with(node, dot)
            case Range():
                self._range(node, dot)
            case Call():
                self._call(node, dot)
            case Break():
                self.say(f"{{%- set {self._loops[-1]} = 2 -%}}")
            case Continue():
                self.say(f"{{%- set {self._loops[-1]} = 1 -%}}")

    def _print(self, pipe: Pipe, value: Typed) -> None:
        if value.shape is MIXED:
            raise self.refuse(pipe.at, source(pipe), MIXED.name)
        if value.shape is NONE:
            self._pending += "<no value>"
        else:
            self.say(f"{{{{- {self.shown(pipe, value)} -}}}}")

    def _declare(self, pipe: Pipe, value: Typed) -> None:
        for name in pipe.names:
            if pipe.assigns:
                self._assign(pipe, name, value)
            else:
                self._names.append((name, self._kept(pipe, value)))

    def _kept(self, pipe: Pipe, value: Typed) -> Typed:
        """The value in a variable of its own."""
        if value.shape is MIXED:
            raise self.refuse(pipe.at, source(pipe), MIXED.name)
        if value.shape in (ROOT, LEGACY_ROOT):
            return value
        name = f"go.v{self._new()}"
        code = truth(value) if value.shape.kind == "bool" else value.code
        self.say(f"{{%- set {name} = {code} -%}}")
        return Typed(name, value.shape, tail=value.tail)

    def _assign(self, pipe: Pipe, name: str, value: Typed) -> None:
        known = self.variable(name)
        if known.shape != value.shape or not known.code.startswith("go.v"):
            raise self.refuse(pipe.at, source(pipe), "the variable gets a value of another type")
        code = truth(value) if value.shape.kind == "bool" else value.code
        self.say(f"{{%- set {known.code} = {code} -%}}")

    def _if(self, node: If, dot: Typed) -> None:
        mark = len(self._names)
        value = self.pipe(node.pipe, dot)
        if node.pipe.names:
            self._declare(node.pipe, value)
            value = self.variable(node.pipe.names[0])
        self._either_block(truth(value), (node.body, dot), (node.otherwise, dot))
        del self._names[mark:]

    def _with(self, node: With, dot: Typed) -> None:
        mark = len(self._names)
        value = self.pipe(node.pipe, dot)
        if value.shape is not NONE:
            value = self._kept(node.pipe, value)
        for name in node.pipe.names:
            if node.pipe.assigns:
                self._assign(node.pipe, name, value)
            else:
                self._names.append((name, value))
        self._either_block(truth(value), (node.body, value), (node.otherwise, dot))
        del self._names[mark:]

    def _either_block(self, test: str, yes: tuple[Block, Typed], no: tuple[Block, Typed]) -> None:
        if test in ("true", "false"):
            # Known already: `.Suffix` is never there in a conversation.
            self._block(*(yes if test == "true" else no))
            return
        self.say(f"{{%- if {test} -%}}")
        self._block(*yes)
        if no[0]:
            self.say("{%- else -%}")
            self._block(*no)
        self.say("{%- endif -%}")

    def _range(self, node: Range, dot: Typed) -> None:
        mark = len(self._names)
        value = self.pipe(node.pipe, dot)
        number = self._new()
        item, key = f"d{number}", f"k{number}"
        match value.shape.kind:
            case "none":
                self._block(node.otherwise, dot)
                return
            case "list":
                assert value.shape.item is not None
                head, keyed = f"{item} in {value.code}", Typed("loop.index0", NUMBER)
                found = Typed(item, value.shape.item)
            case "map":
                assert value.shape.item is not None
                head, keyed = f"{key}, {item} in {value.code}|dictsort(case_sensitive=true)", Typed(key, TEXT)
                found = Typed(item, value.shape.item)
            case "number" if len(node.pipe.names) < 2:
                head, keyed = f"{item} in range({value.code})", Typed(item, NUMBER)
                found = keyed
            case _:
                what = value.shape.name or ("a value of which the kind is not known" if value.shape is JSON else "it")
                raise self.refuse(node.pipe.at, f"range {source(node.pipe)}", f"{what} cannot be walked through")
        # `break` and `continue` in llama.cpp lose what the round has printed so far: a mark and tests stand for them.
        mark_name = f"go.s{number}" if _leaves(node.body) else "0"
        if mark_name != "0":
            self.say(f"{{%- set {mark_name} = 0 -%}}")
        self.say(f"{{%- for {head} -%}}")
        if mark_name != "0":
            self.say(f"{{%- if {mark_name} != 2 -%}}{{%- set {mark_name} = 0 -%}}")
        values = (found,) if len(node.pipe.names) == 1 else (keyed, found)
        for name, bound in zip(node.pipe.names, values, strict=False):
            if node.pipe.assigns:
                self._assign(node.pipe, name, bound)
            else:
                self._names.append((name, self._kept(node.pipe, bound)))
        self._loops.append(mark_name)
        self._block(node.body, found)
        self._loops.pop()
        if mark_name != "0":
            self.say("{%- endif -%}")
        del self._names[mark:]
        if node.otherwise:
            self.say("{%- else -%}")
            self._block(node.otherwise, dot)
        self.say("{%- endfor -%}")

    def _call(self, node: Call, dot: Typed) -> None:
        body = self._tree.defined.get(node.name)
        shown = f'template "{node.name}"'
        if body is None:
            raise self.refuse(node.at, shown, "it is not defined")
        if node.name in self._calling:
            raise self.refuse(node.at, shown, "it calls itself")
        self._calling.append(node.name)
        self.template(body, Typed("none", NONE) if node.pipe is None else self.pipe(node.pipe, dot))
        self._calling.pop()


def _leaves(block: Block) -> bool:
    """Whether a statement may leave the loop, or the round of it, that the block is the body of."""
    return any(
        isinstance(node, Break | Continue)
        or (isinstance(node, If | With) and (_leaves(node.body) or _leaves(node.otherwise)))
        or (isinstance(node, Range) and _leaves(node.otherwise))
        for node in block
    )


def _prints(block: Block) -> bool:
    return "Content" in fields(block) or any(isinstance(node, Call) for node in statements(block))


def _walks(pipe: Pipe) -> bool:
    words: Sequence[object] = list(operands(pipe))
    return any(isinstance(word, Field | Variable) and "Messages" in word.names for word in words)
