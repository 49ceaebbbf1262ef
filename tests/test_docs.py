"""Every Python block of the README and of the language page runs, in order."""

import re
from pathlib import Path

import pytest

from latentroles import rulebook

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_blocks(path: Path, skip: str | None = None) -> int:
    """Executes the blocks of a page in one namespace; errors show the page's line."""
    text, namespace, count = path.read_text(), {"__name__": "page"}, 0
    for match in BLOCK.finditer(text):
        if skip is not None and skip in match[1]:
            continue
        line = text[: match.start(1)].count("\n")
        exec(compile("\n" * line + match[1], str(path), "exec"), namespace)
        count += 1
    return count


@pytest.mark.parametrize(
    ("page", "skip", "least"),
    [
        ("README.md", "data/trajectories.h5", 1),  # a file that the reader has
        ("docs/language.md", None, 10),
        ("docs/training.md", None, 7),
        ("docs/checking.md", None, 5),
        ("docs/words.md", None, 7),
        ("docs/evaluating.md", None, 4),
        ("docs/systems/rssm.md", None, 1),
        ("docs/audit/torch.md", None, 8),
        ("docs/audit/jax.md", None, 8),
    ],
)
def test_the_blocks_of_a_page_run(page, skip, least, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a page may write files
    assert run_blocks(ROOT / page, skip) >= least
    assert capsys.readouterr().out


def test_the_page_of_rules_is_the_rulebook():
    """`latentroles explain --markdown > docs/rules.md` writes it anew."""
    assert (ROOT / "docs/rules.md").read_text() == f"{rulebook.page()}\n"


def test_a_broken_block_would_fail(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nraise RuntimeError('broken')\n```\n")
    with pytest.raises(RuntimeError, match="broken"):
        run_blocks(page)
