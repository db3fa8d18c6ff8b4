"""Ask the model by hand: `python -m tools.demo_model.ask "What is arriero?" "And thanks!"`.

Each argument is a conversation of its own; with `--chat` they are turns of one. Without arguments
the lines of standard input are the turns.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import SHIPPED
from .runner import Runner, leave


def main() -> None:
    """Read the command line, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="*")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--system", help="a system message")
    parser.add_argument("--chat", action="store_true", help="the questions are turns of one chat")
    options = parser.parse_args()
    runner = Runner(options.model)
    start = [{"role": "system", "content": options.system}] if options.system else []
    messages = list(start)
    together = options.chat or not options.questions
    for question in options.questions or (line.strip() for line in sys.stdin):
        if not together:
            messages = list(start)
        messages.append({"role": "user", "content": question})
        reply = runner.ask(messages)
        messages.append({"role": "assistant", "content": reply.text})
        print(f"> {question}\n{reply.text} [{reply.finish}, {reply.tokens} tokens]\n", flush=True)
    leave()


if __name__ == "__main__":
    main()
