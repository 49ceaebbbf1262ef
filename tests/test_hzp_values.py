"""The value of every loss of `hzp`, those that are off too, against its formula in numpy.

The modules are torch's own, called frame by frame; what stands between them is written out here.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import latentroles as lr
from hzp_alone import OFF, ON
from latentroles.spec.array_statistics import sigreg, sliced_normal
from latentroles.testing.laws import Case, compiled, inputs, results
from latentroles_specs.hzp import hzp
from latentroles_torch.layers import build
from test_array_losses import goal_ranking, kstep, multi_box, multi_gauss, patch_mse, trimmed_scale

K = 3
BOXES: dict[str, Any] = {"kernels": (8, 8, 6), "strides": (4, 4, 4), "beta": 2.0, "limit": 100.0}
BLURS: dict[str, Any] = {"sigmas": (4.0, 4.0, 3.0), "beta": 2.0, "limit": 100.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "start_frame": {"start_frame": 2},
    "trimmed": {"scale_dp_by": "trimmed_mean"},
    "prototype": {"action_delta_h_by": "prototype"},
    "differences": {"additivity_h_of": "differences"},
    "z2h_init": {"use_z2h_init": True},
    "label": {"pose_measure": 0.0},
}


def everything(**arguments) -> lr.Spec:
    """Every loss at once; frames in which a patch of 32 pixels is not the whole."""
    weights = dict.fromkeys(ON | OFF, 1.0)
    return hzp(frame=(1, 40, 40), dim=4, pose_dim=2, horizon=K, **{**weights, **arguments})


def applied(layer: lr.nn.Layer, weights: dict[str, np.ndarray], event: int) -> Callable[..., Any]:
    """A layer as a function of arrays with any leading axes."""
    module = build(layer, weights, "float64")

    def call(*given: np.ndarray) -> np.ndarray:
        lead = given[0].shape[:-event]
        with torch.no_grad():
            out = module(*(torch.tensor(v.reshape(-1, *v.shape[-event:])) for v in given))
        return out.numpy().reshape(*lead, *out.shape[1:])

    return call


def cat(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=-1)


def mse(u: np.ndarray, v: np.ndarray) -> float:
    assert u.shape == v.shape
    return float(np.mean((u - v) ** 2))


def entropy(logits: np.ndarray, a: np.ndarray) -> float:
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return float(-np.mean(np.log((p * np.eye(3)[a]).sum(-1))))


def in_time(u: np.ndarray) -> np.ndarray:
    return u[:, 1:] - u[:, :-1]


def ahead(u: np.ndarray) -> np.ndarray:
    """u_{t+1}, ..., u_{t+K} for each t: (batch, T - K, K, ...)."""
    return np.stack([u[:, t + 1 : t + K + 1] for t in range(u.shape[1] - K)], axis=1)


def steps(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The differences along the K steps that begin at `first`."""
    return then - np.concatenate([first[:, :-K, None], then[:, :, :-1]], axis=2)


def formulas(
    m: SimpleNamespace, batch: dict[str, np.ndarray], noise: dict[str, np.ndarray], **arguments: Any
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The latents, and each loss by its line on the page of hzp."""
    x, a, measured = batch["x"], batch["a"], batch["pose"]
    act, n = np.eye(3)[a], len(x)
    start = arguments.get("start_frame", 0)

    z = m.encoder(x)
    h = [m.z_to_h(z[:, 0]) if arguments.get("use_z2h_init") else np.zeros((n, 4))]
    p, dp = [np.zeros((n, 2))], []
    for t in range(a.shape[1]):
        dp.append(m.p_action_delta_projector(cat(p[t], h[t], act[:, t])))
        p.append(p[t] + dp[t])
        h.append(m.predictor(h[t], cat(z[:, t], act[:, t])))
    h, p, dp = (np.stack(v, axis=1) for v in (h, p, dp))
    x_hat, dh, dz = m.decoder(z), in_time(h), in_time(z)

    h_ahead, z_ahead = [], []
    for t in range(h.shape[1] - K):
        own, (then, place) = h[:, t], (h[:, t], z[:, t])
        for j in range(K):
            own = m.predictor(own, cat(m.h_to_z(own), act[:, t + j]))
            then = m.predictor(then, cat(place, act[:, t + j]))
            place = m.h_to_z(then)
            h_ahead.append(own)
            z_ahead.append(place)
    h_ahead, z_ahead = (np.stack(v, axis=1).reshape(n, -1, K, 4) for v in (h_ahead, z_ahead))
    x_ahead = m.decoder(z_ahead)
    drawn, seen = steps(x_hat, x_ahead), steps(x, ahead(x))

    by_state = arguments.get("action_delta_h_by") != "prototype"
    move = m.h_action_delta_projector(cat(h[:, :-1], act) if by_state else act)
    summed = dh if arguments.get("additivity_h_of") == "differences" else move
    jump = m.pose_jump(cat(p[:, :-2], h[:, :-2], act[:, :-1], act[:, 1:]))
    lengths = np.linalg.norm(dp, axis=-1)
    typical = (np.median(lengths) - 1) ** 2
    if arguments.get("scale_dp_by") == "trimmed_mean":
        typical = trimmed_scale(dp, target=1.0, trim=0.2)
    slices = noise["sliced_normal_directions"]
    losses = {
        "jepa": mse(m.h_to_z(h[:, 1:]), z[:, 1:]),
        "recon": mse(x_hat, x),
        "recon_patch": patch_mse(x_hat, x, size=32),
        "recon_multi_gauss": multi_gauss(x_hat, x, **BLURS),
        "recon_multi_box": multi_box(x_hat, x, **BOXES),
        "pixel_delta": mse(in_time(x_hat), in_time(x)),
        "pixel_delta_multi_box": multi_box(in_time(x_hat), in_time(x), **BOXES),
        "sigreg": sigreg(z, noise["sigreg"]),
        "sliced_normal": sliced_normal(z, slices, noise["sliced_normal_samples"]),
        "h2z": mse(m.h_to_z(h[:, start:]), z[:, start:]),
        "z2h": mse(m.h_to_z(m.z_to_h(z[:, start:])), z[:, start:]),
        "action_delta_h": mse(move, dh),
        "additivity_h": mse(summed[:, :-1] + summed[:, 1:], h[:, 2:] - h[:, :-2]),
        "rollout_kstep_h": mse(h_ahead, ahead(h)),
        "rollout_kstep_delta_h": mse(steps(h, h_ahead), steps(h, ahead(h))),
        "rollout_kstep_z": mse(z_ahead, ahead(z)),
        "rollout_recon_z": mse(x_ahead, ahead(x)),
        "rollout_recon_multi_box_z": multi_box(x_ahead, ahead(x), **BOXES),
        "rollout_recon_delta_z": mse(drawn, seen),
        "rollout_recon_multi_box_delta_z": multi_box(drawn, seen, **BOXES),
        "rollout_project_z": mse(m.encoder(x_ahead), z_ahead),
        "action_delta_dp": mse(dp, m.dp_action_delta_projector(act)),
        "additivity_dp": mse(dp[:, :-1] + dp[:, 1:], jump),
        "scale_dp": typical,
        "geometry_rank_p": goal_ranking(p, margin=0.1, pairs=1024),
        "inverse_dynamics_h": entropy(m.inverse_dynamics_h(cat(h[:, :-1], h[:, 1:])), a),
        "inverse_dynamics_z": entropy(m.inverse_dynamics_z(cat(z[:, :-1], z[:, 1:])), a),
        "inverse_dynamics_p": entropy(m.inverse_dynamics_p(cat(p[:, :-1], p[:, 1:])), a),
        "inverse_dynamics_dp": entropy(m.inverse_dynamics_dp(dp), a),
        "action_delta_z": mse(dz, m.z_action_delta_projector(act)),
        "z_smooth": mse(z[:, 1:], z[:, :-1]),
    }
    if arguments.get("pose_measure", 1.0):
        label, measured = measured, m.pose_measure(cat(np.broadcast_to(z[:, :1], z.shape), z))
        losses["pose_measure"] = mse(measured, label)
    losses["rollout_kstep_p"] = kstep(p, measured, K)
    return {"z": z, "h": h, "p": p}, losses


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_loss_is_its_formula(variant):
    arguments = VARIANTS[variant]
    spec = everything(**arguments)
    case = Case.of(spec)
    model = compiled(case, "torch")
    got, weights = results(model, case), lr.weights(model)
    modules = {
        name: applied(module.layer, weights[name], 3 if name == "encoder" else 1)
        for name, module in spec.modules.items()
    }
    noise = {name: np.asarray(value) for name, value in inputs(model, case)[1].items()}
    latents, losses = formulas(SimpleNamespace(**modules), dict(case.batch), noise, **arguments)
    for name, latent in latents.items():
        np.testing.assert_allclose(got.latents[name], latent, rtol=0, atol=1e-12)
    assert got.losses.keys() == losses.keys()
    for name, value in losses.items():
        np.testing.assert_allclose(got.losses[name], value, rtol=1e-9, atol=1e-14, err_msg=name)
