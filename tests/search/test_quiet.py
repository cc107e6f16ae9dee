"""Warnings and verbosity are those of whoever imports and calls raretune, before and after."""

import subprocess
import sys
import warnings

import optuna

IMPORTS = """
import importlib, pathlib, warnings
import optuna, scipy.sparse, scipy.special, sklearn, torch  # which set their own
before = list(warnings.filters), optuna.logging.get_verbosity()
for path in sorted(pathlib.Path("search").rglob("*.py")):
    importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
print(optuna.logging.get_verbosity() == before[1], warnings.filters == before[0])
print([one for one in warnings.filters if one not in before[0]])
"""


def test_importing_everything_leaves_filters_and_verbosity_as_they_were():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True True"), done.stdout


def test_a_search_warns_of_nothing_and_leaves_optuna_as_it_was(searched_session, capfd):
    optuna.logging.set_verbosity(optuna.logging.INFO)
    capfd.readouterr()
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            before = list(warnings.filters)
            searched_session(
                "loud",
                budget={"trials": 4},
                training={"epochs": 2},
                pruner="patient",
                space={"batch_size": [64], "hidden_dim": [16]},
            )
            new = [one[2] for one in warnings.filters if one not in before]
            assert optuna.exceptions.ExperimentalWarning not in new
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert [str(one.message) for one in told if "optuna" in one.filename] == []
    assert capfd.readouterr().err == ""
