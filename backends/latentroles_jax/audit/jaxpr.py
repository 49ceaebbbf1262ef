"""The walk over a jaxpr that finds what depends on what, and where gradient ends.

Each call is walked where it stands, so that the cost is linear in the program as the compiler sees
it. A loop's body is walked once: its carries are edges that lead back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from .graph import CONSTANT, MIXED, NOT_DIFFERENTIABLE, STOP_GRADIENT, Graph, Stop
from .marks import marked

# From floating point to floating point, with a derivative that is 0 wherever there is one.
_FLAT = frozenset({"ceil", "floor", "nextafter", "round", "sign", "bitcast_convert_type"})
# JAX calls back into Python and knows no derivative.
_OUTSIDE = frozenset({"io_callback", "pure_callback", "ffi_call"})
# Output i is operand i, moved or summed.
_BY_POSITION = frozenset(
    {"device_put", "optimization_barrier", "pbroadcast", "psum", "psum_invariant", "pvary"}
)
_CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2", "shard_map"}
)


def is_differentiable(aval: Any) -> bool:
    """Whether values of this type carry gradient: floating point and complex numbers do."""
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.inexact)


class Walk:
    """Adds a program to a graph.

    Args:
        graph: that grows.
        rules: whether custom derivative rules decide what gradient passes. Without, the value of
            an output decides, as it must inside the derivative of a program.
    """

    def __init__(self, graph: Graph, rules: bool = True):
        self.graph, self.rules = graph, rules
        self._stop: Stop | None = None  # stands before a body that a rule replaces

    def program(self, jaxpr: Any, inputs: Sequence[int]) -> list[int]:
        """Adds a jaxpr, open or closed, whose inputs are the nodes `inputs`.

        Returns:
            The node of each output.
        """
        jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
        nodes = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable in jaxpr.constvars:
            nodes[variable] = self.constant(variable)
        for equation in jaxpr.eqns:
            sources = [self._read(nodes, v) for v in equation.invars]
            outputs = self._equation(equation, sources)
            nodes.update(zip(equation.outvars, outputs, strict=True))
        return [self._read(nodes, v) for v in jaxpr.outvars]

    def constant(self, variable: Any) -> int:
        return self.graph.node(is_differentiable(variable.aval), CONSTANT)

    def _read(self, nodes: dict[Any, int], variable: Any) -> int:
        if isinstance(variable, core.Literal):
            return self.constant(variable)
        return nodes[variable]

    def _equation(self, equation: Any, sources: list[int]) -> list[int]:
        name = equation.primitive.name
        if name == "scan":
            return self._scan(equation, sources)
        if name == "while":
            return self._while(equation, sources)
        if name == "cond":
            return self._cond(equation, sources)
        inner = list(_programs(equation.params))
        if inner and name.startswith(("custom_jvp_call", "custom_vjp_call")):
            return self._custom(equation, sources, inner[0])
        if len(inner) == 1 and _is_call(equation, inner[0]):
            return self.program(inner[0], sources)
        if inner:
            return self._unknown(equation, sources, inner)
        return self._operation(equation, sources)

    # A value from its operands --------------------------------------------------------------

    def _operation(self, equation: Any, sources: list[int]) -> list[int]:
        outputs = [self._output(v, sources) for v in equation.outvars]
        name = equation.primitive.name
        latent = marked(equation.params)
        for i, node in enumerate(outputs):
            if latent is not None:
                self.graph.names[node] = latent
            own = sources[i : i + 1] if name in _BY_POSITION else sources
            for j, source in enumerate(own):
                # The keys of a sort move the other operands, with no derivative.
                cut = name == "sort" and i != j
                self._edge(node, source, self._cut(equation, node, cut))
        for variable, node in zip(equation.invars, sources, strict=True):
            if hasattr(variable.aval, "inner_aval"):  # a reference: it holds what is written to it
                for source in sources:
                    self._edge(node, source)
        return outputs

    def _cut(self, equation: Any, node: int, cut: bool = False) -> Stop | None:
        """The stop between an operation's operands and its result, if it has one."""
        name = equation.primitive.name
        if self._stop is not None or not self.rules:
            return self._stop
        if name == STOP_GRADIENT:
            return _stop(STOP_GRADIENT, equation)
        if cut or name in _FLAT or name in _OUTSIDE or not self.graph.differentiable[node]:
            kind = equation.params.get("new_dtype")
            said = f"conversion to {jnp.dtype(kind).name}" if kind is not None else name
            return _stop(f"{NOT_DIFFERENTIABLE}: {said}", equation)
        return None

    def _output(self, variable: Any, sources: Sequence[int]) -> int:
        return self._like(variable, self.graph.join(sources))

    def _edge(self, node: int, source: int, stop: Stop | None = None) -> None:
        self.graph.edge(node, source, self._stop or stop)

    def _like(self, variable: Any, owner: int = MIXED) -> int:
        differentiable = is_differentiable(variable.aval) or not self.rules
        return self.graph.node(differentiable and self._stop is None, owner)

    # Programs inside a program --------------------------------------------------------------

    def _scan(self, equation: Any, sources: list[int]) -> list[int]:
        params = equation.params
        body = params["jaxpr"].jaxpr
        n_consts, n_carry = _sizes(params)
        consts, init, xs = _split(sources, n_consts, n_carry)
        carries = [self._like(v) for v in body.invars[n_consts : n_consts + n_carry]]
        for carry, start in zip(carries, init, strict=True):
            self._edge(carry, start)
        # A slice of stacked parameters, as of a stack of layers, still is a parameter.
        slices = [
            self._like(v, self.graph.owner[x])
            for v, x in zip(body.invars[n_consts + n_carry :], xs, strict=True)
        ]
        for piece, x in zip(slices, xs, strict=True):
            self._edge(piece, x)
        outputs = self.program(body, [*consts, *carries, *slices])
        if params["length"] > 1:
            for carry, following in zip(carries, outputs[:n_carry], strict=True):
                self._edge(carry, following)
        return self._results(equation, [[out] for out in outputs])

    def _while(self, equation: Any, sources: list[int]) -> list[int]:
        params = equation.params
        test, body = params["cond_jaxpr"].jaxpr, params["body_jaxpr"].jaxpr
        of_test, of_body, init = _split(sources, params["cond_nconsts"], params["body_nconsts"])
        carries = [self._like(v) for v in body.invars[len(of_body) :]]
        for carry, start in zip(carries, init, strict=True):
            self._edge(carry, start)
        (goes_on,) = self.program(test, [*of_test, *carries])
        outputs = self.program(body, [*of_body, *carries])
        for carry, following in zip(carries, outputs, strict=True):
            self._edge(carry, following)
            self._edge(carry, goes_on)
        return self._results(equation, [[carry] for carry in carries])

    def _cond(self, equation: Any, sources: list[int]) -> list[int]:
        index, *operands = sources
        taken = [self.program(branch, operands) for branch in equation.params["branches"]]
        return self._results(equation, [[index, *outs] for outs in zip(*taken, strict=True)])

    def _unknown(self, equation: Any, sources: list[int], inner: list[Any]) -> list[int]:
        """Every output depends on every input, and on everything that the programs inside give."""
        given = list(sources)
        for program in inner:
            program = getattr(program, "jaxpr", program)
            inputs = [self._like(v) for v in program.invars]
            for node in inputs:
                for source in sources:
                    self._edge(node, source)
            given += self.program(program, inputs)
        return self._results(equation, [given for _ in equation.outvars])

    def _results(self, equation: Any, given: list[list[int]]) -> list[int]:
        outputs = [self._like(v) for v in equation.outvars]
        for node, sources in zip(outputs, given, strict=True):
            for source in sources:
                self._edge(node, source, self._cut(equation, node))
        return outputs

    # Custom derivative rules ----------------------------------------------------------------

    def _custom(self, equation: Any, sources: list[int], body: Any) -> list[int]:
        if self._stop is not None or not self.rules:
            return self.program(body, sources)
        kind = equation.primitive.name[: len("custom_jvp")]
        stop = _stop(f"{kind} of {_function_name(body)}", equation)
        passed = _passed_by_rule(equation, body)
        self._stop = stop
        values = self.program(body, sources)
        self._stop = None
        outputs = []
        for i, variable in enumerate(equation.outvars):
            live = [source for j, source in enumerate(sources) if (j, i) in passed]
            node = self._like(variable, self.graph.join(live) if live else MIXED)
            for source in live:
                self._edge(node, source)
            self._edge(node, values[i], stop)
            outputs.append(node)
        return outputs


def _sizes(params: Any) -> tuple[int, int]:
    """How many constants and carries a scan has."""
    if "num_carry" in params:  # JAX 0.10; in 0.12 the operands stand in a tree
        return params["num_consts"], params["num_carry"]
    consts, carries, _ = params["ft_in"].unpack()
    return len(consts), len(carries)


def _is_call(equation: Any, program: Any) -> bool:
    """Whether an equation runs the program inside it on its own operands."""
    program = getattr(program, "jaxpr", program)
    inside = [*program.invars, *program.outvars]
    outside = [*equation.invars, *equation.outvars]
    if len(program.invars) != len(equation.invars) or len(inside) != len(outside):
        return False
    return equation.primitive.name in _CALLS or all(
        getattr(v.aval, "shape", None) == getattr(w.aval, "shape", None)
        for v, w in zip(inside, outside, strict=True)
    )


def _programs(values: Any) -> Iterator[Any]:
    """The jaxprs in an equation's parameters, wherever they stand."""
    if isinstance(values, (core.Jaxpr, core.ClosedJaxpr)):
        yield values
    elif isinstance(values, dict):
        yield from _programs(list(values.values()))
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _programs(value)


def _passed_by_rule(equation: Any, body: Any) -> set[tuple[int, int]]:
    """Which (operand, output) pairs a custom derivative rule connects.

    The equation is differentiated on its own, symbolically; a cotangent that an output receives
    either enters what an operand gets back, or does not. A rule that needs the axes of a mesh
    around it cannot be, and counts as one that passes everything; one that refuses passes nothing.
    """
    invars = list(dict.fromkeys(v for v in equation.invars if not isinstance(v, core.Literal)))
    debug = getattr(body, "jaxpr", body).debug_info
    alone = core.Jaxpr((), invars, equation.outvars, [equation], equation.effects, debug)
    function = core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))
    moved = [i for i, v in enumerate(invars) if is_differentiable(v.aval)]
    pulled = [i for i, v in enumerate(equation.outvars) if is_differentiable(v.aval)]
    if not moved or not pulled:
        return set()

    def backward(inputs: list[Any], cotangents: list[Any]) -> Any:
        def of_moved(*floats: Any) -> list[Any]:
            values = list(inputs)
            for i, value in zip(moved, floats, strict=True):
                values[i] = value
            outputs = function(*values)
            return [outputs[i] for i in pulled]

        return jax.vjp(of_moved, *(inputs[i] for i in moved))[1](cotangents)

    shapes = [_shape(v.aval) for v in invars], [_shape(equation.outvars[i].aval) for i in pulled]
    try:
        program = jax.make_jaxpr(backward)(*shapes)
    except NameError:  # "unbound axis name"
        return {(i, j) for i in range(len(equation.invars)) for j in pulled}
    except Exception:
        return set()
    graph = Graph()
    inputs = [graph.node(True) for _ in program.jaxpr.invars]
    returned = Walk(graph, rules=False).program(program, inputs)
    cotangents = dict(zip(inputs[len(invars) :], pulled, strict=True))
    passed = {
        invars[i]: [cotangents[node] for node in graph.depends(back) & cotangents.keys()]
        for i, back in zip(moved, returned, strict=True)
    }
    return {
        (place, output)
        for place, variable in enumerate(equation.invars)
        if not isinstance(variable, core.Literal)
        for output in passed.get(variable, ())
    }


def _shape(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _function_name(program: Any) -> str:
    """The name of the user's function that became this program."""
    info = getattr(getattr(program, "jaxpr", program), "debug_info", None)
    return str(getattr(info, "func_src_info", "") or "a function").split(" at ")[0]


def _stop(what: str, equation: Any) -> Stop:
    return Stop(what, equation.source_info.traceback)


def _split(sources: list[int], *sizes: int) -> list[list[int]]:
    """`sources` in pieces of these sizes, and the rest."""
    pieces = []
    for size in sizes:
        pieces.append(sources[:size])
        sources = sources[size:]
    return [*pieces, sources]
