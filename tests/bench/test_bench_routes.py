"""`lr.routes` and `lr.check` on specs of 10, 100 and 1000 losses."""

import pytest

import latentroles as lr


def systems(losses: int) -> lr.Spec:
    """A spec of `losses` / 10 world models that share one encoder, with ten losses each.

    Each has a loop, a rollout, a gate, stops and frozen applications, as `hzp` has.
    """
    s = lr.Spec("systems")
    x, a = s.observation("x", (3, 8, 8)), s.action("a", lr.Discrete(3))
    z = s.latent("z", s.module("encoder", lr.nn.conv_encoder((3, 8, 8), 8))(x), role=lr.PLACE)
    for i in range(losses // 10):
        predictor = s.module(f"predictor_{i}", lr.nn.gru(11, 8))
        head = s.module(f"head_{i}", lr.nn.mlp(8, 8))
        back = s.module(f"back_{i}", lr.nn.mlp(8, 8))
        gate = s.gate(f"gate_{i}", open=i % 2 == 0)
        u = lr.concat(z.through(gate).t[:-1], a.one_hot())
        h = s.latent(f"h_{i}", lr.scan(predictor, init=lr.zeros(8), xs=u), role=lr.DYNAMICS)

        def imagine(h_t, a_t, predictor=predictor, head=head):
            return predictor(h_t, lr.concat(head(h_t), a_t))

        far = lr.rollout(imagine, start=h.t[:-3], xs=a.one_hot(), horizon=3)
        compared = [
            (head(h.t[1:]), z.t[1:].stop()),
            (head(h), z),
            (head.frozen(back(z.stop())), z.stop()),
            (back(z), h.stop()),
            (back(head(h)), h),
            (head(back(z)), z.stop()),
            (far, h.t[1:].windows(3).stop()),
            (head(far), z.t[1:].windows(3).stop()),
            (back.frozen(head(h)), h.stop()),
            (h.t[1:] - h.t[:-1], z.t[1:] - z.t[:-1]),
        ]
        for k, (prediction, target) in enumerate(compared):
            s.loss(f"loss_{i}_{k}", lr.losses.mse(prediction, target), weight=1.0)
    return s


@pytest.mark.parametrize(("many", "few"), [(100, 10), (1000, 100)])
def test_routes(many, few, compare, note):
    larger, smaller = systems(many), systems(few)
    assert len(larger.losses) == many
    assert len(smaller.losses) == few
    assert all(lr.routes(larger).live.values())
    # `live` reads every row: a table computes what it is asked for.
    pair = compare(
        f"lr.routes: {many} losses / {few} losses",
        lambda: lr.routes(larger).live,
        lambda: lr.routes(smaller).live,
    )
    note(f"lr.routes: {many} losses take {1e3 * pair.seconds()[0]:.1f} ms")


@pytest.mark.parametrize(("many", "few"), [(100, 10), (1000, 100)])
def test_check(many, few, compare, note):
    larger, smaller = systems(many), systems(few)
    pair = compare(
        f"lr.check: {many} losses / {few} losses",
        lambda: lr.check(larger),
        lambda: lr.check(smaller),
    )
    note(f"lr.check: {many} losses take {1e3 * pair.seconds()[0]:.0f} ms")
