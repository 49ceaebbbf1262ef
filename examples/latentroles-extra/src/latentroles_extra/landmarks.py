"""`landmarks`: a model of our own, with a latent z of our own role and a memory h."""

import latentroles as lr

from .losses import uniformity
from .roles import LANDMARK


@lr.recipe(
    environment="promenade",
    episodes=16,
    episode_steps=32,
    frames=8,
    batch=8,
    steps=100,
    optimisers={"default": lr.adamw(1e-3)},
    columns={"x": "frames", "a": "actions"},
)
def landmarks(
    benches: int = 6, actions: int = 3, dim: int = 8, *, remember_z: bool = False
) -> lr.Spec:
    """Declares the model.

    Args:
        benches: the width of a frame of `promenade`.
        actions: how many there are.
        dim: the width of z and of h.
        remember_z: opens the gate from z into the memory, so that what h has to predict shapes z.
    """
    s = lr.Spec("landmarks")
    x = s.observation("x", (benches,))
    a = s.action("a", lr.Discrete(actions))
    encoder = s.module("encoder", lr.nn.mlp(benches, dim))
    decoder = s.module("decoder", lr.nn.mlp(dim, benches))
    memory = s.module("memory", lr.nn.gru(dim + actions, dim))
    h_to_z = s.module("h_to_z", lr.nn.mlp(dim, dim))
    z_to_memory = s.gate("z_to_memory", open=remember_z)

    z = s.latent("z", encoder(x), role=LANDMARK)
    u = lr.concat(z.through(z_to_memory).t[:-1], a.one_hot())
    h = s.latent("h", lr.scan(memory, init=lr.zeros(dim), xs=u), role=lr.DYNAMICS)

    s.loss("show", lr.losses.mse(decoder(z), x))
    s.loss("spread", uniformity(z), weight=0.1)
    s.loss("expect", lr.losses.mse(h_to_z(h.t[1:]), z.t[1:].stop()))
    return s
