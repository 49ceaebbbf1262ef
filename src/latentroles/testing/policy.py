"""What a test session asks of the harness. The pytest plugin sets it; no environment variable does.

Without the plugin, nothing is asked: golden files are compared, and hypothesis's profile says how
many examples there are.
"""

from dataclasses import dataclass


@dataclass
class Policy:
    """The options of a session.

    Attributes:
        examples: how many examples a property of ours takes; None leaves it to hypothesis.
        update_routes: whether `assert_routes(table, path)` writes the golden file.
    """

    examples: int | None = None
    update_routes: bool = False


POLICY = Policy()


def examples() -> int:
    """How many examples to take: for a budget, or `@settings(max_examples=examples())`."""
    if POLICY.examples is not None:
        return POLICY.examples
    from hypothesis import settings

    return settings().max_examples
