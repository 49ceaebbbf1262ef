"""The conformance suite on our backends and on the numpy reference, which is no installed one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

import latentroles as lr
import numpy_backend
from latentroles import plugins
from latentroles.testing.laws import LAWS, Case, Inapplicable, step_of
from latentroles.testing.laws.checks import same_results
from latentroles.testing.laws.table import DEEP, EVERYDAY, page
from latentroles_specs.hzp import hzp

TESTS = Path(__file__).parent
EXAMPLES = f"--latentroles-examples={settings.default.max_examples}"
NUMPY = numpy_backend.BACKEND


def suite(module: str, *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The suite in a process of its own, on the numpy reference that a module registers."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-p", module]
    command += ["--pyargs", "latentroles.testing.conformance", "--latentroles-backend", "numpy"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(cwd)])}
    return subprocess.run([*command, *options], capture_output=True, text=True, cwd=cwd, env=env)


def test_the_suite_runs_on_a_backend_that_a_module_registers(tmp_path):
    done = suite("numpy_backend", EXAMPLES, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "18 passed, 12 skipped" in done.stdout
    assert "B6 does not apply: numpy does not have: training" in done.stdout


WITHOUT_STOPS = """
from numpy_backend import backend
backend.Primitives.stop = lambda self, x: x
"""


def test_the_suite_fails_on_a_backend_without_stops(tmp_path):
    (tmp_path / "without_stops.py").write_text(WITHOUT_STOPS)
    done = suite("without_stops", "--latentroles-examples=250", "-k", "B3", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "B3, no route, no gradient" in done.stdout
    assert "expected a gradient that is exactly zero, got" in done.stdout


def test_the_numpy_reference_is_a_witness_of_hzp():
    gates = {"z_to_hp": True, "z_to_decoder": False, "h_to_p": True}
    case = Case.of(hzp(frame=(3, 8, 8), dim=6, horizon=3).with_gates(**gates), seed=1)
    same_results(step_of(case, "numpy"), step_of(case, "torch"))


def test_a_backend_is_registered_by_name():
    assert plugins.backend("numpy") is NUMPY
    assert set(plugins.backends()) >= {"numpy", "torch", "jax"}
    with pytest.raises(lr.errors.PluginError, match="'torch' is registered by an installed"):
        plugins.register_backend("torch", NUMPY)


def test_a_law_without_what_it_needs_says_so():
    with pytest.raises(Inapplicable, match="B6 does not apply: numpy does not have: training"):
        LAWS["B6"].run("numpy")


def test_the_page_of_laws_is_that_of_the_registry():
    """The page says how it is written."""
    assert (TESTS.parent / "docs/laws.md").read_text() == page(["jax", "numpy", "torch"]) + "\n"
    assert settings.default.max_examples in (EVERYDAY, DEEP)
