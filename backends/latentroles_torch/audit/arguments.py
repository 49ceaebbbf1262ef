"""What a user hands to an audit: checked, and in one form."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from latentroles.audit.names import named, received
from latentroles.audit.observed import Optimiser, own_losses
from latentroles.errors import AuditError, user_line

Members: TypeAlias = dict[str, nn.Module | Tensor]  # what one name of `modules=` stands for


def losses_of(losses: object) -> dict[str, Tensor]:
    """Returns {name: loss}, each a scalar with a graph.

    Raises:
        AuditError: it is no dict of names, or a loss is not such a tensor.
    """
    found = named("losses", losses, '{"actor": actor_loss}')
    for name, loss in found.items():
        require_loss(name, loss)
    return found


def require_loss(name: str, loss: object) -> None:
    """Refuses a loss whose graph cannot be read.

    Raises:
        AuditError: it is no tensor, no scalar, or needs no gradient.
    """
    if not isinstance(loss, Tensor):
        raise AuditError(
            f"{user_line()}loss {name!r} must be a tensor with its graph, received "
            f"{type(loss).__name__}. Fix: pass the loss as it was before `.item()` or `float()`."
        )
    if loss.is_inference():
        raise AuditError(
            f"{user_line()}loss {name!r} was computed in inference mode, where autograd records "
            "nothing. Fix: compute it outside of `torch.inference_mode()`."
        )
    if loss.numel() != 1:
        raise AuditError(
            f"{user_line()}loss {name!r} must be a scalar, received the shape "
            f"{tuple(loss.shape)}. Fix: reduce it as the training code does, such as "
            "`loss.mean()`."
        )
    if not loss.requires_grad:
        raise AuditError(
            f"{user_line()}loss {name!r} needs no gradient: it was detached, computed under "
            "`torch.no_grad()`, or read frozen parameters alone. Fix: audit the tensor that "
            "`backward()` is called on."
        )


def latents_of(latents: object) -> dict[str, Tensor]:
    """Returns {name: tensor}; {} for None and for {}.

    Raises:
        AuditError: it is no dict of names, or a latent is no tensor.
    """
    found = {} if latents in (None, {}) else named("latents", latents, '{"z": z}')
    for name, latent in found.items():
        if not isinstance(latent, Tensor):
            raise AuditError(
                f"{user_line()}latent {name!r} must be the very tensor that the losses read, "
                f"received {type(latent).__name__}."
            )
    return found


def members_of(modules: object) -> dict[str, Members]:
    """Returns {name: what it stands for}.

    A value is an `nn.Module`, a parameter, or an iterable or a dict of these; in the place of the
    dict, an `nn.Module` stands for its children and its own parameters.

    Raises:
        AuditError: it is no dict of names, or a value is none of these.
    """
    if isinstance(modules, nn.Module):
        modules = _children(modules)
    found = named("modules", modules, '{"encoder": encoder}')
    return {name: _members(name, value) for name, value in found.items()}


def _children(module: nn.Module) -> dict[str, nn.Module | Tensor]:
    """What has parameters; one child under two names is both, which `named_children` hides."""
    parts = {**module._modules, **module._parameters}
    found = {
        name: part
        for name, part in parts.items()
        if isinstance(part, Tensor) or (part is not None and any(True for _ in part.parameters()))
    }
    if not found:
        raise AuditError(
            f"{user_line()}modules= is a {type(module).__name__} without parameters: there is "
            'nothing to audit in it. Fix: modules={"encoder": encoder}.'
        )
    return found


def _members(name: str, value: object) -> Members:
    if isinstance(value, nn.Module):
        return {"": value}
    if isinstance(value, Tensor):
        return {name: value}
    parts: dict[str, Any] = {}
    if isinstance(value, Mapping):
        parts = {str(key): part for key, part in value.items()}
    elif isinstance(value, Iterable):
        for i, part in enumerate(value):
            # `named_parameters()` gives pairs
            pair = isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], str)
            parts.update([part] if pair else [(str(i), part)])
    wrong = next((p for p in parts.values() if not isinstance(p, (nn.Module, Tensor))), None)
    if not isinstance(value, (Mapping, Iterable)) or wrong is not None:
        received = value if wrong is None else wrong
        raise AuditError(
            f"{user_line()}module {name!r} must be an nn.Module, or parameters, received "
            f"{type(received).__name__}. Fix: {{{name!r}: module}} or "
            f"{{{name!r}: [parameter, ...]}}."
        )
    return parts


def parameters_of(members: Members) -> dict[str, Tensor]:
    """{path: parameter} as they are now; a plain tensor counts as a parameter.

    Raises:
        AuditError: a lazy module has not been run yet, or a tensor is no leaf.
    """
    found: dict[str, Tensor] = {}
    for key, member in members.items():
        if isinstance(member, nn.Module):
            found |= dict(member.named_parameters(prefix=key))
        else:
            found[key] = _leaf(key, member)
    lazy = next((path for path, p in found.items() if nn.parameter.is_lazy(p)), None)
    if lazy is not None:
        raise AuditError(
            f"{user_line()}parameter {lazy!r} has no shape yet. Fix: run its module once before "
            "the audit, and before its optimiser is built."
        )
    return found


def _leaf(name: str, tensor: Tensor) -> Tensor:
    if tensor.is_leaf:
        return tensor
    raise AuditError(
        f"{user_line()}{name!r} in modules= was computed from other tensors: no gradient is kept "
        "in it, and no optimiser can move it. Fix: pass the parameters that it comes from."
    )


def buffers_of(members: Members) -> dict[str, Tensor]:
    """{path: buffer} as they are now."""
    found: dict[str, Tensor] = {}
    for key, member in members.items():
        if isinstance(member, nn.Module):
            found |= dict(member.named_buffers(prefix=key))
    return found


def require_content(contents: Mapping[str, Mapping[str, Tensor]], kind: str) -> None:
    """Refuses modules that hold nothing.

    Args:
        contents: {module: {path: tensor}}. kind: what the tensors are.

    Raises:
        AuditError: a module has none.
    """
    for name, own in contents.items():
        if not own:
            raise AuditError(
                f"{user_line()}module {name!r} has no {kind}: there is nothing to audit in it. "
                "Fix: leave it out of modules=."
            )


Given: TypeAlias = dict[str, tuple[torch.optim.Optimizer, tuple[str, ...] | None]]


def optimisers_given(optimizers: object) -> Given:
    """Returns {name: (optimiser, the losses listed with it)}; {} for None and for {}.

    Raises:
        AuditError: it is no dict of names, or a value is neither an optimiser nor such a pair.
    """
    if optimizers in (None, {}):
        return {}
    given: Given = {}
    for name, value in named("optimizers", optimizers, '{"actor": actor_optimizer}').items():
        optimiser, own = value, None
        if isinstance(value, tuple) and len(value) == 2:
            optimiser, own = value
            if isinstance(own, str) or not isinstance(own, Iterable):
                example = repr(own) if isinstance(own, str) else "'loss'"
                raise AuditError(
                    f"{user_line()}optimizers[{name!r}] lists its losses as {received(own)}. Fix: "
                    f"{{{name!r}: (optimizer, [{example}])}}."
                )
            own = tuple(own)
        if not isinstance(optimiser, torch.optim.Optimizer):
            raise AuditError(
                f"{user_line()}optimizers[{name!r}] must be a torch.optim.Optimizer, or "
                f"(optimizer, [losses]), received {type(value).__name__}."
            )
        given[name] = optimiser, own
    return given


def optimisers_of(given: Given, losses: Iterable[str]) -> dict[str, Optimiser]:
    """Returns {name: Optimiser}; one of no loss each, where no loss is known.

    Raises:
        AuditError: the losses do not add up.
    """
    known = tuple(losses)
    owned = own_losses({name: own for name, (_, own) in given.items()}, known) if known else {}
    return {
        name: Optimiser(
            owned.get(name, frozenset()), frozenset(map(id, parameters_held({name: one})))
        )
        for name, one in given.items()
    }


def parameters_held(given: Given) -> list[Tensor]:
    """What the optimisers hold."""
    groups = [group for optimiser, _ in given.values() for group in optimiser.param_groups]
    return [p for group in groups for p in group["params"]]


def memory_of(parameter: Tensor) -> Hashable:
    """Where the numbers of a parameter lie: `p.data = q.data` makes two of them one."""
    plain = type(parameter) in (Tensor, nn.Parameter) and parameter.layout is torch.strided
    start = parameter.untyped_storage().data_ptr() if plain and parameter.numel() else 0
    return (start, parameter.storage_offset()) if start else id(parameter)
