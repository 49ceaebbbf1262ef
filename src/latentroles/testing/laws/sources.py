"""B22: emitted source is all that a model needs."""

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from ... import plugins
from ...compile import draw_weights
from ...plan.source import class_name
from .case import Case, compiled, results
from .checks import same_bits
from .law import law


@law(
    "source runs from a file",
    "emitted source, saved and imported, gives the same losses and gradients to the last bit",
    needs=("source",),
)
def B22(spec: Any, backend: str, seed: int = 0) -> None:
    case = Case.one_of(spec, seed)
    model = compiled(case, backend)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "emitted.py"
        path.write_text(model.source)
        found = importlib.util.spec_from_file_location("emitted", path)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
    cls = getattr(module, class_name(model.spec.name))
    drawn = draw_weights(model.spec, case.seed)
    dtype = "float64" if "float64" in plugins.backend(backend).capabilities else "float32"
    again = plugins.backend(backend).build(
        cls, model.plan, model.source, drawn, case.seed, dtype, None
    )
    want, got = results(model, case), results(again, case)
    same_bits(got.losses, want.losses, "the losses")
    for loss, gradients in want.gradients.items():
        for name, arrays in gradients.items():
            same_bits(got.gradients[loss][name], arrays, f"the gradient of {loss} in {name}")
