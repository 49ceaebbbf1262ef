"""The torch audit of `hzp` beside one forward pass of it, at the size of the recipe."""

from collections import deque

import latentroles as lr
from bench.test_bench_step import batch
from latentroles_specs.hzp import hzp
from latentroles_torch import audit


def test_audit_beside_a_forward_pass(compare, note):
    spec = hzp()
    model = lr.compile(spec, backend="torch")
    inputs = model.inputs(batch())
    modules = {name: model.get_submodule(name) for name in spec.modules}
    fresh, done = deque([model(inputs)]), deque()

    def forward():
        done.clear()  # a graph is freed by the pass that follows, as in training
        fresh.append(model(inputs))

    def audited():
        out = fresh.popleft()  # never read before: the first look at a graph costs more
        done.append(out)
        return audit.routes(out.losses, modules, out.latents)

    table = audited()
    assert table == lr.routes(spec)
    fresh.append(model(inputs))
    pair = compare("torch: audit.routes / forward pass of hzp", audited, forward)
    assert pair.ratio().median < 1
    note(f"torch: the audit takes {100 * pair.ratio().median:.1f}% of a forward pass of hzp")
