"""The smallest model in which a loss says something of a latent, whatever the latent's role."""

from collections.abc import Mapping
from functools import cached_property

from .. import roles
from ..spec import nn
from ..spec.augment import augment
from ..spec.declarations import Discrete, Module, Target
from ..spec.expr import Expr
from ..spec.ops import concat, prepend, zeros
from ..spec.scan import rollout, scan
from ..spec.spec import Spec

FRAME, DIM, ACTIONS, K = (3, 8, 8), 4, 3, 4
# DESCRIPTOR has the contract of PLACE, and stands for no other latent here.
ROLES = (roles.PLACE, roles.DYNAMICS, roles.POSE, roles.EQUIVARIANT, roles.AGGREGATE)


class Tiny:
    """Frames x, actions a, and a live latent u: PLACE and EQUIVARIANT are encoder(x_t), DYNAMICS is
    a recurrent state of frames and actions, POSE adds up moves that are computed from both,
    AGGREGATE sums up two frames and the action between them.

    Attributes:
        s: the Spec, to which a loss adds its heads.
        u: the latent (batch, time, n).
        x, a, act: the frames, the actions, the actions as one-hot codes.
        makers: the modules that make the latent.
    """

    def __init__(self, role: roles.Role):
        self.s = Spec(role.name)
        self.role = role
        self.x = self.s.observation("x", FRAME)
        self.a = self.s.action("a", Discrete(ACTIONS))
        self.act = self.a.one_hot()
        self.encoder = self.head("encoder", nn.conv_encoder(FRAME, DIM, channels=(4,)))
        if role is roles.DYNAMICS:
            self.head("step", nn.gru(DIM + ACTIONS, DIM))
        elif role in (roles.POSE, roles.AGGREGATE):
            self.mlp("step", 2 * DIM + ACTIONS)
        self.makers = frozenset(self.s.modules)
        made, self._moves = self._make(self.x, self.s.modules)
        self.u = self.s.latent("u", made, role=role)

    def _make(
        self, frames: Expr, modules: Mapping[str, Module | Target]
    ) -> tuple[Expr, Expr | None]:
        """The latent that the makers among `modules` make of some frames, and its moves where it
        adds them up."""
        codes = modules["encoder"](frames)
        if self.role in (roles.PLACE, roles.EQUIVARIANT):
            return codes, None
        step = modules["step"]
        if self.role is roles.AGGREGATE:
            before = prepend(zeros(DIM), codes.t[:-1])
            return step(concat(before, codes, prepend(zeros(ACTIONS), self.act))), None
        read = concat(codes.t[:-1], self.act)
        if self.role is roles.DYNAMICS:
            return scan(step, init=zeros(DIM), xs=read), None

        def move(p: Expr, now: Expr) -> tuple[Expr, Expr]:
            dp = step(concat(p, now))
            return p + dp, dp

        return scan(move, init=zeros(DIM), xs=read)

    @cached_property
    def view(self) -> Expr:
        """The latent of augmented frames."""
        return self._make(augment(self.x, noise=0.1, label="view"), self.s.modules)[0]

    @cached_property
    def kept(self) -> Expr:
        """The latent of the frames as targets make it that follow its makers."""
        return self._make(self.x, {m: self.target(m) for m in self.makers})[0]

    @cached_property
    def decoder(self) -> Module:
        return self.head("decoder", nn.conv_decoder(DIM, FRAME, channels=(4,)))

    @cached_property
    def delta(self) -> Expr:
        """u_{t+1} - u_t; of a pose, its moves."""
        return self.u.t[1:] - self.u.t[:-1] if self._moves is None else self._moves

    @cached_property
    def pair(self) -> Expr:
        """u_t and u_{t+1}."""
        return concat(self.u.t[:-1], self.u.t[1:])

    @cached_property
    def guess(self) -> Expr:
        """predictor(u_t, a_t)."""
        return self.predicted(self.u)

    @cached_property
    def ahead(self) -> Expr:
        """u^_{t+1}, ..., u^_{t+K}: open loop from u_t, which is live."""
        step = self.mlp("predictor", DIM + ACTIONS)
        start = self.u.t[:-K]
        return rollout(lambda u, a: step(concat(u, a)), start=start, xs=self.act, horizon=K)

    @cached_property
    def drawn_delta(self) -> Expr:
        """decoder(u^_{t+j}) - decoder(u^_{t+j-1}), j = 1..K."""
        frames = self.decoder(self.ahead)
        return frames - prepend(self.decoder(self.u.t[:-K]), frames.k[:-1])

    @cached_property
    def seen_delta(self) -> Expr:
        """x_{t+j} - x_{t+j-1}, j = 1..K."""
        return (self.x.t[1:] - self.x.t[:-1]).windows(K)

    def predicted(self, latent: Expr) -> Expr:
        """What a predictor makes of a latent at t and of a_t."""
        return self.mlp("predictor", DIM + ACTIONS)(concat(latent.t[:-1], self.act))

    def target(self, module: str) -> Target:
        return self.s.target(self.s.modules[module], decay=0.99)

    def head(self, name: str, layer: nn.Layer) -> Module:
        return self.s.module(name, layer)

    def mlp(self, name: str, size: int, out: int = DIM) -> Module:
        return self.head(name, nn.mlp(size, out))
