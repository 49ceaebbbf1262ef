"""The torch modules of neutral layers that `torch.nn` has no equal of.

Each takes (N, *event); its parameters have the neutral names and layout. Those made here are on
the meta device or empty: `layers.build` gives them their values.
"""

import math

import torch
from torch import Tensor


class GRU(torch.nn.Module):
    """The one-bias cell of `latentroles.spec.nn.GRU`, in its two parts."""

    def __init__(self, inputs: int, hidden: int, device: str):
        super().__init__()
        self.weight_input = torch.nn.Parameter(torch.empty(3 * hidden, inputs, device=device))
        self.weight_hidden = torch.nn.Parameter(torch.empty(3 * hidden, hidden, device=device))
        self.bias = torch.nn.Parameter(torch.empty(3 * hidden, device=device))

    def project(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, self.weight_input, self.bias)

    def step(self, h: Tensor, projected: Tensor) -> Tensor:
        p_reset, p_update, p_new = projected.chunk(3, dim=-1)
        q_reset, q_update, q_new = torch.nn.functional.linear(h, self.weight_hidden).chunk(3, -1)
        reset = torch.sigmoid(p_reset + q_reset)
        update = torch.sigmoid(p_update + q_update)
        new = torch.tanh(p_new + reset * q_new)
        return new + update * (h - new)

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        return self.step(h, self.project(x))


class Residual(torch.nn.Module):
    """shortcut(x) + body(x), or x + body(x)."""

    def __init__(self, body: torch.nn.Module, shortcut: torch.nn.Module | None):
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return (x if self.shortcut is None else self.shortcut(x)) + self.body(x)


class ForEach(torch.nn.Module):
    """The body on each entry of the event's first axis, which is folded into the leading one."""

    def __init__(self, body: torch.nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Attention(torch.nn.Module):
    """`latentroles.spec.nn.Attention`; `mask` is its table, or None.

    It is written out: torch's fused attention has no derivative under `torch.func.jvp`, and no
    rule for `torch.vmap`.
    """

    def __init__(
        self,
        qkv: torch.nn.Module,
        output: torch.nn.Module,
        heads: int,
        causal: bool,
        mask: tuple[tuple[bool, ...], ...] | None,
    ):
        super().__init__()
        self.qkv, self.output = qkv, output
        self.heads, self.causal, self.mask = heads, causal, mask

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        mask = self.allowed(x)
        if mask is None:
            y = scores.softmax(-1) @ v
        else:
            blind = ~mask.any(1, keepdim=True)
            # A softmax over nothing is no number: tokens that read none read all, then forget it.
            scores = scores.masked_fill(~(mask | blind), -math.inf)
            y = (scores.softmax(-1) @ v).masked_fill(blind, 0.0)
        return self.output(y.transpose(1, 2).flatten(2))

    def allowed(self, x: Tensor) -> Tensor | None:
        """Which token may read which, (tokens, tokens); None where each may read all."""
        if self.mask is not None:
            return torch.tensor(self.mask, device=x.device)
        if not self.causal:
            return None
        tokens = x.shape[1]
        return torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).tril()


class PrependToken(torch.nn.Module):
    """A learned token in front of the others."""

    def __init__(self, dim: int, device: str):
        super().__init__()
        self.token = torch.nn.Parameter(torch.empty(dim, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.token.expand(len(x), 1, -1), x], dim=1)


class Positions(torch.nn.Module):
    """x + weight."""

    def __init__(self, count: int, dim: int, device: str):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(count, dim, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class Take(torch.nn.Module):
    """One entry of the event's first axis."""

    def __init__(self, index: int):
        super().__init__()
        self.index = index

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.index]
