"""Creates one model over and over, as a process of its own: `python -m support.create_churn ROOT NAME ROUNDS FILE...`.

The files are the parts of one model, and lie outside of the store. Every round differs from the one before in its small
layers; every third is made of the parts anew. It says `ready` before the first round, and ends with status 0 if every
round went well.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from arriero.backends.engine.gguf import read_header
from arriero.backends.engine.library.create import create
from arriero.backends.engine.model import ModelFile, fingerprint
from arriero.backends.engine.progress import Frame, Report
from arriero.backends.engine.store.store import Store
from arriero.canonical.catalog import ModelCard
from arriero.dialects.ollama.names import Name


async def churn(root: Path, model: str, rounds: int, files: Sequence[Path]) -> None:
    """Make the model `rounds` times."""
    store = Store(root)
    parts = tuple(files)
    loose = ModelFile(
        id="loose:latest",
        parts=parts,
        fingerprint=fingerprint(parts[0]),
        header=read_header(parts[0]),
        card=ModelCard(id="loose:latest"),
    )

    async def find(text: str) -> ModelFile | None:
        return loose if text == "loose" else None

    async def fetch(name: Name, report: Report) -> None:
        raise AssertionError(f"{name} was there")

    def report(frame: Frame) -> None:
        """Nobody listens."""

    for number in range(rounds):
        fields = {
            "model": model,
            "from": model if number % 3 else "loose",
            "system": f"number {number % 4}" if number % 2 else "",
            "template": f"{number % 2}{{{{ .Prompt }}}}" if number % 3 == 0 else "",
            "parameters": {"seed": number % 5},
        }
        body = json.dumps(fields).encode()
        await create(body, store, report=report, find=find, fetch=fetch, now=time.time)


if __name__ == "__main__":
    root, model, rounds, *files = sys.argv[1:]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    asyncio.run(churn(Path(root), model, int(rounds), [Path(file) for file in files]))
