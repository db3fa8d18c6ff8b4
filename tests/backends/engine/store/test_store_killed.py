"""SIGKILL at any point: whole models stay, and what is left over is what tidying clears."""

import random
import signal
import time
from pathlib import Path

from arriero.backends.engine.store.store import Store
from support.store import check_store, leftovers, model, models, name
from support.store_churn import CONTENTS, HOUR, STEPS, start

KILLS = 30
SECONDS = 60.0
UNTOUCHED = "registry.ollama.ai/library/untouched/latest"


def test_killed_at_random_points_the_store_holds_whole_models(tmp_path: Path) -> None:
    root = tmp_path / "models"
    store = Store(root)
    store.write(name("untouched"), model(store, CONTENTS[0], CONTENTS[3]))
    untouched = models(root)[UNTOUCHED]
    rng = random.Random(5)
    found: set[str] = set()
    for kill in range(KILLS):
        process = start("loop", root, kill)
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0.0, 0.12))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        check_store(root)
        found.update(models(root))
        assert models(root)[UNTOUCHED] == untouched
        store.write(name("after"), model(store, CONTENTS[1], b"after"))
        store.delete(name("after"))
        check_store(root)
    assert len(found) > 3, "the process has done nothing that a kill could cut"
    store.tidy(time.time() + 2 * HOUR)
    check_store(root)
    assert leftovers(root) == []
    assert models(root)[UNTOUCHED] == untouched


def test_killed_before_each_step_of_a_change_the_store_holds_whole_models(tmp_path: Path) -> None:
    process = start("steps", tmp_path)
    with process:
        said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    counts = {title: int(count) for title, count in (line.split(": ") for line in said.decode().splitlines())}
    assert list(counts) == list(STEPS)
    # Fewer steps than files are touched would mean that nothing has been killed.
    assert min(counts.values()) >= 5
