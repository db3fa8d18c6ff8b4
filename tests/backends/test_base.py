"""How a model is to be loaded: out of a client's options, and over what the model has."""

from arriero.backends.base import Tuning, whole


def test_tuning_out_of_ollamas_options() -> None:
    assert Tuning.asked({"num_thread": 2, "num_batch": 64, "use_mmap": False, "num_ctx": 9}) == Tuning(2, 64, False)
    # 0 is Ollama's word for automatic.
    assert Tuning.asked({"num_thread": 0, "num_batch": -1}) == Tuning()


def test_what_is_not_said_is_as_usual() -> None:
    assert Tuning(threads=2).over(Tuning(4, 64, False)) == Tuning(2, 64, False)
    assert Tuning(mmap=False).over(Tuning(mmap=True)) == Tuning(mmap=False)


def test_numbers_of_things() -> None:
    assert [whole(value) for value in (3, 0, -1, True, 2.0, "3", None)] == [3, None, None, None, None, None, None]
