"""A lease is given back once; an instance knows what it suits."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from arriero.backends.base import Tuning
from arriero.backends.engine.instance import FOREVER, Instance, Lease, State, key_of
from arriero.backends.engine.memory import Need
from arriero.backends.engine.scheduler import UNTUNED
from arriero.backends.http.call import Timeouts
from arriero.backends.http.origin import Origin
from arriero.backends.http.pool import Pool
from support.engine import models_in
from support.gguf import random_llama


def instance_of(directory: Path) -> Instance:
    random_llama(directory / "a.gguf")
    return Instance(
        model=models_in(directory)["a:latest"],
        embedding=False,
        context_length=1024,
        tuning=Tuning(2, 512, True),
        need=Need(1, 2, 3, 4),
        keep_alive=300.0,
        deadline=0.0,
        used_at=0.0,
    )


def test_it_suits_smaller_contexts_of_the_same_file(tmp_path: Path) -> None:
    instance = instance_of(tmp_path)
    assert instance.suits(instance.model, 1024, UNTUNED)
    assert instance.suits(instance.model, 10, UNTUNED)
    assert not instance.suits(instance.model, 1025, UNTUNED)
    os.utime(instance.model.path, (1, 1))
    assert not instance.suits(models_in(tmp_path)["a:latest"], 10, UNTUNED)


@pytest.mark.parametrize(
    ("asked", "suits"),
    [
        (Tuning(threads=2), True),
        (Tuning(threads=1), False),
        (Tuning(batch=512, mmap=True), True),
        (Tuning(batch=64), False),
        (Tuning(mmap=False), False),
    ],
)
def test_only_what_is_asked_for_and_different_needs_another_process(asked: Tuning, suits: bool, tmp_path: Path) -> None:
    instance = instance_of(tmp_path)
    assert instance.suits(instance.model, 10, asked) is suits
    instance.embedding = True
    # Its batch is its context.
    assert instance.suits(instance.model, 10, Tuning(batch=64))


def test_names_of_the_same_parts_share_a_process(tmp_path: Path) -> None:
    model = instance_of(tmp_path).model
    key = key_of(model, embedding=False)
    assert key_of(replace(model, id="b:latest", parameters={"top_k": 1}), embedding=False) == key
    others = [
        replace(model, projector=tmp_path / "p.gguf"),
        replace(model, adapters=(tmp_path / "l.gguf",)),
        replace(model, template="{{ messages }}"),
        replace(model, sampling={"temp": 0.0}),
    ]
    assert len({key, key_of(model, embedding=True), *(key_of(other, embedding=False) for other in others)}) == 6
    # An embedding has neither pictures nor turns.
    assert key_of(others[0], embedding=True) == key_of(others[2], embedding=True) == key_of(model, embedding=True)


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
    lease = Lease(instance, instance.model, pool, lambda *back: returned.append(back))
    assert (lease.model_alias, lease.context_length, lease.pool) == ("a:latest", 1024, pool)
    lease.release(FOREVER)
    lease.release(0)
    assert returned == [(instance, FOREVER)]
    assert await lease.diagnose() is None
