"""`latentroles plugins`: what is registered."""

import argparse
from typing import Any

GROUPS = ("backends", "specs", "environments", "losses", "roles")


def add(subparsers: Any) -> argparse.ArgumentParser:
    return subparsers.add_parser(
        "plugins",
        help="list what is registered",
        description=(
            "Lists the registered backends, specs, environments, losses and roles, and where each "
            "comes from. A package registers its own under the entry-point group that is printed."
        ),
    )


def run(arguments: argparse.Namespace) -> int:
    from latentroles.plugins import registered

    for group in GROUPS:
        print(f"latentroles.{group}")
        found = registered(group).values()
        widest = max((len(point.name) for point in found), default=0)
        for point in found:
            package = f" ({point.dist.name} {point.dist.version})" if point.dist else ""
            print(f"  {point.name:<{widest}}  {point.value}{package}")
        if not found:
            print("  none")
    return 0
