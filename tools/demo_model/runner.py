"""Runs a GGUF with llama.cpp and asks it questions, one thread, in this process.

llama.cpp can abort or hang the process it runs in, so programs that must survive start
`evaluate` or `ask` as a child process instead of importing this.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import xllamacpp

Messages = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, why it ended (`stop` or `length`), and the tokens read and written."""

    text: str
    finish: str
    prompt_tokens: int
    tokens: int


class Runner:
    """A loaded model."""

    def __init__(self, path: Path, context: int = 2048) -> None:
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = context
        params.n_parallel = 1
        params.cpuparams.n_threads = 1
        params.verbosity = 0
        params.cache_ram_mib = 0
        params.ui = False
        self._server = xllamacpp.Server(params)

    def ask(self, messages: Messages, **options: Any) -> Reply:
        """Answer a conversation, by default greedily and with at most 120 tokens."""
        request = {"messages": list(messages), "max_tokens": 120, "temperature": 0, **options}
        answer = self._server.handle_chat_completions(request)
        if "choices" not in answer:
            raise RuntimeError(str(answer))
        choice, usage = answer["choices"][0], answer["usage"]
        return Reply(
            text=choice["message"]["content"] or "",
            finish=choice["finish_reason"],
            prompt_tokens=usage["prompt_tokens"],
            tokens=usage["completion_tokens"],
        )


def leave(status: int = 0) -> NoReturn:
    """End the process without the teardown of llama.cpp, which can wait for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
