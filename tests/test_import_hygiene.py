"""What an import loads: core loads no framework, and says what to install where one is missing.

Each program runs in an interpreter of its own, since this one has long loaded everything.
"""

import subprocess
import sys

import pytest

FRAMEWORKS = {"torch", "jax", "jaxlib", "equinox", "optax"}
OPTIONAL = {
    *("gymnasium", "h5py", "hypothesis", "jinja2", "matplotlib", "minigrid", "pytest"),
    *("scipy", "sklearn"),
}

IMPORT_EVERY_MODULE_OF_CORE = """
import importlib, pkgutil, latentroles
for module in pkgutil.walk_packages(latentroles.__path__, "latentroles."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""

ASK_FOR_BACKEND = """
import latentroles.errors, latentroles.plugins
try:
    latentroles.plugins.backend({name!r})
except latentroles.errors.PluginError as error:
    print(error)
"""


def output_of(program: str) -> str:
    """What `program` prints, in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(program: str) -> set[str]:
    """The top-level packages that `program` leaves in `sys.modules`."""
    report = "import sys; print(*sys.modules, sep='\\n')"
    return {name.partition(".")[0] for name in output_of(f"{program}\n{report}").split()}


def test_latentroles_loads_neither_framework_nor_optional_package() -> None:
    loaded = loaded_by("import latentroles")
    assert "latentroles" in loaded
    assert not loaded & (FRAMEWORKS | OPTIONAL)


def test_no_module_of_core_loads_a_framework() -> None:
    assert not loaded_by(IMPORT_EVERY_MODULE_OF_CORE) & FRAMEWORKS


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_loaded_framework_would_be_seen(framework: str) -> None:
    assert framework in loaded_by(f"import latentroles, {framework}")


@pytest.mark.parametrize(
    ("backend", "missing"), [("torch", {"torch"}), ("jax", FRAMEWORKS - {"torch"})]
)
def test_without_its_framework_a_backend_names_the_extra(backend: str, missing: set[str]) -> None:
    program = BLOCK.format(blocked=missing) + ASK_FOR_BACKEND.format(name=backend)
    assert f"pip install 'latentroles[{backend}]'" in output_of(program)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_with_its_framework_a_backend_is_found(backend: str) -> None:
    assert output_of(ASK_FOR_BACKEND.format(name=backend)) == ""
