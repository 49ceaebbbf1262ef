"""From a Plan to source text: one class that reads top to bottom like a model written by hand."""

import keyword
import re

from ..routes import routes
from .build import Plan
from .dialect import Dialect
from .writer import Writer


def class_name(name: str) -> str:
    """The emitted class of a spec: `hzp` becomes Hzp, `seq-jepa` becomes SeqJepa."""
    words = "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").split("_"))
    taken = words in ("Model", "Outputs") or keyword.iskeyword(words)
    return f"{words}Spec" if taken else words


def generate(
    plan: Plan, latents: dict[str, Plan], dialect: Dialect, shown: dict[str, Plan] | None = None
) -> str:
    """The source of a phase's step and of one `encode_NAME` method per latent.

    Args:
        shown: "measures" and "pictures", each a method `_measures` or `_pictures` of its own.
    """
    spec = plan.spec
    name = class_name(spec.name)
    head, *attributes = dialect.class_lines(spec, name)
    lines = [head, f'    """{_summary(plan)}"""', "", *attributes]
    lines += ["", f"    {dialect.forward()}", *_step(plan, dialect)]
    for latent, its_plan in latents.items():
        lines += ["", *_encode(latent, its_plan, dialect)]
    for what, its_plan in (shown or {}).items():
        lines += ["", *_values(what, its_plan, dialect)]
    text = "\n".join(lines)
    return "\n".join([*_used(dialect.header(spec, name), text), "", "", text]) + "\n"


def _used(header: list[str], text: str) -> list[str]:
    """The header with the imports that the text uses."""
    words, kept = set(re.findall(r"\w+", text)), []
    for line in header:
        start, imports, names = line.partition("import ")
        if not imports:
            kept.append(line)
            continue
        used = [n for n in names.split(", ") if n.split(" as ")[-1].split(".")[0] in words]
        if used:
            kept.append(f"{start}import {', '.join(used)}")
    return kept


def _summary(plan: Plan) -> str:
    count = len(plan.losses)
    text = f"Phase {plan.phase.name}: {count} loss{'es' if count != 1 else ''}."
    twins = ", ".join(f"{name} {n} more" for name, n in plan.twins.items())
    # Two losses that need different gradients through one value need two computations of it.
    return f"{text} Applied again for another gradient: {twins}." if twins else text


def _leaves(plan: Plan, *groups: str) -> list[str]:
    read = {n.attrs[1] for n in plan.nodes() if n.kind == "leaf" and n.attrs[0] in groups}
    return [n for n in [*plan.spec.inputs, *plan.spec.states] if n in read]


def columns(plan: Plan) -> list[str]:
    """The batch columns that a plan reads, in order of declaration."""
    return _leaves(plan, "observation", "action", "label")


def _step(plan: Plan, dialect: Dialect) -> list[str]:
    names, table = columns(plan), routes(plan.spec)
    writer = Writer(dialect, plan)
    # A loss has a variable of its own name, unless the method needs that name for something else.
    variables = {name: writer.free(name) for name in plan.losses}
    for name, ref in plan.losses.items():
        updated = ", ".join(m for m in plan.spec.modules if m in table[name].modules)
        writer.write(f"# {name} updates {updated or 'nothing'}")
        writer.ready(ref.node)
        writer.assign(variables[name], ref)
        writer.write()
    for ref in plan.updates.values():
        writer.ready(ref.node)
    after = {name: str(writer.array(ref)) for name, ref in plan.updates.items()}
    latents = {name: str(writer.array(ref)) for name, ref in plan.latents.items()}
    zero = "self.full((), 0.0)"
    terms = [_weighted(plan, name, variable) for name, variable in variables.items()]
    writer.block("total = ", "(", [*terms[:1], *(f"+ {t}" for t in terms[1:])] or [zero], ")", " ")
    writer.write("return Outputs(")
    with writer.indented():
        for field, items in (
            ("losses", variables),
            ("total", None),
            ("latents", latents),
            ("state", after),
        ):
            if items is None:
                writer.write("total=total,")
            else:
                pairs = [f'"{k}": {v},' for k, v in items.items()]
                writer.block(f"{field}=", "{", pairs, "},", " ")
    writer.write(")")
    return [*_prologue(writer, names or _measured(writer), read=True), *writer.lines]


def _measured(writer: Writer) -> list[str]:
    """A column to take the sizes from, where they are needed and no column is read for itself."""
    return list(writer.columns)[:1] if writer.sizes else []


def _encode(latent: str, plan: Plan, dialect: Dialect) -> list[str]:
    names = columns(plan)
    writer = Writer(dialect, plan)
    ref = plan.roots[0]
    writer.ready(ref.node)
    writer.write(f"return {writer.array(ref)}")
    names = names or _measured(writer)
    parameters = ["self", *(writer.columns[n] for n in names), "noise=None", "state=None"]
    head = f"    def encode_{latent}({', '.join(parameters)}):"
    return [head, *_prologue(writer, names, read=False), *writer.lines]


def _values(what: str, plan: Plan, dialect: Dialect) -> list[str]:
    """A method that gives named values by themselves."""
    names = columns(plan)
    writer = Writer(dialect, plan)
    for ref in plan.roots:
        writer.ready(ref.node)
    pairs = [f'"{name}": {writer.array(ref)},' for name, ref in plan.latents.items()]
    writer.block("return ", "{", pairs, "}", " ")
    head = f"    def _{what}(self, batch, noise=None, state=None):"
    prologue = _prologue(writer, names or _measured(writer), read=True, least=plan.frames)
    return [head, *prologue, *writer.lines]


def _prologue(
    writer: Writer, names: list[str], *, read: bool, least: int | None = None
) -> list[str]:
    """What a method needs before the first value: its inputs, its sizes, its frozen modules.

    Args:
        least: the smallest T, where that of the losses does not matter.
    """
    plan, lines = writer.plan, []
    if read and names:
        asked = ", ".join(f'"{n}"' for n in names)
        asked += "" if least is None else f", frames={least}"
        local = ", ".join(writer.columns[n] for n in names)
        lines.append(f"{local} = self.read(batch, {asked})")
    for what in ("noise", "state"):
        if _leaves(plan, what):
            lines.append(f'{what} = self.given({what}, "{what}")')
    if writer.sizes and names:
        frames = [n for n in names if not plan.spec.inputs[n].type.time]
        column = (frames or names)[0]
        missing, local = plan.spec.inputs[column].type.time or 0, writer.columns[column]
        if "B" in writer.sizes:
            lines.append(f"B = {local}.shape[0]")
        if "T" in writer.sizes:
            lines.append(f"T = {local}.shape[1]" + (f" + {missing}" if missing else ""))
    lines += [f"{name} = {writer.dialect.frozen(m)}" for m, name in writer.frozen.items()]
    return ["        " + line for line in lines] + ([""] if read else [])


def _weighted(plan: Plan, name: str, variable: str) -> str:
    weight = plan.spec.losses[name].weight
    if not isinstance(weight, float):
        return f'self.weight("{name}", step) * {variable}'
    return variable if weight == 1.0 else f"{weight!r} * {variable}"
