"""How JAX spells each node of a plan: one small function per kind."""

from collections.abc import Sequence

from latentroles.plan.build import Node
from latentroles.plan.dialect import LITERAL, Code, Dialect
from latentroles.plan.loops import LoopBody
from latentroles.plan.writer import Writer
from latentroles.spec.spec import Spec
from latentroles.spec.types import Type


class JaxDialect(Dialect):
    """Source text for JAX."""

    reserved = frozenset(
        {
            "carry",
            "entry",
            "jax",
            "jnp",
            "eqx",
            "losses",
            "Model",
            "Outputs",
            "each",
            "frozen",
            "ops",
            "prepend",
            "stop_gradient",
        }
    )

    def header(self, spec: Spec, class_name: str) -> list[str]:
        return [
            f'"""{spec.name} on JAX, emitted by latentroles from spec {spec.hash}.',
            "",
            "The class has no modules by itself: lr.compile(spec, backend=...) builds it.",
            '"""',
            "",
            "import equinox as eqx",
            "import jax",
            "import jax.numpy as jnp",
            "from jax.lax import stop_gradient",
            "from latentroles.spec.array_functions import functions as losses",
            "from latentroles_jax import ops",
            "from latentroles_jax.model import Model, Outputs",
            "from latentroles_jax.ops import each, frozen, prepend",
        ]

    def class_lines(self, spec: Spec, class_name: str) -> list[str]:
        lines = [f"class {class_name}(Model):"]
        for m in spec.modules.values():
            lines.append(f"    {m.name}: eqx.Module")
        for t in spec.targets.values():
            lines.append(f"    {t.name}: eqx.Module  # EMA of {t.of}")
        return lines

    def forward(self) -> str:
        return "def __call__(self, batch, noise=None, state=None, step=0):"

    def stop(self, operand: Code) -> Code:
        return Code(f"stop_gradient({operand})")

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
            return Code(f"jnp.concatenate([{', '.join(operands)}], axis=-1)")
        if name == "slice":
            return Code(f"{x.atom()}[..., {arguments[0]}:{arguments[1]}]")
        if name == "one_hot":
            return Code(f"ops.one_hot({x}, {arguments[0]}, self.dtype)")
        if name == "reshape":
            lead = f"*{x.atom()}.shape[:{len(t.axes)}]"
            return Code(f"{x.atom()}.reshape({', '.join([lead, *map(str, arguments[0])])})")
        if name == "random_crop":
            return Code(f"ops.random_crop({x}, {operands[1]}, {arguments[0]})")
        if name in ("mean", "sum"):
            return Code(f"jnp.{name}({x}, axis={dims_of(arguments[0], t)})")
        if name in ("abs", "relu", "sigmoid", "avg_pool2d", "normalise"):
            return Code(f"ops.{name}({', '.join([x, *map(str, arguments)])})")
        return Code(f"jnp.{name}({x})")

    def apply(self, spec: Spec, node: Node, module: str, operands: list[Code]) -> Code:
        axes = len(node.type.axes)
        if axes == 0:
            return Code(f"{module}({', '.join(operands)})")
        if axes == 1:
            return Code(f"jax.vmap({module})({', '.join(operands)})")
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
        step = writer.free(f"{body.carries[0].removesuffix('_t')}_step")
        carry = _tuple(body.carries)
        writer.write()
        writer.write(f"def {step}({'carry' if len(body.carries) > 1 else carry}, {_entry(body)}):")
        with writer.indented():
            if len(body.carries) > 1:
                writer.write(f"{carry} = carry")
            if len(body.xs) > 1:
                writer.write(f"{_tuple(body.xs)} = entry")
            values = body.write(writer)
            writer.write(f"return {carry}, {_tuple(values)}")
        writer.write()
        sequences = zip(body.sequences, body.positions, strict=True)
        xs = [f"jnp.moveaxis({s}, {position}, 0)" for s, position in sequences]
        arguments = [step, _tuple(body.inits), _tuple(xs) if xs else "None"]
        if not xs:
            arguments.append(f"length={body.steps}")
        writer.write(f"_, {_tuple(taps)} = jax.lax.scan({', '.join(arguments)})")
        for tap, position in body.collected:
            writer.write(f"{tap} = jnp.moveaxis({tap}, 0, {position})")


def dims_of(over: str, type: Type) -> tuple[int, ...]:
    """The axes that a mean or a sum runs over."""
    if over == "event":
        return tuple(range(-len(type.shape), 0))
    return (type.position(over),)


def _entry(body: LoopBody) -> str:
    return {0: "_", 1: body.xs[0] if body.xs else "_"}.get(len(body.xs), "entry")


def _tuple(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"
