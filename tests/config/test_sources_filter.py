"""The filter file among the sources: which one is read, what is watched, what is told."""

from pathlib import Path

import pytest

from arriero.config import Flags
from arriero.routing.model_filter import EVERYTHING, ModelFilter
from support.config import Place


@pytest.mark.parametrize("where", ["rules.txt", "~/rules.txt", "{cwd}/rules.txt"])
def test_the_file_of_the_configuration(place: Place, where: str) -> None:
    file = (place.home if where.startswith("~") else place.cwd) / "rules.txt"
    file.write_text("gpt-4o\n!*:free\n")
    loaded = place.file(f"models: {{filter_file: '{where.format(cwd=place.cwd)}'}}").load()
    assert (loaded.filter, loaded.filter_problem) == (ModelFilter(["gpt-4o"], ["*:free"]), None)
    assert (loaded.warnings, loaded.watched[-1]) == ((), file)


@pytest.mark.parametrize("name", ["MODELS_FILTER_PATH", "MODELS_FILTER", "models_filter_path"])
def test_the_file_of_a_variable(place: Place, name: str) -> None:
    (place.cwd / "rules.txt").write_text("gpt-4o\n")
    (place.cwd / "models-filter.txt").write_text("other\n")
    loaded = place.load(env={name: "rules.txt"})
    assert (loaded.filter, loaded.watched[-1]) == (ModelFilter(["gpt-4o"]), place.cwd / "rules.txt")


def test_the_usual_file_counts_where_it_is_and_may_come_later(place: Place) -> None:
    file = place.cwd / "models-filter.txt"
    loaded = place.load()
    assert (loaded.filter, loaded.warnings, loaded.watched[-1]) == (EVERYTHING, (), file)
    file.write_text("gpt-4o\n")
    loaded = place.load()
    assert (loaded.filter, loaded.warnings, loaded.watched[-1]) == (ModelFilter(["gpt-4o"]), (), file)


def test_with_a_configuration_file_the_usual_one_does_not_count(place: Place) -> None:
    (place.cwd / "models-filter.txt").write_text("gpt-4o\n")
    assert place.file("server: {port: 1}").load().filter == EVERYTHING


def test_the_flag_is_stronger_and_an_empty_one_switches_it_off(place: Place) -> None:
    (place.cwd / "rules.txt").write_text("gpt-4o\n")
    (place.cwd / "models-filter.txt").write_text("other\n")
    env = {"MODELS_FILTER_PATH": "models-filter.txt"}
    assert place.load(Flags(models_filter="rules.txt"), env).filter == ModelFilter(["gpt-4o"])
    for without in ({}, env):
        loaded = place.load(Flags(models_filter=""), without)
        assert (loaded.filter, loaded.config.models.filter_file, loaded.warnings) == (EVERYTHING, None, ())


def test_a_named_file_that_is_not_there_is_told(place: Place) -> None:
    loaded = place.load(env={"MODELS_FILTER_PATH": "rules.txt"})
    file = place.cwd / "rules.txt"
    assert (loaded.filter, loaded.filter_problem, loaded.watched[-1]) == (EVERYTHING, None, file)
    assert loaded.warnings == (f"models.filter_file: there is no file {file}; every model is allowed",)


def test_one_that_cannot_be_read_is_told_with_the_reason(place: Place) -> None:
    loaded = place.file("models: {filter_file: .}").load()
    problem = f"{place.cwd} is a folder; name the file in it"
    assert (loaded.filter, loaded.filter_problem) == (EVERYTHING, problem)
    assert loaded.warnings == (f"models.filter_file: {problem}; every model is allowed",)


def test_faulty_lines_are_told(place: Place) -> None:
    (place.cwd / "f").write_text("gpt-4o\n!\n")
    loaded = place.load(env={"MODELS_FILTER": "f"})
    assert [warning.partition(": ")[0] for warning in loaded.warnings] == [f"{Path(place.cwd / 'f')}:2"]
    assert loaded.filter == ModelFilter(["gpt-4o"])
