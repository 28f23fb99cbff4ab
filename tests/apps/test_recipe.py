"""Recipes: each runs as a user would run it, goes on where it was cut off, and says what it did."""

import re
import shlex
from importlib import resources

import pytest

from apps.cli import app
from apps.experiment_file import read_plan
from apps.experiment_plan import check_plan
from apps.recipe import names, recipe
from bo.study import Study

FOLDER = resources.files("apps.recipes")
EXPERIMENTS = [name for name in names() if name != "by-hand"]


def test_by_hand_asks_measures_and_tells_and_goes_on_where_it_was_cut_off(wald):
    told = wald.json("demo", "by-hand")
    asked = [line for line in told["commands"] if line.startswith("wald ask glue")]
    measured = [line for line in told["commands"] if line.startswith("wald tell glue")]
    assert len(asked) == 6
    assert len(measured) == 18
    url = f"sqlite:///{wald.folder}/wald.db"
    study = Study.resume("glue", store=url)
    assert [trial.state for trial in study.trials] == ["complete"] * 18
    for trial in study.trials:
        parts = [float(trial.parameters[name]) for name in ("resin", "hardener", "filler")]
        assert sum(parts) == pytest.approx(100, abs=1e-6)
    assert told["study"]["best"]["values"]["cost"] <= 30

    study.ask(2)  # as if it had been cut off before these were measured
    again = wald.json("demo", "by-hand")
    assert [line.split()[1] for line in again["commands"]] == ["tell", "tell"]


def test_the_commands_of_by_hand_do_the_same_when_a_user_types_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "by-hand-space.toml").write_text((FOLDER / "by-hand-space.toml").read_text())
    told = recipe("by-hand", "sqlite:///recipe.db", seed=0)
    for line in told["commands"]:
        words = shlex.split(line)[1:]
        seed = ["--seed", "0"] if "--space" in words else []
        app(args=[*words, *seed, "--store", "sqlite:///typed.db"], standalone_mode=False)
    did, typed = (
        [(trial.parameters, trial.values) for trial in Study.resume("glue", store=url).trials]
        for url in ("sqlite:///recipe.db", "sqlite:///typed.db")
    )
    assert did == typed


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_recipe_is_one_that_can_run_here(name, data_folder):
    with resources.as_file(FOLDER / f"{name}.toml") as file:
        check_plan(read_plan(str(file)))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_recipe_runs(name, wald, data_folder):
    ended = wald("demo", name)
    assert ended.returncode == 0, ended.stderr
    assert "mean rank" in ended.stdout
    assert f"results/{name}/RESULTS.md" in wald.files()


def test_an_unknown_recipe_is_refused_with_the_nearest(wald):
    ended = wald("demo", "by-hands")
    assert ended.returncode == 2
    assert "did you mean 'by-hand'" in ended.stderr
    assert wald.files() == set()


def test_every_recipe_has_its_page_and_the_command_line_names_it(wald):
    shown = " ".join(wald("demo", "--help").stdout.split())
    for name in names():
        assert re.match(r"# \w", (FOLDER / f"{name}.md").read_text())
        assert name in shown
