"""What this package registers is found by name, wherever latentroles looks for it."""

import json
import subprocess
import sys

import latentroles as lr
import latentroles_extra as extra
from latentroles import plugins
from latentroles.spec.array_functions import array_function


def test_the_entry_points_name_what_is_meant() -> None:
    assert plugins.role("landmark") is extra.LANDMARK
    assert plugins.spec("landmarks") is extra.landmarks
    assert plugins.environment("promenade") is extra.promenade
    assert array_function("uniformity").kind == "statistic"


READ = """
import json, sys
import latentroles as lr

spec = lr.Spec.from_json(json.load(sys.stdin))
print(spec.hash, spec.latents["z"].role, "latentroles_extra" in sys.modules)
"""


def test_a_process_that_never_imports_the_package_reads_its_specs() -> None:
    data = json.dumps(extra.landmarks().to_json())
    done = subprocess.run(
        [sys.executable, "-c", READ], input=data, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [extra.landmarks().hash, "LANDMARK", "True"]


def test_the_command_line_knows_them() -> None:
    command = [sys.executable, "-m", "latentroles.cli"]
    check = subprocess.run([*command, "check", "landmarks"], capture_output=True, text=True)
    assert check.returncode == 0, check.stderr
    listed = subprocess.run([*command, "plugins"], capture_output=True, text=True, check=True)
    for name in ("landmark ", "landmarks ", "promenade ", "extra "):
        assert f"  {name}" in listed.stdout
    assert listed.stdout.count("(latentroles-extra ") == 4


def test_a_role_of_ones_own_is_enforced() -> None:
    s = extra.landmarks()
    assert lr.check(s).clean
    z = s.latents["z"].expr
    s.loss("slow", lr.losses.mse(z.t[1:], z.t[:-1]))
    (finding,) = lr.check(s).errors
    assert (finding.rule, finding.loss, finding.subject) == ("temporal-adjacency", "slow", "z")


def test_the_role_asks_for_a_loss_that_prevents_collapse() -> None:
    data = extra.landmarks().to_json()
    data["losses"] = [loss for loss in data["losses"] if loss["name"] == "expect"]
    opened = lr.Spec.from_json(data).with_gates(z_to_memory=True)
    (unmet,) = lr.check(opened).of("requirement-unmet")
    assert (unmet.subject, "keeps it from collapsing" in str(unmet)) == ("z", True)
