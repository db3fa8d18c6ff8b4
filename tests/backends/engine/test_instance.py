"""A lease is given back once; an instance knows what it suits."""

import os
from pathlib import Path

from arriero.backends.engine.instance import FOREVER, Instance, Lease, State
from arriero.backends.engine.memory import Need
from arriero.backends.engine.models import Models
from arriero.backends.http.call import Timeouts
from arriero.backends.http.origin import Origin
from arriero.backends.http.pool import Pool
from support.gguf import random_llama


def instance_of(directory: Path) -> Instance:
    random_llama(directory / "a.gguf")
    return Instance(
        model=Models(directory).scan().models["a:latest"],
        embedding=False,
        context_length=1024,
        need=Need(1, 2, 3, 4),
        keep_alive=300.0,
        deadline=0.0,
        used_at=0.0,
    )


def test_it_suits_smaller_contexts_of_the_same_file(tmp_path: Path) -> None:
    instance = instance_of(tmp_path)
    assert instance.suits(instance.model, 1024)
    assert instance.suits(instance.model, 10)
    assert not instance.suits(instance.model, 1025)
    os.utime(instance.model.path, (1, 1))
    assert not instance.suits(Models(tmp_path).scan().models["a:latest"], 10)


def test_only_a_ready_instance_without_runs_is_idle(tmp_path: Path) -> None:
    instance = instance_of(tmp_path)
    assert not instance.idle
    instance.state = State.READY
    assert instance.idle
    instance.runs = 1
    assert not instance.idle


async def test_a_lease_is_given_back_once(tmp_path: Path) -> None:
    instance = instance_of(tmp_path)
    returned: list[tuple[Instance, float | None]] = []
    pool = Pool(Origin.parse("unix:///nowhere.sock"), timeouts=Timeouts())
    lease = Lease(instance, pool, lambda *back: returned.append(back))
    assert (lease.model_alias, lease.context_length, lease.pool) == ("a:latest", 1024, pool)
    lease.release(FOREVER)
    lease.release(0)
    assert returned == [(instance, FOREVER)]
    assert await lease.diagnose() is None
