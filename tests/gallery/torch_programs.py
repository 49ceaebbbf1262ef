"""PyTorch training programs: each in a correct form and in the wrong forms that one meets.

A program is a function of `bug`, the name of a wrong form, or "" for the correct one. It builds its
modules and optimisers and returns a `Program` whose `step` trains once and returns the losses.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.optim import SGD, Adam, AdamW
from torch.utils.checkpoint import checkpoint

BATCH, DIM = 8, 6


@dataclass
class Program:
    """A training program, and what an audit is told of it."""

    step: Callable[[], dict[str, Tensor]]
    modules: dict[str, Any]
    optimizers: dict[str, Any]
    targets: dict[str, str] | None = None
    expected: dict[str, set[str]] | None = None


@dataclass(frozen=True)
class Entry:
    """A program of the gallery.

    Args:
        wrong: {wrong form: (what finds it, "check", "watch" or "routes"; the rule; the module that
            the finding is about, or else the loss)}. "routes" is a check without optimisers, for
            what a gradient that is cleared again makes harmless.
    """

    build: Callable[[str], Program]
    wrong: dict[str, tuple[str, str, str]] = field(default_factory=dict)


PROGRAMS: dict[str, Entry] = {}


def program(**wrong: tuple[str, str, str]) -> Callable[[Callable[[str], Program]], Any]:
    """Puts a program into the gallery, with its wrong forms."""

    def add(build: Callable[[str], Program]) -> Callable[[str], Program]:
        PROGRAMS[build.__name__] = Entry(build, wrong)
        return build

    return add


def mlp(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ELU()]
    return nn.Sequential(*layers[:-1])


def params(*modules: nn.Module) -> list[nn.Parameter]:
    return [p for m in modules for p in m.parameters()]


@torch.no_grad()
def ema(target: nn.Module, source: nn.Module, decay: float = 0.9) -> None:
    for t, s in zip(target.parameters(), source.parameters(), strict=True):
        t.lerp_(s, 1 - decay)


def frozen_copy(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).requires_grad_(False)


@contextmanager
def no_parameter_gradients(*modules: nn.Module) -> Iterator[None]:
    """Gradient passes the modules without reaching their parameters."""
    for p in params(*modules):
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in params(*modules):
            p.requires_grad_(True)


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# World models --------------------------------------------------------------------------------


@program(
    imagines_from_live_states=("watch", "stray-gradient", "encoder"),
    world_not_frozen=("watch", "stray-gradient", "rssm"),
    critic_goal_live=("watch", "stray-gradient", "actor"),
    target_critic_in_the_optimiser=("check", "target-live", "target_critic"),
    encoder_forgotten=("check", "unowned-parameters", "encoder"),
    actor_not_stepped=("watch", "never-moved", "actor"),
    reward_not_frozen=("watch", "stray-gradient", "heads"),
)
def dreamer(bug: str) -> Program:
    """The actor's gradient passes the target critic, which nothing moves but the average."""
    encoder, decoder = mlp(DIM, 16, 4), mlp(4 + 5, 16, DIM)
    cell, prior, reward = nn.GRUCell(4 + 2, 5), mlp(5, 4), mlp(4 + 5, 1)
    actor, critic = mlp(4 + 5, 16, 2), mlp(4 + 5, 16, 1)
    target_critic = copy.deepcopy(critic)
    critics = [critic, *([target_critic] if bug == "target_critic_in_the_optimiser" else [])]
    world = [cell, prior, decoder, reward] + ([] if bug == "encoder_forgotten" else [encoder])
    world_opt, actor_opt, critic_opt = (Adam(params(*m)) for m in (world, [actor], critics))

    def observe(frames: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        h, states, divergence = torch.zeros(BATCH, 5), [], torch.zeros(())
        for x, a in zip(frames, actions, strict=True):
            z = encoder(x).tanh()
            divergence = (
                divergence + F.mse_loss(prior(h), z.detach()) + F.mse_loss(prior(h).detach(), z)
            )
            states.append(torch.cat([z, h], -1))
            h = cell(torch.cat([z, a], -1), h)
        return torch.stack(states), divergence

    def imagine(state: Tensor, horizon: int = 3) -> Tensor:
        states = [state]
        for _ in range(horizon):
            z, h = state[:, :4], state[:, 4:]
            action = actor(state.detach()).tanh()
            h = cell(torch.cat([z, action], -1), h)
            state = torch.cat([prior(h).tanh(), h], -1)
            states.append(state)
        return torch.stack(states)

    def step() -> dict[str, Tensor]:
        frames, actions = torch.randn(4, BATCH, DIM), torch.randn(4, BATCH, 2)
        states, divergence = observe(frames, actions)
        reconstruction = F.mse_loss(decoder(states), frames)
        rewarded = F.mse_loss(reward(states).squeeze(-1), torch.randn(4, BATCH))
        losses = {"world": reconstruction + rewarded + 0.1 * divergence}

        start = states.flatten(0, 1)
        start = start if bug == "imagines_from_live_states" else start.detach()
        held = [encoder] if bug == "world_not_frozen" else [*world, encoder]
        held = [m for m in held if m is not reward or bug != "reward_not_frozen"]
        with no_parameter_gradients(*held):
            imagined = imagine(start)
            returns = reward(imagined[1:]) + 0.99 * target_critic(imagined[1:])
            losses["actor"] = -returns.mean()
        value = critic(imagined[:-1].detach())
        goal = returns if bug == "critic_goal_live" else returns.detach()
        losses["critic"] = F.mse_loss(value, goal)

        for optimizer in (world_opt, actor_opt, critic_opt):
            optimizer.zero_grad()
        for loss in losses.values():
            loss.backward(retain_graph=True)
        world_opt.step()
        if bug != "actor_not_stepped":
            actor_opt.step()
        critic_opt.step()
        ema(target_critic, critic)
        return losses

    return Program(
        step,
        {
            "encoder": encoder,
            "rssm": [cell, prior],
            "heads": [decoder, reward],
            "actor": actor,
            "critic": critic,
            "target_critic": target_critic,
        },
        {"world": world_opt, "actor": actor_opt, "critic": critic_opt},
        targets={"target_critic": "critic"},
        expected={
            "world": {"encoder", "rssm", "heads"},
            "actor": {"actor"},
            "critic": {"critic"},
        },
    )


@program(
    policy_into_the_model=("watch", "stray-gradient", "dynamics"),
    consistency_target_live=("check", "target-live", "target_encoder"),
    target_never_updated=("watch", "stale-target", "target_encoder"),
)
def td_mpc(bug: str) -> Program:
    encoder, dynamics = mlp(DIM, 16, 4), mlp(4 + 2, 16, 4)
    reward, q, policy = mlp(4 + 2, 1), mlp(4 + 2, 16, 1), mlp(4, 16, 2)
    target_encoder, target_q = copy.deepcopy(encoder), copy.deepcopy(q)
    learners = [encoder, dynamics, reward, q]
    learners += [target_encoder] if bug == "consistency_target_live" else []
    model_opt = Adam(params(*learners), 1e-3)
    policy_opt = Adam(policy.parameters(), 1e-3)

    def step() -> dict[str, Tensor]:
        frames, actions, rewards = torch.randn(4, BATCH, DIM), torch.randn(3, BATCH, 2), 1.0
        z, consistency, value = encoder(frames[0]), torch.zeros(()), torch.zeros(())
        latents = [z]
        for t in range(3):
            za = torch.cat([z, actions[t]], -1)
            with torch.set_grad_enabled(bug == "consistency_target_live"):
                ahead = target_encoder(frames[t + 1])
            with torch.no_grad():
                pair = torch.cat([ahead, policy(ahead).tanh()], -1)
                td_target = rewards + 0.99 * target_q(pair)
            value = (
                value
                + F.mse_loss(q(za), td_target)
                + F.mse_loss(reward(za).mean(), td_target.mean())
            )
            z = dynamics(za)
            consistency = consistency + F.mse_loss(z, ahead)
            latents.append(z)
        model_opt.zero_grad()
        (consistency + value).backward(retain_graph=bug == "policy_into_the_model")

        states = torch.stack(latents)
        states = states if bug == "policy_into_the_model" else states.detach()
        with no_parameter_gradients(q):
            policy_loss = -q(torch.cat([states, policy(states).tanh()], -1)).mean()
        policy_opt.zero_grad()
        policy_loss.backward()
        model_opt.step()
        policy_opt.step()
        if bug != "target_never_updated":
            ema(target_encoder, encoder)
        ema(target_q, q)
        return {"model": consistency + value, "policy": policy_loss}

    return Program(
        step,
        {
            "encoder": encoder,
            "dynamics": dynamics,
            "reward": reward,
            "q": q,
            "policy": policy,
            "target_encoder": target_encoder,
            "target_q": target_q,
        },
        {"model": model_opt, "policy": policy_opt},
        targets={"target_encoder": "encoder", "target_q": "q"},
        expected={"model": {"encoder", "dynamics", "reward", "q"}, "policy": {"policy"}},
    )


@program(
    target_never_updated=("watch", "stale-target", "target"),
    target_live=("check", "target-live", "target"),
    target_in_the_optimiser=("check", "idle-parameters", "target"),
    optimiser_before_the_model=("check", "unowned-parameters", "context"),
)
def jepa(bug: str) -> Program:
    context, predictor = mlp(DIM, 16, 4), mlp(4, 16, 4)
    target = copy.deepcopy(context)
    held = bug in ("target_in_the_optimiser", "target_live")
    trained = [context, predictor, *([target] if held else [])]
    optimizer = AdamW(params(*trained), 1e-2)
    if bug == "optimiser_before_the_model":
        context = mlp(DIM, 32, 4)
        target = copy.deepcopy(context)

    def step() -> dict[str, Tensor]:
        x = torch.randn(BATCH, DIM)
        mask = (torch.rand(BATCH, DIM) > 0.5).float()
        if bug == "target_live":
            goal = target(x)
        else:
            with torch.no_grad():
                goal = F.layer_norm(target(x), (4,))
        loss = F.smooth_l1_loss(predictor(context(x * mask)), goal)
        update(optimizer, loss)
        if bug != "target_never_updated":
            ema(target, context)
        return {"jepa": loss}

    return Program(
        step,
        {"context": context, "predictor": predictor, "target": target},
        {"optimizer": optimizer},
        targets={"target": "context"},
    )


@program(
    no_straight_through=("check", "missing-route", "encoder"),
    codebook_starved=("check", "starved-module", "codebook"),
)
def vq_vae(bug: str) -> Program:
    encoder, decoder, codebook = mlp(DIM, 16, 4), mlp(4, 16, DIM), nn.Embedding(12, 4)
    optimizer = Adam(params(encoder, decoder, codebook), 1e-3)

    def step() -> dict[str, Tensor]:
        x = torch.randn(BATCH, DIM)
        z = encoder(x)
        nearest = torch.cdist(z, codebook.weight).argmin(-1)
        code = codebook(nearest)
        straight = code if bug == "no_straight_through" else z + (code - z).detach()
        losses = {
            "reconstruction": F.mse_loss(decoder(straight), x),
            "commitment": 0.25 * F.mse_loss(z, code.detach()),
            "codebook": F.mse_loss(code, z.detach()),
        }
        if bug == "codebook_starved":
            losses["codebook"] = F.mse_loss(code.detach(), z)
        update(optimizer, sum(losses.values(), torch.zeros(())))
        return losses

    return Program(
        step,
        {"encoder": encoder, "decoder": decoder, "codebook": codebook},
        {"optimizer": optimizer},
        expected={
            "reconstruction": {"encoder", "decoder"},
            "commitment": {"encoder"},
            "codebook": {"codebook"},
        },
    )


@program(
    sample_without_reparameterisation=("check", "missing-route", "encoder"),
    kl_with_itself=("watch", "flat-loss", "kl"),
    decoder_forgotten=("check", "unowned-parameters", "decoder"),
)
def vae(bug: str) -> Program:
    encoder, decoder = mlp(DIM, 16, 8), mlp(4, 16, DIM)
    trained = [encoder] if bug == "decoder_forgotten" else [encoder, decoder]
    optimizer = Adam(params(*trained), 1e-3)

    def step() -> dict[str, Tensor]:
        x = torch.randn(BATCH, DIM)
        mean, log_std = encoder(x).chunk(2, -1)
        posterior = torch.distributions.Normal(mean, log_std.exp())
        prior = torch.distributions.Normal(torch.zeros(4), torch.ones(4))
        if bug == "kl_with_itself":
            prior = posterior
        z = (
            posterior.sample()
            if bug == "sample_without_reparameterisation"
            else posterior.rsample()
        )
        losses = {
            "reconstruction": F.mse_loss(decoder(z), x),
            "kl": torch.distributions.kl_divergence(posterior, prior).mean(),
        }
        update(optimizer, losses["reconstruction"] + losses["kl"])
        return losses

    return Program(
        step,
        {"encoder": encoder, "decoder": decoder},
        {"optimizer": optimizer},
        expected={"reconstruction": {"encoder", "decoder"}, "kl": {"encoder"}},
    )


@program(
    target_value_live=("check", "target-live", "target_value"),
    dynamics_cut_off=("check", "starved-module", "dynamics"),
)
def muzero(bug: str) -> Program:
    representation, dynamics = mlp(DIM, 16, 4), mlp(4 + 2, 16, 4)
    reward, policy, value = nn.Linear(4, 1), nn.Linear(4, 3), nn.Linear(4, 1)
    target_value = nn.ModuleList(copy.deepcopy([representation, value]))
    prediction = nn.ModuleList([reward, policy, value])
    held = [target_value] if bug == "target_value_live" else []
    optimizer = SGD(params(representation, dynamics, prediction, *held), 0.05, momentum=0.9)

    def step() -> dict[str, Tensor]:
        frames, actions = torch.randn(4, BATCH, DIM), torch.randn(3, BATCH, 2)
        h = representation(frames[0])
        losses = {name: torch.zeros(()) for name in ("reward", "policy", "value")}
        for t in range(3):
            h = dynamics(torch.cat([h, actions[t]], -1))
            h = h.detach() if bug == "dynamics_cut_off" else h
            if h.requires_grad:
                h.register_hook(lambda gradient: gradient * 0.5)
            with torch.set_grad_enabled(bug == "target_value_live"):
                goal = target_value[1](target_value[0](frames[t + 1]))
            losses["reward"] = losses["reward"] + F.mse_loss(reward(h), torch.randn(BATCH, 1))
            visits = torch.rand(BATCH, 3).softmax(-1)
            losses["policy"] = losses["policy"] + F.cross_entropy(policy(h), visits)
            losses["value"] = losses["value"] + F.mse_loss(value(h), goal)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(params(representation, dynamics, prediction), 5.0)
        optimizer.step()
        ema(target_value[0], representation)
        ema(target_value[1], value)
        return losses

    return Program(
        step,
        {
            "representation": representation,
            "dynamics": dynamics,
            "prediction": prediction,
            "target_value": target_value,
        },
        {"optimizer": optimizer},
        targets={"target_value": "prediction"},
    )


@program(
    decoder_on_a_stopped_code=("check", "starved-module", "encoder"),
    gradients_cleared_before_the_step=("watch", "never-moved", "encoder"),
)
def masked_autoencoder(bug: str) -> Program:
    """Accumulates gradients over two batches, in mixed precision, with checkpoints."""
    encoder = nn.TransformerEncoderLayer(DIM, 2, 8, dropout=0.0, batch_first=True)
    decoder, mask_token = mlp(DIM, 16, DIM), nn.Parameter(torch.zeros(DIM))
    optimizer = AdamW([*params(encoder, decoder), mask_token], 1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: min(1.0, i / 3))

    def loss_of(x: Tensor) -> Tensor:
        hidden = torch.rand(*x.shape[:2], 1) < 0.5
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z = checkpoint(encoder, torch.where(hidden, mask_token, x), use_reentrant=False)
            z = z.detach() if bug == "decoder_on_a_stopped_code" else z
            return ((decoder(z) - x).square() * hidden).float().mean()

    def step() -> dict[str, Tensor]:
        loss = torch.zeros(())
        for _ in range(2):
            loss = loss_of(torch.randn(BATCH, 5, DIM)) / 2
            loss.backward()
        if bug == "gradients_cleared_before_the_step":
            optimizer.zero_grad()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        return {"reconstruction": loss}

    return Program(
        step,
        {"encoder": encoder, "decoder": decoder, "mask_token": mask_token},
        {"optimizer": optimizer},
    )


# Joint-embedding representations -------------------------------------------------------------


@program(
    target_live=("check", "target-live", "target"),
    teacher_is_the_student=("check", "aliased-module", "online"),
    target_never_updated=("watch", "stale-target", "target"),
    predictor_forgotten=("check", "unowned-parameters", "predictor"),
)
def byol(bug: str) -> Program:
    online = nn.Sequential(nn.Linear(DIM, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))
    predictor = mlp(4, 16, 4)
    target = online if bug == "teacher_is_the_student" else copy.deepcopy(online)
    trained = [online] if bug == "predictor_forgotten" else [online, predictor]
    trained += [target] if bug == "target_live" else []
    optimizer = SGD(params(*trained), 0.05, momentum=0.9)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        goal = target(y)
        goal = goal if bug == "target_live" else goal.detach()
        return 2 - 2 * F.cosine_similarity(predictor(online(x)), goal).mean()

    def step() -> dict[str, Tensor]:
        x = torch.randn(BATCH, DIM)
        one, two = (x + 0.1 * torch.randn_like(x) for _ in range(2))
        loss = distance(one, two) + distance(two, one)
        update(optimizer, loss)
        if bug != "target_never_updated":
            ema(target, online)
        return {"byol": loss}

    return Program(
        step,
        {"online": online, "predictor": predictor, "target": target},
        {"optimizer": optimizer},
        targets={"target": "online"},
    )


@program(
    stop_on_the_prediction=("check", "starved-module", "predictor"),
    stops_on_both_sides=("check", "starved-module", "encoder"),
)
def simsiam(bug: str) -> Program:
    encoder, predictor = mlp(DIM, 16, 4), mlp(4, 8, 4)
    optimizer = SGD(params(encoder, predictor), 0.05)

    def distance(z: Tensor, goal: Tensor) -> Tensor:
        if bug == "stop_on_the_prediction":
            return -F.cosine_similarity(predictor(z).detach(), goal).mean()
        z = z.detach() if bug == "stops_on_both_sides" else z
        return -F.cosine_similarity(predictor(z), goal.detach()).mean()

    def step() -> dict[str, Tensor]:
        x = torch.randn(BATCH, DIM)
        one, two = (encoder(x + 0.1 * torch.randn_like(x)) for _ in range(2))
        loss = (distance(one, two) + distance(two, one)) / 2
        update(optimizer, loss)
        return {"simsiam": loss}

    return Program(step, {"encoder": encoder, "predictor": predictor}, {"optimizer": optimizer})


@program(
    keys_share_memory=("check", "aliased-module", "query"),
    keys_live=("check", "target-live", "key"),
    momentum_of_one=("watch", "stale-target", "key"),
)
def moco(bug: str) -> Program:
    query, key = mlp(DIM, 16, 4), mlp(DIM, 16, 4)
    for q, k in zip(query.parameters(), key.parameters(), strict=True):
        if bug == "keys_share_memory":
            k.data = q.data
        else:
            k.data.copy_(q.data)
        k.requires_grad = bug == "keys_live"
    queue = F.normalize(torch.randn(32, 4), dim=-1)
    optimizer = SGD(params(query, *([key] if bug == "keys_live" else [])), 0.03, momentum=0.9)

    def step() -> dict[str, Tensor]:
        nonlocal queue
        x = torch.randn(BATCH, DIM)
        q = F.normalize(query(x + 0.1 * torch.randn_like(x)), dim=-1)
        with torch.set_grad_enabled(bug == "keys_live"):
            ema(key, query, 1.0 if bug == "momentum_of_one" else 0.99)
            k = F.normalize(key(x + 0.1 * torch.randn_like(x)), dim=-1)
        positive, negative = (q * k).sum(-1, keepdim=True), q @ queue.T
        logits = torch.cat([positive, negative], 1) / 0.07
        loss = F.cross_entropy(logits, torch.zeros(BATCH, dtype=torch.long))
        update(optimizer, loss)
        queue = torch.cat([k.detach(), queue])[:32]
        return {"contrast": loss}

    return Program(
        step,
        {"query": query, "key": key},
        {"optimizer": optimizer},
        targets={"key": "query"},
    )


@program(
    ema_the_wrong_way=("watch", "stale-target", "teacher"),
    teacher_live=("check", "target-live", "teacher"),
    teacher_in_the_optimiser=("check", "idle-parameters", "teacher"),
)
def dino(bug: str) -> Program:
    student = mlp(DIM, 16, 8)
    teacher = copy.deepcopy(student)
    centre = torch.zeros(8)
    held = [student, teacher] if bug.startswith("teacher") else [student]
    optimizer = AdamW(params(*held), 1e-3)

    def step() -> dict[str, Tensor]:
        nonlocal centre
        x = torch.randn(BATCH, DIM)
        views = [x + 0.1 * torch.randn_like(x) for _ in range(2)]
        with torch.set_grad_enabled(bug == "teacher_live"):
            outputs = [teacher(view) for view in views]
            goals = [F.softmax((t - centre) / 0.04, -1) for t in outputs]
        predicted = [F.log_softmax(student(view) / 0.1, -1) for view in views]
        loss = -(goals[0] * predicted[1] + goals[1] * predicted[0]).sum(-1).mean()
        update(optimizer, loss)
        if bug == "ema_the_wrong_way":
            ema(student, teacher)
        else:
            ema(teacher, student)
        centre = 0.9 * centre + 0.1 * torch.cat(outputs).mean(0).detach()
        return {"dino": loss}

    return Program(
        step,
        {"student": student, "teacher": teacher},
        {"optimizer": optimizer},
        targets={"teacher": "student"},
    )


@program(
    views_are_one=("watch", "flat-loss", "invariance"),
    expander_forgotten=("check", "unowned-parameters", "expander"),
    expander_detached=("check", "starved-module", "encoder"),
)
def vicreg(bug: str) -> Program:
    encoder, expander = mlp(DIM, 16, 4), mlp(4, 16, 8)
    trained = [encoder] if bug == "expander_forgotten" else [encoder, expander]
    optimizer = Adam(params(*trained), 1e-3)

    def spread(y: Tensor) -> tuple[Tensor, Tensor]:
        y = y - y.mean(0)
        covariance = y.T @ y / (BATCH - 1)
        off_diagonal = covariance - covariance.diag().diag()
        return F.relu(1 - y.var(0).add(1e-4).sqrt()).mean(), off_diagonal.square().sum() / 8

    def step() -> dict[str, Tensor]:
        x = torch.randn(BATCH, DIM)
        one = x + 0.1 * torch.randn_like(x)
        two = one if bug == "views_are_one" else x + 0.1 * torch.randn_like(x)
        hidden = encoder(torch.cat([one, two]))
        hidden = hidden.detach() if bug == "expander_detached" else hidden
        a, b = expander(hidden).chunk(2)
        (variance_a, covariance_a), (variance_b, covariance_b) = spread(a), spread(b)
        losses = {
            "invariance": F.mse_loss(a, b),
            "variance": variance_a + variance_b,
            "covariance": covariance_a + covariance_b,
        }
        update(optimizer, 25 * (losses["invariance"] + losses["variance"]) + losses["covariance"])
        return losses

    return Program(step, {"encoder": encoder, "expander": expander}, {"optimizer": optimizer})


@program(heads_in_a_list=("check", "unowned-parameters", "heads"))
def cpc(bug: str) -> Program:
    class Cpc(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = mlp(DIM, 16, 4)
            self.context = nn.GRU(4, 5, batch_first=True)
            heads = [nn.Linear(5, 4) for _ in range(2)]
            self.heads: Any = heads if bug == "heads_in_a_list" else nn.ModuleList(heads)

        def forward(self, x: Tensor) -> Tensor:
            z = self.encoder(x)
            c, _ = self.context(z)
            loss = torch.zeros(())
            for k, head in enumerate(self.heads, 1):
                scores = head(c[:, 2]) @ z[:, 2 + k].T
                loss = loss + F.cross_entropy(scores, torch.arange(BATCH))
            return loss / len(self.heads)

    model = Cpc()
    optimizer = Adam(model.parameters(), 1e-3)

    def step() -> dict[str, Tensor]:
        loss = model(torch.randn(BATCH, 6, DIM))
        update(optimizer, loss)
        return {"infonce": loss}

    return Program(
        step,
        {"encoder": model.encoder, "context": model.context, "heads": list(model.heads)},
        {"optimizer": optimizer},
    )


@program(
    teacher_left_in_train_mode=("watch", "moved-without-route", "teacher"),
    teacher_not_frozen=("check", "unowned-parameters", "teacher"),
)
def distillation(bug: str) -> Program:
    teacher = nn.Sequential(nn.Linear(DIM, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    student = mlp(DIM, 8, 3)
    if bug != "teacher_not_frozen":
        teacher.requires_grad_(False)
    teacher.train(bug == "teacher_left_in_train_mode")
    optimizer = Adam(student.parameters(), 1e-3)

    def step() -> dict[str, Tensor]:
        x = torch.randn(BATCH, DIM)
        goal, predicted = teacher(x).log_softmax(-1), student(x).log_softmax(-1)
        loss = F.kl_div(predicted, goal, log_target=True, reduction="batchmean")
        update(optimizer, loss)
        return {"distillation": loss}

    return Program(step, {"teacher": teacher, "student": student}, {"optimizer": optimizer})


@program(
    backbone_never_thawed=("check", "idle-parameters", "backbone"),
    backbone_decays=("watch", "moved-without-route", "backbone"),
)
def fine_tuning(bug: str) -> Program:
    backbone, head = mlp(DIM, 16, 4), nn.Linear(4, 3)
    backbone.requires_grad_(False)  # the first phase has trained the head alone
    if bug != "backbone_never_thawed":
        backbone.requires_grad_(True)
    optimizer = AdamW(params(backbone, head), 1e-3, weight_decay=0.1)
    for p in params(backbone, head):
        p.grad = torch.zeros_like(p)

    def step() -> dict[str, Tensor]:
        features = backbone(torch.randn(BATCH, DIM))
        features = features.detach() if bug == "backbone_decays" else features
        loss = F.cross_entropy(head(features), torch.randint(3, (BATCH,)))
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        return {"classification": loss}

    return Program(step, {"backbone": backbone, "head": head}, {"optimizer": optimizer})


# Reinforcement learning ----------------------------------------------------------------------


@program(
    bootstrap_target_live=("check", "target-live", "target"),
    target_never_synchronised=("watch", "stale-target", "target"),
    target_is_the_network=("check", "aliased-module", "q"),
    td_error_by_item=("watch", "never-moved", "q"),
)
def dqn(bug: str) -> Program:
    q = mlp(DIM, 16, 3)
    target = q if bug == "target_is_the_network" else copy.deepcopy(q)
    optimizer = Adam(params(q, *([target] if bug == "bootstrap_target_live" else [])), 1e-3)
    count = 0

    def step() -> dict[str, Tensor]:
        nonlocal count
        x, ahead = torch.randn(2, BATCH, DIM)
        action, reward = torch.randint(3, (BATCH, 1)), torch.randn(BATCH)
        best = q(ahead).argmax(-1, keepdim=True)
        value = target(ahead).gather(1, best).squeeze(1)
        goal = reward + 0.99 * (value if bug == "bootstrap_target_live" else value.detach())
        loss = F.smooth_l1_loss(q(x).gather(1, action).squeeze(1), goal)
        if bug == "td_error_by_item":
            update(optimizer, torch.tensor(loss.item(), requires_grad=True))
        else:
            update(optimizer, loss)
        count += 1
        if count % 2 == 0 and bug != "target_never_synchronised":
            target.load_state_dict(q.state_dict())
        return {"td": loss}

    return Program(
        step, {"q": q, "target": target}, {"optimizer": optimizer}, targets={"target": "q"}
    )


@program(
    entropy_loss_into_the_actor=("watch", "stray-gradient", "actor"),
    bootstrap_target_live=("check", "target-live", "target1"),
    critic_replaced_after_its_optimiser=("check", "unowned-parameters", "q2"),
    target_never_updated=("watch", "stale-target", "target1"),
    encoder_in_two_optimisers=("check", "two-optimisers", "encoder"),
)
def sac(bug: str) -> Program:
    encoder, actor = mlp(DIM, 16, 4), mlp(4, 16, 4)
    q1, q2 = mlp(4 + 2, 16, 1), mlp(4 + 2, 16, 1)
    log_alpha = torch.zeros(1, requires_grad=True)
    target1, target2 = copy.deepcopy(q1), copy.deepcopy(q2)
    critics = [encoder, q1, q2]
    critics += [target1, target2] if bug == "bootstrap_target_live" else []
    critic_opt = Adam(params(*critics), 1e-3)
    if bug == "critic_replaced_after_its_optimiser":
        q2, target2 = mlp(4 + 2, 32, 1), mlp(4 + 2, 32, 1)
    held = [encoder, actor] if bug == "encoder_in_two_optimisers" else [actor]
    actor_opt, alpha_opt = Adam(params(*held), 1e-3), Adam([log_alpha], 1e-3)

    def act(z: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = actor(z).chunk(2, -1)
        policy = torch.distributions.Normal(mean, log_std.clamp(-5, 2).exp())
        raw = policy.rsample()
        action = raw.tanh()
        log_prob = policy.log_prob(raw) - torch.log(1 - action.square() + 1e-6)
        return action, log_prob.sum(-1, keepdim=True)

    def step() -> dict[str, Tensor]:
        x, ahead = torch.randn(2, BATCH, DIM)
        taken, reward = torch.randn(BATCH, 2), torch.randn(BATCH, 1)
        alpha = log_alpha.exp().detach()
        with torch.set_grad_enabled(bug == "bootstrap_target_live"):
            z_ahead = encoder(ahead)
            action, log_prob = act(z_ahead)
            pair = torch.cat([z_ahead, action], -1)
            value = torch.minimum(target1(pair), target2(pair)) - alpha * log_prob
            goal = reward + 0.99 * value
        z = encoder(x)
        pair = torch.cat([z, taken], -1)
        critic_loss = F.mse_loss(q1(pair), goal) + F.mse_loss(q2(pair), goal)
        update(critic_opt, critic_loss)

        # The critics collect gradient here as well, and their next zero_grad() clears it.
        z = encoder(x).detach()
        action, log_prob = act(z)
        pair = torch.cat([z, action], -1)
        actor_loss = (alpha * log_prob - torch.minimum(q1(pair), q2(pair))).mean()
        surprise = log_prob if bug == "entropy_loss_into_the_actor" else log_prob.detach()
        alpha_loss = -(log_alpha.exp() * (surprise - 2.0)).mean()
        actor_opt.zero_grad()
        alpha_opt.zero_grad()
        (actor_loss + alpha_loss).backward()
        actor_opt.step()
        alpha_opt.step()
        if bug != "target_never_updated":
            ema(target1, q1)
            ema(target2, q2)
        return {"critic": critic_loss, "actor": actor_loss, "alpha": alpha_loss}

    return Program(
        step,
        {
            "encoder": encoder,
            "actor": actor,
            "q1": q1,
            "q2": q2,
            "target1": target1,
            "target2": target2,
            "temperature": log_alpha,
        },
        {"critic": critic_opt, "actor": actor_opt, "alpha": alpha_opt},
        targets={"target1": "q1", "target2": "q2"},
        expected={
            "critic": {"encoder", "q1", "q2"},
            "actor": {"actor", "q1", "q2"},
            "alpha": {"temperature"},
        },
    )


@program(
    policy_loss_without_the_actor=("check", "starved-module", "actor"),
    actor_learns_nothing=("watch", "never-moved", "actor"),
    actor_every_other_route=("watch", "unstable-routes", "actor"),
)
def td3(bug: str) -> Program:
    actor, critic = mlp(DIM, 16, 2), mlp(DIM + 2, 16, 1)
    actor_target, critic_target = frozen_copy(actor), frozen_copy(critic)
    rate = 0.0 if bug == "actor_learns_nothing" else 1e-3
    actor_opt, critic_opt = Adam(actor.parameters(), rate), Adam(critic.parameters(), 1e-3)
    count = 0

    def step() -> dict[str, Tensor]:
        nonlocal count
        x, ahead = torch.randn(2, BATCH, DIM)
        taken, reward = torch.randn(BATCH, 2), torch.randn(BATCH, 1)
        noise = 0.2 * torch.randn(BATCH, 2).clamp(-0.5, 0.5)
        action = actor_target(ahead).tanh() + noise
        goal = reward + 0.99 * critic_target(torch.cat([ahead, action], -1))
        critic_loss = F.mse_loss(critic(torch.cat([x, taken], -1)), goal)
        losses = {"critic": critic_loss}
        update(critic_opt, critic_loss)
        delayed = count % 2 == 0
        count += 1
        if delayed or bug == "actor_every_other_route":
            action = actor(x).tanh()
            if bug == "policy_loss_without_the_actor":
                action = action.detach()
            if bug == "actor_every_other_route" and not delayed:
                action = action.detach()
            losses["actor"] = -critic(torch.cat([x, action], -1)).mean()
            update(actor_opt, losses["actor"])
            ema(actor_target, actor)
            ema(critic_target, critic)
        return losses

    return Program(
        step,
        {
            "actor": actor,
            "critic": critic,
            "actor_target": actor_target,
            "critic_target": critic_target,
        },
        {"actor": actor_opt, "critic": critic_opt},
        targets={"actor_target": "actor", "critic_target": "critic"},
    )


@program(
    reward_live=("watch", "stray-gradient", "forward"),
    features_detached=("check", "starved-module", "features"),
    forward_model_into_the_features=("check", "unexpected-route", "features"),
    inverse_forgotten=("check", "unowned-parameters", "inverse"),
)
def curiosity(bug: str) -> Program:
    features, inverse = mlp(DIM, 16, 4), mlp(8, 16, 3)
    forward, policy = mlp(4 + 3, 16, 4), mlp(DIM, 16, 3)
    trained = [features, forward] + ([] if bug == "inverse_forgotten" else [inverse])
    icm_opt, policy_opt = Adam(params(*trained), 1e-3), Adam(policy.parameters(), 1e-3)

    def step() -> dict[str, Tensor]:
        x, ahead = torch.randn(2, BATCH, DIM)
        chosen = torch.distributions.Categorical(logits=policy(x))
        action = chosen.sample()
        f, f_ahead = features(x), features(ahead)
        if bug == "features_detached":
            f, f_ahead = f.detach(), f_ahead.detach()
        inverse_loss = F.cross_entropy(inverse(torch.cat([f, f_ahead], -1)), action)
        if bug != "forward_model_into_the_features":
            f, f_ahead = f.detach(), f_ahead.detach()
        guess = forward(torch.cat([f, F.one_hot(action, 3).float()], -1))
        error = (guess - f_ahead).square().mean(-1)
        reward = error if bug == "reward_live" else error.detach()
        losses = {
            "inverse": inverse_loss,
            "forward": error.mean(),
            "policy": -(chosen.log_prob(action) * reward).mean(),
        }
        icm_opt.zero_grad()
        policy_opt.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        icm_opt.step()
        policy_opt.step()
        return losses

    return Program(
        step,
        {"features": features, "inverse": inverse, "forward": forward, "policy": policy},
        {"icm": (icm_opt, ["inverse", "forward"]), "policy": policy_opt},
        expected={
            "inverse": {"features", "inverse"},
            "forward": {"forward"},
            "policy": {"policy"},
        },
    )


@program(
    random_network_learns=("check", "unowned-parameters", "random"),
    predictor_is_the_target=("watch", "flat-loss", "novelty"),
)
def rnd(bug: str) -> Program:
    random = mlp(DIM, 16, 4)
    if bug != "random_network_learns":
        random.requires_grad_(False)
    predictor = copy.deepcopy(random).requires_grad_(True)
    if bug != "predictor_is_the_target":
        predictor.apply(lambda m: m.reset_parameters() if isinstance(m, nn.Linear) else None)
    optimizer = Adam(predictor.parameters(), 1e-3)

    def step() -> dict[str, Tensor]:
        x = torch.randn(BATCH, DIM)
        loss = (predictor(x) - random(x)).square().mean()
        update(optimizer, loss)
        return {"novelty": loss}

    return Program(step, {"random": random, "predictor": predictor}, {"optimizer": optimizer})


@program(
    target_ensemble_live=("check", "target-live", "targets"),
    parameters_stacked_once=("check", "unowned-parameters", "critics"),
)
def redq(bug: str) -> Program:
    """An ensemble of critics run by vmap on their stacked parameters."""
    actor, base = mlp(DIM, 16, 2), mlp(DIM + 2, 16, 1)
    critics, _ = stack_module_state([mlp(DIM + 2, 16, 1) for _ in range(5)])
    targets = {name: p.detach().clone() for name, p in critics.items()}
    actor_opt = Adam(actor.parameters(), 1e-3)
    held = targets.values() if bug == "target_ensemble_live" else []
    critic_opt = Adam([*critics.values(), *held], 1e-3)
    if bug == "parameters_stacked_once":
        critics = {name: p.detach().clone().requires_grad_() for name, p in critics.items()}
    if bug == "target_ensemble_live":
        targets = {name: p.requires_grad_() for name, p in targets.items()}

    def q(parameters: dict[str, Tensor], x: Tensor, action: Tensor) -> Tensor:
        pair = torch.cat([x, action], -1)
        return vmap(lambda p: functional_call(base, p, (pair,)))(parameters)

    def step() -> dict[str, Tensor]:
        x, ahead = torch.randn(2, BATCH, DIM)
        taken, reward = torch.randn(BATCH, 2), torch.randn(BATCH, 1)
        some = {name: p[torch.randperm(5)[:2]] for name, p in targets.items()}
        goal = reward + 0.99 * q(some, ahead, actor(ahead).detach().tanh()).amin(0)
        critic_loss = (q(critics, x, taken) - goal).square().mean()
        update(critic_opt, critic_loss)
        actor_loss = -q(critics, x, actor(x).tanh()).mean()
        update(actor_opt, actor_loss)
        with torch.no_grad():
            for name, p in targets.items():
                p.lerp_(critics[name], 0.1)
        return {"critic": critic_loss, "actor": actor_loss}

    return Program(
        step,
        {"actor": actor, "critics": critics, "targets": targets},
        {"critic": critic_opt, "actor": actor_opt},
        targets={"targets": "critics"},
    )


@program(
    value_loss_kept_from_the_torso=("check", "missing-route", "torso"),
    torso_in_two_optimisers=("check", "two-optimisers", "torso"),
    policy_without_gradient=("watch", "flat-loss", "policy"),
)
def actor_critic(bug: str) -> Program:
    torso, actor, critic = mlp(DIM, 16, 8), nn.Linear(8, 3), nn.Linear(8, 1)
    optimizers: dict[str, Any] = {"optimizer": Adam(params(torso, actor, critic), 1e-3)}
    if bug == "torso_in_two_optimisers":
        optimizers = {
            "policy": Adam(params(torso, actor), 1e-3),
            "value": Adam(params(torso, critic), 1e-3),
        }

    def step() -> dict[str, Tensor]:
        x = torch.randn(BATCH, DIM)
        hidden = torso(x)
        policy = torch.distributions.Categorical(logits=actor(hidden))
        action, returns = policy.sample(), torch.randn(BATCH)
        value = critic(hidden.detach() if "kept" in bug else hidden).squeeze(-1)
        advantage = (returns - value).detach()
        if bug == "policy_without_gradient":
            advantage = value.detach() - value.detach()
        losses = {
            "policy": -(policy.log_prob(action) * advantage).mean(),
            "value": F.mse_loss(value, returns),
        }
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        (losses["policy"] + 0.5 * losses["value"]).backward()
        for optimizer in optimizers.values():
            optimizer.step()
        return losses

    return Program(
        step,
        {"torso": torso, "actor": actor, "critic": critic},
        optimizers,
        expected={"policy": {"torso", "actor"}, "value": {"torso", "critic"}},
    )


# Adversaries ---------------------------------------------------------------------------------


@program(
    fakes_not_detached=("watch", "stray-gradient", "generator"),
    generator_starved=("check", "starved-module", "generator"),
    generator_not_stepped=("watch", "never-moved", "generator"),
    gradients_not_cleared=("watch", "stray-gradient", "discriminator"),
)
def gan(bug: str) -> Program:
    generator, discriminator = mlp(4, 16, DIM), mlp(DIM, 16, 1)
    g_opt, d_opt = (Adam(m.parameters(), 1e-3) for m in (generator, discriminator))
    real_label, fake_label = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
    judged = F.binary_cross_entropy_with_logits

    def step() -> dict[str, Tensor]:
        g_opt.zero_grad()
        real, fake = torch.randn(BATCH, DIM), generator(torch.randn(BATCH, 4))
        shown = fake if bug == "fakes_not_detached" else fake.detach()
        d_loss = judged(discriminator(real), real_label) + judged(discriminator(shown), fake_label)
        if bug != "gradients_not_cleared":
            d_opt.zero_grad()
        d_loss.backward(retain_graph=bug == "fakes_not_detached")
        d_opt.step()
        fake = fake.detach() if bug == "generator_starved" else fake
        g_loss = judged(discriminator(fake), real_label)
        g_loss.backward()
        if bug != "generator_not_stepped":
            g_opt.step()
        return {"discriminator": d_loss, "generator": g_loss}

    return Program(
        step,
        {"generator": generator, "discriminator": discriminator},
        {"generator": g_opt, "discriminator": d_opt},
        expected={
            "discriminator": {"discriminator"},
            "generator": {"generator", "discriminator"},
        },
    )


@program(
    penalty_reaches_the_generator=("routes", "unexpected-route", "generator"),
    one_sided_penalty_never_active=("watch", "flat-loss", "penalty"),
)
def wgan_gp(bug: str) -> Program:
    generator, critic = mlp(4, 16, DIM), mlp(DIM, 16, 1)
    g_opt, d_opt = (Adam(m.parameters(), 1e-4, (0.0, 0.9)) for m in (generator, critic))

    def gradient_penalty(real: Tensor, fake: Tensor) -> Tensor:
        at = torch.lerp(real, fake, torch.rand(BATCH, 1))
        if not at.requires_grad:
            at.requires_grad_()
        (slope,) = torch.autograd.grad(critic(at).sum(), at, create_graph=True)
        length = slope.norm(dim=-1)
        if bug == "one_sided_penalty_never_active":
            return F.relu(length - 100).square().mean()
        return (length - 1).square().mean()

    def step() -> dict[str, Tensor]:
        real, noise = torch.randn(BATCH, DIM), torch.randn(BATCH, 4)
        fake = generator(noise)
        shown = fake if bug == "penalty_reaches_the_generator" else fake.detach()
        losses = {
            "critic": critic(fake.detach()).mean() - critic(real).mean(),
            "penalty": 10 * gradient_penalty(real, shown),
        }
        update(d_opt, losses["critic"] + losses["penalty"])
        losses["generator"] = -critic(generator(noise)).mean()
        update(g_opt, losses["generator"])
        return losses

    return Program(
        step,
        {"generator": generator, "critic": critic},
        {"generator": g_opt, "critic": (d_opt, ["critic", "penalty"])},
        expected={
            "critic": {"critic"},
            "penalty": {"critic"},
            "generator": {"generator", "critic"},
        },
    )
