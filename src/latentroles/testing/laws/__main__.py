"""Prints the page of laws: `python -m latentroles.testing.laws [MODULE ...] > docs/laws.md`.

Each module is imported first; it may register a backend.
"""

import importlib
import sys

from ... import plugins
from .table import page

for module in sys.argv[1:]:
    importlib.import_module(module)
print(page(plugins.backends()))
