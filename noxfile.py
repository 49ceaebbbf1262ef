"""The sessions: `python -m nox -s NAME -- ARGUMENTS`. `python -m nox --list` names them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests", "lint"]

# The one place where the frameworks' versions are chosen: the pair that the figures in docs/ were
# measured with, not a range, so that two runs of a session mean the same. pyproject.toml has the
# ranges that a user's own environment may hold. Another version is one variable away; which build
# of it (CPU, CUDA, ROCm) is uv's UV_TORCH_BACKEND for torch, and an extra of jax's for jax:
#     UV_TORCH_BACKEND=auto python -m nox -s train-torch
#     LATENTROLES_JAX='jax[cuda13]==0.10.2' python -m nox -s train-jax
TORCH = os.environ.get("LATENTROLES_TORCH", "torch==2.13.0")
JAX = os.environ.get("LATENTROLES_JAX", "jax==0.10.2")

SUITE = "torch,jax,envs,plots,report,test"  # the extras that the tests need
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # small models: threads cost more than they give
# Above four workers, importing two frameworks in each costs more than it saves.
PARALLEL = ("--numprocesses=auto", "--maxprocesses=4")


@contextmanager
def stage(session: nox.Session, name: str) -> Iterator[None]:
    """Prints how long the block took."""
    start = time.perf_counter()
    yield
    session.log(f"{name}: {time.perf_counter() - start:.0f} s")


def local_wheels() -> dict[str, str]:
    """pip's `find-links`, as uv spells it: uv reads none of pip's settings.

    A user whose pip takes its wheels from a folder (no network, or a build of torch for their
    machine) gets the same wheels here.
    """
    if "UV_FIND_LINKS" in os.environ:
        return {}
    command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    configured = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    links = os.environ.get("PIP_FIND_LINKS", configured).split()
    return {"UV_FIND_LINKS": ",".join(links)} if links else {}


def install(session: nox.Session, extras: str, *requirements: str) -> None:
    """Installs the working tree, editable, with `extras` and the frameworks in `requirements`."""
    with stage(session, "environment"):
        session.install("-e", f".[{extras}]", *requirements, env=local_wheels())


def train(session: nox.Session, backend: str, framework: str) -> None:
    install(session, f"{backend},envs,plots", framework)
    arguments = list(session.posargs)
    named = bool(arguments) and not arguments[0].startswith("-")
    resumes = any(argument.startswith("--resume") for argument in arguments)
    if not named and not resumes:  # a run knows its spec
        arguments.insert(0, "hzp")
    command = ["latentroles", "train", *arguments, "--backend", backend]
    with stage(session, "training"):
        # Ctrl-C reaches the trainer too, which saves and ends by itself: nox is to wait for it.
        session.run(*command, interrupt_timeout=None)


@nox.session(name="train-torch")
def train_torch(session: nox.Session) -> None:
    """Trains a spec on PyTorch: [NAME] [--steps N] [--out DIR] [--device cuda] ..."""
    train(session, "torch", TORCH)


@nox.session(name="train-jax")
def train_jax(session: nox.Session) -> None:
    """Trains a spec on JAX: [NAME] [--steps N] [--out DIR] [--device cuda] ..."""
    train(session, "jax", JAX)


# Fails where a package is imported from anywhere but the environment.
INSTALLED = """
import sys, importlib
for name in sys.argv[1:]:
    place = importlib.import_module(name).__file__
    assert place.startswith(sys.prefix), f"{name} is imported from {place}"
"""


def fresh(session: nox.Session, *names: str) -> list[Path]:
    """Empty folders that belong to the session."""
    folders = [Path(session.create_tmp()).resolve() / name for name in names]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    return folders


def run_tests(session: nox.Session, *options: str, profile: str = "everyday") -> None:
    env = {**ONE_THREAD, "LATENTROLES_HYPOTHESIS_PROFILE": profile}
    with stage(session, "tests"):
        session.run("pytest", *options, *session.posargs, env=env)


@nox.session
def tests(session: nox.Session) -> None:
    """Runs the suite on both backends; arguments reach pytest."""
    install(session, SUITE, TORCH, JAX)
    run_tests(session, *PARALLEL)


@nox.session(name="tests-deep")
def tests_deep(session: nox.Session) -> None:
    """Runs the suite with ten times the examples of each property."""
    install(session, SUITE, TORCH, JAX)
    run_tests(session, *PARALLEL, profile="deep")


@nox.session
def mutants(session: nox.Session) -> None:
    """Prints each planted mistake, the law that finds it, and after how many examples."""
    install(session, SUITE, TORCH, JAX)
    files = ["tests/test_mutants.py", "tests/test_mutants_laws.py", "tests/test_mutants_rules.py"]
    with stage(session, "mutants"):
        env = {**ONE_THREAD, "LATENTROLES_MUTANTS": "show"}
        session.run("pytest", "-q", *PARALLEL, *files, *session.posargs, env=env)


@nox.session(reuse_venv=False)  # what is installed already would be kept
def minimums(session: nox.Session) -> None:
    """Runs the suite on the lowest versions that pyproject.toml declares.

    But torch is TORCH, installed first and then kept: its lowest release has no small build on
    every machine. LATENTROLES_TORCH=torch==2.11.0 asks for it.
    """
    session.install(TORCH, env=local_wheels())
    install(session, SUITE, "--resolution", "lowest-direct")
    run_tests(session, *PARALLEL)


@nox.session(reuse_venv=False)
def downstream(session: nox.Session) -> None:
    """Runs the suite of examples/latentroles-extra on wheels, away from this folder."""
    example = Path("examples/latentroles-extra")
    wheels, away = fresh(session, "wheels", "away")
    with stage(session, "environment"):
        for project in (Path(), example):
            session.run("uv", "build", "--wheel", "--out-dir", wheels, project, env=local_wheels())
        (ours,), (theirs,) = wheels.glob("latentroles-*"), wheels.glob("latentroles_extra-*")
        core = f"latentroles[torch,jax,envs,test] @ {ours.as_uri()}"
        session.install(core, str(theirs), TORCH, JAX, env=local_wheels())
    shutil.copytree(example / "tests", away / "tests")
    shutil.copy(example / "pyproject.toml", away)  # pytest's settings
    with session.chdir(away):
        session.run("python", "-c", INSTALLED, "latentroles", "latentroles_extra")
        run_tests(session)


@nox.session
def bench(session: nox.Session) -> None:
    """Measures the compiled steps beside hand-written ones; arguments reach pytest."""
    install(session, "dev", TORCH, JAX)
    run_tests(session, "-m", "bench", "tests/bench")


def study(session: nox.Session, name: str, *arguments: str) -> None:
    """Runs docs/studies/NAME.py, which writes what it measured into the docs."""
    install(session, "torch,jax,envs,plots,evaluate", TORCH, JAX)
    with stage(session, name):
        session.run("python", f"docs/studies/{name}.py", *arguments, env=ONE_THREAD)


@nox.session
def studies(session: nox.Session) -> None:
    """Measures what a page of docs/systems says: NAME [--seeds N] [--only SETTING] [--draw]"""
    known = sorted(path.stem for path in Path("docs/studies").glob("*.py") if path.stem != "study")
    if not session.posargs or session.posargs[0] not in known:
        session.error(f"name a study: python -m nox -s studies -- {' | '.join(known)}")
    study(session, *session.posargs)


@nox.session
def loops(session: nox.Session) -> None:
    """Trains nine objectives and measures which keep z a place: [--quick]"""
    study(session, "loops", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, pyright and the arrows between the packages."""
    install(session, "dev", TORCH, JAX)
    with stage(session, "lint"):
        session.run("ruff", "check", ".")
        session.run("ruff", "format", "--check", ".")
        session.run("lint-imports", "--no-logo")
        session.run("pyright")
