"""A process that changes a model store without end, to be killed, or that kills itself before each step of one change.

python -m support.store_churn loop ROOT SEED [COUNT]    says `ready`, then makes, copies and deletes models
python -m support.store_churn steps ROOT                says for each change how many steps it has; see `STEPS`
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from arriero.backends.engine.store.store import Store
from arriero.errors import ModelNotFound, StoreError
from support.store import blobs, check_store, leftovers, model, models, name

HOUR = 3600.0
CONTENTS = tuple(bytes([number]) * size for number, size in enumerate((10, 200, 5_000, 70_000, 300_000, 1_500_000)))
NAMES = ("a", "b:v1", "B:v2", "ns/c", "host.example/ns/d")


def start(mode: str, root: Path, *more: object) -> "subprocess.Popen[bytes]":
    """The process; its standard output is a pipe."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tests), os.environ.get("PYTHONPATH", "")))}
    command = [sys.executable, "-m", "support.store_churn", mode, str(root), *map(str, more)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def churn(root: Path, seed: int, count: int | None = None) -> None:
    """Change the store. What another process removed meanwhile is no error: its sentence says to try again."""
    rng = random.Random(seed)
    store = Store(root)
    print("ready", flush=True)
    done = 0
    while count is None or done < count:
        done += 1
        try:
            match rng.randrange(5):
                case 0 | 1:
                    contents = rng.sample(CONTENTS, rng.randint(1, 4))
                    store.write(name(rng.choice(NAMES)), model(store, *contents, family=str(rng.randrange(3))))
                case 2:
                    store.copy(name(rng.choice(NAMES)), name(rng.choice(NAMES)))
                case 3:
                    store.delete(name(rng.choice(NAMES)))
                case _:
                    store.tidy(time.time() + rng.choice((0.0, 2 * HOUR)) if count is None else time.time())
        except ModelNotFound:
            continue
        except StoreError as error:
            if count is None or "is missing" not in error.message:
                raise


# ---- one change, killed before each of its steps -------------------------------------------------------------------


def prepare(root: Path) -> None:
    """Two models that share a blob, one nobody touches, a file of an old store, a leftover."""
    store = Store(root)
    store.write(name("untouched"), model(store, CONTENTS[0], CONTENTS[1]))
    store.write(name("a"), model(store, CONTENTS[1], CONTENTS[2]))
    store.write(name("ns/c"), model(store, CONTENTS[2], CONTENTS[3]))


def _create(store: Store) -> None:
    store.write(name("host.example/new/x"), model(store, CONTENTS[0], CONTENTS[4], family="new"))


def _overwrite(store: Store) -> None:
    store.write(name("a"), model(store, CONTENTS[3], CONTENTS[4], family="new"))


def _copy(store: Store) -> None:
    store.copy(name("untouched"), name("copied/x"))


def _copy_over(store: Store) -> None:
    store.copy(name("untouched"), name("ns/c"))


def _delete(store: Store) -> None:
    store.delete(name("ns/c"))


def _tidy(store: Store) -> None:
    store.put(b"nobody names it")
    store.tidy(time.time() + 2 * HOUR)


STEPS: Mapping[str, Callable[[Store], None]] = {
    "create": _create,
    "overwrite": _overwrite,
    "copy": _copy,
    "copy over": _copy_over,
    "delete": _delete,
    "tidy": _tidy,
}
_EVENTS = frozenset({"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.utime"})


def _killed_before(step: int, change: Callable[[Store], None], root: Path) -> bool:
    """Do the change in a child that kills itself before that step; whether it came so far."""
    child = os.fork()
    if child == 0:
        left = [step]

        def watch(event: str, _: object) -> None:
            if event in _EVENTS:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        change(Store(root))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def check_after(root: Path, untouched: list[str], change: Callable[[Store], None]) -> None:
    """After a kill: all models whole, the untouched one as it was, the change can be made, tidying leaves nothing."""
    check_store(root)
    assert models(root)["registry.ollama.ai/library/untouched/latest"] == untouched
    store = Store(root)
    try:
        change(store)
    except ModelNotFound:
        pass
    check_store(root)
    store.tidy(time.time() + 2 * HOUR)
    check_store(root)
    assert leftovers(root) == []
    assert set(blobs(root)) == {each for digests in models(root).values() for each in digests}


def steps(root: Path) -> None:
    prepare(root / "sound")
    untouched = models(root / "sound")["registry.ollama.ai/library/untouched/latest"]
    for title, change in STEPS.items():
        step = 0
        while True:
            shutil.copytree(root / "sound", root / "store")
            if not _killed_before(step, change, root / "store"):
                break
            check_after(root / "store", untouched, change)
            shutil.rmtree(root / "store")
            step += 1
        check_after(root / "store", untouched, change)
        shutil.rmtree(root / "store")
        print(f"{title}: {step}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "loop":
        churn(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else None)
    else:
        steps(Path(sys.argv[2]))
