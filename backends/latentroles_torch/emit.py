"""How torch spells each node of a plan: one small function per kind."""

from latentroles.plan.build import Node
from latentroles.plan.dialect import LITERAL, Code, Dialect
from latentroles.plan.loops import LoopBody
from latentroles.plan.writer import Writer
from latentroles.spec import nn
from latentroles.spec.spec import Spec
from latentroles.spec.types import Type

# Layers whose torch modules take any number of leading axes; all others take exactly one.
ANY_LEADING = (
    nn.Linear,
    nn.LayerNorm,
    nn.Embedding,
    nn.GRU,
    nn.Relu,
    nn.Gelu,
    nn.Silu,
    nn.Tanh,
    nn.Sigmoid,
    nn.Flatten,
    nn.Rearrange,
    nn.Reduce,
    nn.Sequential,
    nn.Residual,
)


class TorchDialect(Dialect):
    """Source text for torch."""

    reserved = frozenset(
        {"torch", "losses", "ops", "Model", "Outputs", "each", "frozen", "prepend"}
    )

    def header(self, spec: Spec, class_name: str) -> list[str]:
        return [
            f'"""{spec.name} on torch, emitted by latentroles from spec {spec.hash}.',
            "",
            "The class has no modules by itself: lr.compile(spec, backend=...) builds it.",
            '"""',
            "",
            "import torch",
            "from latentroles.spec.array_functions import functions as losses",
            "from latentroles_torch import ops",
            "from latentroles_torch.model import Model, Outputs",
            "from latentroles_torch.ops import each, frozen, prepend",
        ]

    def class_lines(self, spec: Spec, class_name: str) -> list[str]:
        lines = [f"class {class_name}(Model):"]
        for m in spec.modules.values():
            lines.append(f"    {m.name}: torch.nn.Module")
        for t in spec.targets.values():
            lines.append(f"    {t.name}: torch.nn.Module  # EMA of {t.of}")
        return lines

    def forward(self) -> str:
        return "def forward(self, batch, noise=None, state=None, step=0):"

    def stop(self, operand: Code) -> Code:
        return Code(f"{operand.atom()}.detach()")

    def frozen(self, module: str) -> Code:
        return Code(f"frozen(self.{module})")

    def constant(self, value: float, sizes: list[str]) -> Code:
        if not sizes:
            return Code(repr(value), LITERAL)
        shape = ", ".join(sizes) + ("," if len(sizes) == 1 else "")
        return Code(f"self.full(({shape}), {value!r})")

    def op(self, node: Node, operands: list[Code]) -> Code:
        name, *arguments = node.attrs
        x, t = operands[0], node.inputs[0].node.type
        if name == "concat":
            return Code(f"torch.cat([{', '.join(operands)}], dim=-1)")
        if name == "slice":
            return Code(f"{x.atom()}[..., {arguments[0]}:{arguments[1]}]")
        if name == "one_hot":
            return Code(f"ops.one_hot({x}, {arguments[0]}, self.dtype)")
        if name == "reshape":
            sizes = ", ".join(map(str, arguments[0]))
            return Code(f"{x.atom()}.flatten({-len(t.shape)}).unflatten(-1, ({sizes},))")
        if name == "random_crop":
            return Code(f"ops.random_crop({x}, {operands[1]}, {arguments[0]})")
        if name in ("mean", "sum"):
            return Code(f"torch.{name}({x}, dim={dims_of(arguments[0], t)})")
        if name in ("avg_pool2d", "normalise"):
            return Code(f"ops.{name}({', '.join([x, *map(str, arguments)])})")
        return Code(f"torch.{name}({x})")

    def apply(self, spec: Spec, node: Node, module: str, operands: list[Code]) -> Code:
        axes = len(node.type.axes)
        if axes == 1 or _any_leading(spec._layer(node.attrs[0])):
            return Code(f"{module}({', '.join(operands)})")
        return Code(f"each({', '.join([module, *operands])}, axes={axes})")

    def pick(self, operand: Code, position: int, index: int) -> Code:
        return Code(f"{operand.atom()}[{':, ' * position}{index}]")

    def window(self, operand: Code, size: int) -> Code:
        return Code(f"ops.windows({operand}, {size})")

    def prepend(self, first: Code, sequence: Code, position: int) -> Code:
        return Code(f"prepend({first}, {sequence}, axis={position})")

    def expand(self, operand: Code, new: list[int], sizes: list[str]) -> Code:
        return Code(f"ops.expand({operand}, {new}, ({', '.join(sizes)},))")

    def scale(self, operand: Code, factor: float) -> Code:
        return Code(f"ops.scale_gradient({operand}, {factor!r})")

    def loop(self, writer: Writer, body: LoopBody) -> None:
        taps = [tap for tap, _ in body.collected]
        for name, init in zip(body.carries, body.inits, strict=True):
            writer.write(f"{name} = {init}")
        for tap in taps:
            writer.write(f"{tap} = []")
        sequences = zip(body.sequences, body.positions, strict=True)
        unbound = [f"{s.atom()}.unbind({position})" for s, position in sequences]
        if not unbound:
            writer.write(f"for _ in range({body.steps}):")
        elif len(unbound) == 1:
            writer.write(f"for {body.xs[0]} in {unbound[0]}:")
        else:
            writer.write(f"for {', '.join(body.xs)} in zip({', '.join(unbound)}, strict=True):")
        with writer.indented():
            values = body.write(writer)
            for tap, value in zip(taps, values, strict=True):
                writer.write(f"{tap}.append({value})")
        for tap, position in body.collected:
            writer.write(f"{tap} = torch.stack({tap}, dim={position})")


def dims_of(over: str, type: Type) -> tuple[int, ...]:
    """The axes that a mean or a sum runs over."""
    if over == "event":
        return tuple(range(-len(type.shape), 0))
    return (type.position(over),)


def _any_leading(layer: nn.Layer) -> bool:
    return isinstance(layer, ANY_LEADING) and all(map(_any_leading, layer.children().values()))
