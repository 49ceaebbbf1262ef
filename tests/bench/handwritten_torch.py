"""`hzp` as a good engineer would write it for torch: the baseline of the compiled step.

Same mathematics as specs/latentroles_specs/hzp.py at its default gates. Nothing is imported from
latentroles: the layers, the losses and every `detach` are written here by hand.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = ((8, 4), (8, 4), (6, 4))  # box size and step of each level of the pyramid


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 128), nn.SiLU(), nn.Linear(128, outputs))


class HandwrittenHzp(nn.Module):
    """z from pixels, h from a GRU, p from summed moves; 14 losses, one backward.

    Args:
        frame: channels, height, width; the sides are multiples of 8.
    """

    def __init__(
        self,
        frame: tuple[int, int, int] = (3, 56, 56),
        actions: int = 3,
        dim: int = 64,
        pose_dim: int = 4,
        horizon: int = 4,
    ):
        super().__init__()
        self.actions, self.pose_dim, self.horizon = actions, pose_dim, horizon
        channels, height, width = frame
        grid = (64, height // 8, width // 8)
        flat = 64 * (height // 8) * (width // 8)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 32, 4, stride=4),
            nn.SiLU(),
            nn.Conv2d(32, 64, 2, stride=2),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(flat, dim),
        )
        self.decoder = nn.Sequential(
            nn.Linear(dim, flat),
            nn.Unflatten(-1, grid),
            nn.SiLU(),
            nn.ConvTranspose2d(64, 32, 2, stride=2),
            nn.SiLU(),
            nn.ConvTranspose2d(32, channels, 4, stride=4),
        )
        self.predictor = nn.GRU(dim + actions, dim, batch_first=True)
        # One bias per gate: the second of torch's GRU stays zero and is not trained.
        nn.init.zeros_(self.predictor.bias_hh_l0).requires_grad_(False)
        self.h_to_z = mlp(dim, dim)
        self.z_to_h = mlp(dim, dim)
        self.h_action_delta_projector = mlp(dim + actions, dim)
        self.p_action_delta_projector = mlp(pose_dim + dim + actions, pose_dim)
        self.dp_action_delta_projector = nn.Linear(actions, pose_dim)
        self.pose_jump = mlp(pose_dim + dim + 2 * actions, pose_dim)
        self.inverse_dynamics_h = mlp(2 * dim, actions)

    def load(self, weights: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Takes the weights of a compiled model, {module: {path: array}}."""
        with torch.no_grad():
            for module, arrays in weights.items():
                for path, array in arrays.items():
                    self.parameter_at(module, path).copy_(torch.from_numpy(array))

    def parameter_at(self, module: str, path: str) -> Tensor:
        """The parameter that the compiled model has at this path."""
        if module == "predictor":
            path = {
                "weight_input": "weight_ih_l0",
                "weight_hidden": "weight_hh_l0",
                "bias": "bias_ih_l0",
            }[path]
        return self.get_parameter(f"{module}.{path}")

    def predict(self, h: Tensor, u: Tensor) -> Tensor:
        """One step of the GRU outside of its sequence: (N, dim), (N, dim + actions)."""
        p = self.predictor
        return torch.gru_cell(u, h, p.weight_ih_l0, p.weight_hh_l0, p.bias_ih_l0, p.bias_hh_l0)

    def imagine(self, h: Tensor, z_hat: Tensor, action: Tensor) -> Tensor:
        """K open-loop steps from h_0 .. h_(T-K-1): (batch, T - K, K + 1, dim), the start first."""
        batch, starts, dim = h.shape
        # Each step folds batch and start into one axis.
        windows = action.unfold(1, self.horizon, 1).permute(3, 0, 1, 2).flatten(1, 2)
        path = [h.flatten(0, 1)]
        seen = z_hat.flatten(0, 1)
        for k, a in enumerate(windows):
            if k:
                seen = self.h_to_z(path[-1])
            path.append(self.predict(path[-1], torch.cat([seen, a], dim=-1)))
        return torch.stack(path, dim=1).view(batch, starts, self.horizon + 1, dim)

    def integrate(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """p_0 .. p_(T-1) and dp_0 .. dp_(T-2) from (batch, T - 1, dim + actions)."""
        p = context.new_zeros(context.shape[0], self.pose_dim)
        path, moves = [p], []
        for now in context.unbind(1):
            moves.append(self.p_action_delta_projector(torch.cat([p, now], dim=-1)))
            p = p + moves[-1]
            path.append(p)
        return torch.stack(path, dim=1), torch.stack(moves, dim=1)

    def decode_z(self, h: Tensor) -> Tensor:
        """h_to_z without gradient to its parameters."""
        first, activation, last = self.h_to_z
        inner = activation(F.linear(h, first.weight.detach(), first.bias.detach()))
        return F.linear(inner, last.weight.detach(), last.bias.detach())

    def forward(self, x: Tensor, a: Tensor, pose: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """x (batch, T, C, H, W), a (batch, T - 1), pose (batch, T, n) -> total, losses."""
        batch, frames = x.shape[:2]
        action = F.one_hot(a, self.actions).to(x.dtype)

        z = self.encoder(x.flatten(0, 1))
        residual = self.decoder(z).view_as(x) - x
        z_target = z.detach().view(batch, frames, -1)

        h_start = x.new_zeros(1, batch, z.shape[-1])
        h_rest, _ = self.predictor(torch.cat([z_target[:, :-1], action], dim=-1), h_start)
        h = torch.cat([h_start.transpose(0, 1), h_rest], dim=1)
        h_before, h_after = h[:, :-1], h[:, 1:]
        h_delta = h_after - h_before
        h_stop = h.detach()
        z_hat = self.h_to_z(h)

        p, dp = self.integrate(torch.cat([h_stop[:, :-1], action], dim=-1))
        jump = self.pose_jump(
            torch.cat([p[:, :-2], h_stop[:, :-2], action[:, :-1], action[:, 1:]], dim=-1)
        )

        k = self.horizon
        imagined = self.imagine(h[:, :-k], z_hat[:, :-k], action)
        future = windows(h_stop[:, 1:], k)
        future_delta = windows(h_delta.detach(), k)

        losses = {
            "jepa": F.mse_loss(z_hat[:, 1:], z_target[:, 1:]),
            "recon_multi_box": multi_box(residual.flatten(0, 1)),
            "pixel_delta_multi_box": multi_box(residual.diff(dim=1).flatten(0, 1)),
            "h2z": F.mse_loss(z_hat, z_target),
            "z2h": F.mse_loss(self.decode_z(self.z_to_h(z_target)), z_target),
            "action_delta_h": F.mse_loss(
                self.h_action_delta_projector(torch.cat([h_before, action], dim=-1)), h_delta
            ),
            "rollout_kstep_h": F.mse_loss(imagined[:, :, 1:], future),
            "rollout_kstep_delta_h": F.mse_loss(imagined.diff(dim=2), future_delta),
            "action_delta_dp": F.mse_loss(dp, self.dp_action_delta_projector(action)),
            "additivity_dp": F.mse_loss(dp[:, :-1] + dp[:, 1:], jump),
            "rollout_kstep_p": sum(F.mse_loss(p[:, i:], pose[:, i:]) for i in range(2, k + 1))
            / (k - 1),
            # The quantile is the mean of the middle two; torch's median is the lower one.
            "scale_dp": (dp.norm(dim=-1).quantile(0.5) - 1.0) ** 2,
            "geometry_rank_p": goal_ranking(p, margin=0.1),
            "inverse_dynamics_h": F.cross_entropy(
                self.inverse_dynamics_h(torch.cat([h_before, h_after], dim=-1)).flatten(0, 1),
                a.flatten(),
            ),
        }
        return sum(losses.values()), losses


def windows(x: Tensor, size: int) -> Tensor:
    """Every window of `size` frames: (batch, time, dim) -> (batch, time - size + 1, size, dim)."""
    return x.unfold(1, size, 1).transpose(-1, -2)


def multi_box(residual: Tensor) -> Tensor:
    """Mean over three levels of mean(w |r|); residual (N, C, H, W), halved between levels."""
    total = residual.new_zeros(())
    for level, (kernel, stride) in enumerate(LEVELS):
        if level:
            residual = F.avg_pool2d(residual, 2)
        error = residual.abs().mean(dim=1)
        total = total + (box_weight(error.detach(), kernel, stride) * error).mean()
    return total / len(LEVELS)


def box_weight(error: Tensor, kernel: int, stride: int) -> Tensor:
    """min((error / local mean)^2, 100), for (N, H, W)."""
    size = error.shape[1:]
    kernel = min(kernel, *size)
    # As one image of N channels, which torch resizes faster than N images of one.
    local = F.avg_pool2d(error[None], kernel, min(stride, kernel))
    local = F.interpolate(local, size=size, mode="bilinear", align_corners=False)[0]
    return ((error + 1e-6) / (local + 1e-6)).square().clamp(max=100.0)


def goal_ranking(p: Tensor, margin: float) -> Tensor:
    """mean relu(margin - (d_i - d_j)) over i < j, d the distance to the last position."""
    distance = (p - p[:, -1:]).norm(dim=-1)
    i, j = torch.triu_indices(p.shape[1], p.shape[1], offset=1, device=p.device)
    return F.relu(margin - (distance[:, i] - distance[:, j])).mean()


def training_step(model: HandwrittenHzp) -> Callable[[Mapping[str, np.ndarray]], dict[str, float]]:
    """A function that takes a batch of numpy arrays, moves the model and returns its losses."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-4, fused=True)

    def step(batch: Mapping[str, np.ndarray]) -> dict[str, float]:
        x, a, pose = (torch.from_numpy(batch[name]) for name in ("x", "a", "pose"))
        total, losses = model(x.float() / 255, a, pose)
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimiser.step()
        values = torch.stack([*losses.values(), total]).tolist()
        return dict(zip([*losses, "total"], values, strict=True))

    return step
