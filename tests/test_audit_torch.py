"""The torch audit: routes read off an autograd graph, findings, watched steps, bad input."""

import copy
import pydoc
import re
import weakref

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.optim import SGD, Adam
from torch.utils.checkpoint import checkpoint

import latentroles as lr
from latentroles.errors import AuditError, LatentrolesError
from latentroles.routes.table import RouteTable
from latentroles_specs.hzp import hzp
from latentroles_torch import audit
from latentroles_torch.audit import assert_routes

X = torch.linspace(-1, 1, 12).reshape(4, 3)


def linear(inputs: int = 3, outputs: int = 3) -> nn.Linear:
    return nn.Linear(inputs, outputs)


class Agent:
    """An encoder, an actor and a critic, whose losses share the encoder's output."""

    def __init__(self, leak: bool = False):
        self.encoder, self.actor, self.critic = linear(), linear(), linear(3, 1)
        self.modules = {"encoder": self.encoder, "actor": self.actor, "critic": self.critic}
        self.z = self.encoder(X).tanh()
        z = self.z if leak else self.z.detach()
        action = self.actor(z)
        self.losses = {
            "critic": (self.critic(self.z) - 1).square().mean(),
            "actor": (action - self.critic(z).detach()).square().mean(),
        }
        self.latents = {"z": self.z}


OPERATIONS = {
    "apply": lambda m, a, b: [m(a).tanh()],
    "add": lambda m, a, b: [a + b],
    "detach": lambda m, a, b: [a.detach()],
    "split": lambda m, a, b: [x.repeat(2, 1) for x in m(a).split(2)],
    "frozen": lambda m, a, b: [torch.func.functional_call(m, detached(m), (a,))],
    "loop": lambda m, a, b: [loop(m, a, b)],
    "checkpoint": lambda m, a, b: [checkpoint(m, a, use_reentrant=False)],
    "in place": lambda m, a, b: [a.clone().mul_(b)],
}


def detached(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in module.named_parameters()}


def loop(module: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    for _ in range(3):
        a = module(a).tanh() + b
    return a


# Routes --------------------------------------------------------------------------------------


def test_routes_of_an_agent():
    agent = Agent()
    table = audit.routes(agent.losses, agent.modules, agent.latents)
    assert table.live == {"critic": {"encoder", "critic"}, "actor": {"actor"}}
    assert table["critic"].latents == {"z"}
    assert not table["actor"].latents
    assert table["actor"]["encoder"].status == "unconnected"
    assert "encoder, critic" in str(table)


def test_the_path_is_in_the_users_names():
    agent = Agent(leak=True)
    table = audit.routes(agent.losses, agent.modules, agent.latents)
    # the first "actor" is the loss
    assert table["actor"].path("encoder") == ("actor", "actor", "z", "encoder")
    assert table["critic"].path("encoder") == ("critic", "critic", "z", "encoder")
    assert table["actor"].path("z") == ("actor", "actor", "z")
    assert table["actor"].path("critic") == ()


def test_a_module_on_the_way_is_named():
    a, b, c = linear(), linear(), linear()
    loss = c(b(a(X)).relu()).relu().sum()
    table = audit.routes({"loss": loss}, {"a": a, "b": b, "c": c}, latents={})
    assert table["loss"].path("a") == ("loss", "c", "b", "a")


@given(st.lists(st.tuples(st.sampled_from([*OPERATIONS]), *[st.integers(0, 99)] * 3), min_size=4))
def test_a_route_is_there_exactly_where_autograd_finds_a_gradient(operations):
    modules = {f"m{i}": linear() for i in range(4)}
    values = [X, X.clone().requires_grad_()]
    for operation, module, one, two in operations:
        a, b = values[one % len(values)], values[two % len(values)]
        values += OPERATIONS[operation](modules[f"m{module % 4}"], a, b)
    losses = {f"l{i}": v.sum() for i, v in enumerate(values[-3:]) if v.requires_grad}
    latents = {f"z{i}": v for i, v in enumerate(values[:8])}
    assume(losses)
    table = audit.routes(losses, modules, latents)
    for name, loss in losses.items():
        columns = {m: module.weight for m, module in modules.items()} | {
            z: v for z, v in latents.items() if v.requires_grad
        }
        gradients = torch.autograd.grad(
            loss, list(columns.values()), retain_graph=True, allow_unused=True
        )
        flows = {c for c, g in zip(columns, gradients, strict=True) if g is not None}
        assert table[name].modules | table[name].latents == flows
        assert all(table[name].path(c)[-1] == c for c in flows)
        assert all(table[name].path(c) == () for c in columns.keys() - flows)


def test_no_backward_is_run_and_none_changes_the_table():
    agent = Agent()
    before = audit.routes(agent.losses, agent.modules, agent.latents)
    assert all(p.grad is None for m in agent.modules.values() for p in m.parameters())
    agent.losses["critic"].backward()
    after = audit.routes(agent.losses, agent.modules, agent.latents)
    assert not before.differences(after)
    assert after["critic"].path("encoder") == ("critic", "critic", "z", "encoder")


def test_a_module_reached_in_part_says_how_much():
    module = nn.ModuleList([linear(), linear()])
    table = audit.routes({"loss": module[0](X).sum()}, {"m": module})
    assert str(table["loss"]["m"]) == "live (2 of 4 parameters)"


def test_a_frozen_module_reads_frozen():
    head, backbone = linear(), linear().requires_grad_(False)
    table = audit.routes({"loss": head(backbone(X)).sum()}, {"head": head, "backbone": backbone})
    assert table["loss"]["backbone"].status == "frozen"


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.activation, self.empty = linear(), nn.Tanh(), None
        self.teacher = self.encoder
        self.scale = nn.Parameter(torch.ones(()))
        self.register_parameter("bias", None)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return (self.scale * self.activation(self.encoder(x))).mean()


def test_a_whole_module_stands_for_its_children():
    whole = Whole()
    loss = {"loss": whole(X)}
    table = audit.routes(loss, whole)
    assert table.modules == ("encoder", "teacher", "scale")
    assert table["loss"].modules == {"encoder", "teacher", "scale"}
    assert audit.check(loss, whole).of("aliased-module")
    assert audit.watch(trainer(whole), whole).moved == {"encoder": 5, "teacher": 5, "scale": 5}
    parts = nn.ModuleDict({"a": linear(), "b": linear()})
    found = audit.routes({"loss": parts["a"](X).sum()}, parts)
    assert found.modules == ("a", "b")
    assert found["loss"].modules == {"a"}


def test_a_name_that_is_no_column_is_refused():
    agent = Agent()
    row = audit.routes(agent.losses, agent.modules, agent.latents)["actor"]
    for ask in (row.path, row.__getitem__):
        with pytest.raises(LatentrolesError, match=r"'actr' in 'actor'\. Did you mean 'actor'"):
            ask("actr")


def test_help_lists_the_functions():
    said = pydoc.plain(pydoc.render_doc(audit))
    for function in ("assert_routes(", "check(", "routes(", "watch("):
        assert f"\n    {function}" in said


def test_modules_are_given_in_any_form():
    a, b, temperature = linear(), linear(), torch.ones((), requires_grad=True)
    loss = (b(a(X)) * temperature).sum()
    modules = {
        "generator": a.parameters(),
        "pairs": b.named_parameters(),
        "both": [a, b],
        "dict": {"weight": a.weight, "head": b},
        "temperature": temperature,
    }
    table = audit.routes({"loss": loss}, modules)
    assert table["loss"].modules == set(modules)
    assert {str(table["loss"][name]) for name in modules} == {"live"}


def test_a_deep_graph_is_read_and_freed_without_recursion():
    cell = torch.ones((), requires_grad=True)
    h = torch.zeros(())
    for _ in range(100_000):
        h = h * 0.5 + cell
    table = audit.routes({"loss": h}, {"cell": cell}, {"h": h})
    assert table["loss"].path("cell") == ("loss", "h", "cell")
    alive = weakref.ref(h)
    del h  # with 200,000 nodes
    assert alive() is None
    assert table["loss"].path("cell") == ("loss", "h", "cell")


def test_a_loss_may_be_a_leaf():
    scalar = torch.ones((), requires_grad=True)
    table = audit.routes({"loss": scalar}, {"scalar": scalar})
    assert table["loss"].path("scalar") == ("loss", "scalar")


def test_latents_are_told_apart_by_output_and_by_identity():
    encoder = linear(3, 4)
    mean, scale = encoder(X).chunk(2, -1)
    unused, constant = encoder(X), X.clone()
    leaf = torch.zeros(4, 2, requires_grad=True)
    latents = {"mean": mean, "scale": scale, "unused": unused, "x": constant, "leaf": leaf}
    losses = {"one": (mean + leaf).sum(), "two": (mean * mean).sum() + scale.sum()}
    table = audit.routes(losses, {"encoder": encoder}, latents)
    assert table["one"].latents == {"mean", "leaf"}
    assert table["two"].latents == {"mean", "scale"}
    assert table["two"].path("scale") == ("two", "scale")
    assert table["one"].path("leaf") == ("one", "leaf")


def test_a_loss_that_is_a_latent_and_is_read_by_another():
    module = linear(3, 1)
    first = module(X).sum()
    table = audit.routes(
        {"first": first, "second": 2 * first, "other": module(X).sum()},
        {"module": module},
        {"shared": first},
    )
    assert table["first"].latents == table["second"].latents == {"shared"}
    assert not table["other"].latents
    assert table["first"].path("shared") == ("first", "shared")


def test_losses_that_are_outputs_of_one_operation():
    module = linear()
    variance, mean = torch.var_mean(module(X))
    losses, latents = {"variance": variance, "mean": mean}, {"spread": variance}
    table = audit.routes(losses, {"module": module}, latents)
    assert table["variance"].latents == {"spread"}
    assert not table["mean"].latents
    assert table["variance"].path("module") == ("variance", "spread", "module")


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.variable = "no parameter"
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def ensemble(members: list[nn.Module], x: Tensor) -> Tensor:
    stacked, buffers = stack_module_state(members)
    stacked = {name: torch.stack([m.get_parameter(name) for m in members]) for name in stacked}
    return vmap(lambda p, b: functional_call(members[0], (p, b), (x,)))(stacked, buffers)


def penalty(a: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(a(x).tanh().sum(), x, create_graph=True)[0].square().sum()


PASSAGES = {
    "a checkpoint": lambda a, b: checkpoint(a, b(X), use_reentrant=False).sum(),
    "a custom function": lambda a, b: Double.apply(a(b(X))).sum(),
    "a gradient penalty": lambda a, b: penalty(a, b(X)),
    "an ensemble under vmap": lambda a, b: ensemble([a, copy.deepcopy(a)], b(X)).sum(),
    "autocast": lambda a, b: amp(a, b),
    "a write in place": lambda a, b: (
        torch.zeros(4, 3).index_add_(0, torch.arange(4), a(b(X))).sum()
    ),
    "a factor of zero": lambda a, b: (0 * a(b(X))).sum(),
}


def amp(a: nn.Module, b: nn.Module) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return a(b(X)).float().sum()


@pytest.mark.parametrize("way", PASSAGES)
def test_the_graph_is_read_through(way):
    a, b, other = linear(), linear(), linear()
    table = audit.routes({"loss": PASSAGES[way](a, b)}, {"a": a, "b": b, "other": other})
    assert table["loss"].modules == {"a", "b"}
    assert table["loss"].path("b")[-1] == "b"


@pytest.mark.filterwarnings("ignore")  # of the compiler itself
def test_a_compiled_module_is_one_node():
    a, b, other = linear(), linear(), linear()
    loss = torch.compile(a, backend="aot_eager")(b(X)).sum()
    table = audit.routes({"loss": loss}, {"a": a, "b": b, "other": other})
    assert table["loss"].modules == {"a", "b"}
    assert table["loss"].path("b") == ("loss", "a", "b")


def test_a_compiled_spec_has_its_declared_routes():
    spec = hzp(dim=8)
    model = lr.compile(spec, backend="torch")
    random = np.random.default_rng(0)
    batch = {
        "x": random.integers(0, 256, (2, 6, 3, 56, 56), dtype=np.uint8),
        "a": random.integers(0, 3, (2, 5)),
        "pose": random.normal(size=(2, 6, 4)).astype(np.float32),
    }
    out = model(model.inputs(batch))
    modules = {name: model.get_submodule(name) for name in spec.modules}
    assert audit.routes(out.losses, modules) == lr.routes(spec)


# Check ---------------------------------------------------------------------------------------


def found(report, *slugs: str) -> None:
    assert sorted(f.rule for f in report.findings) == sorted(slugs), report


def test_a_clean_agent():
    agent = Agent()
    report = audit.check(
        agent.losses,
        agent.modules,
        optimizers={
            "critic": Adam([*agent.encoder.parameters(), *agent.critic.parameters()]),
            "actor": Adam(agent.actor.parameters()),
        },
        expected={"critic": {"encoder", "critic"}, "actor": ["actor"]},
    )
    found(report)
    assert report.clean
    assert report.routes["actor"].modules == {"actor"}


def test_a_leak_against_a_golden_file(tmp_path):
    agent = Agent()
    audit.routes(agent.losses, agent.modules).save(tmp_path / "routes.json")
    agent = Agent(leak=True)
    golden = RouteTable.load(tmp_path / "routes.json")
    report = audit.check(agent.losses, agent.modules, agent.latents, expected=golden)
    found(report, "unexpected-route")
    assert "loss `actor` updates `encoder`, which is not expected\n" in str(report)
    assert "  actor <- actor <- z <- encoder\n" in str(report)
    found(audit.check(Agent().losses, agent.modules, expected=golden), *DETACHED)


DETACHED = (  # the losses of one agent beside the modules of another
    ["dead-route"] * 2 + ["missing-route"] * 3 + ["starved-module"] * 3
)


def test_a_gradient_that_ends_at_anothers_optimiser_is_a_note():
    actor, critic = linear(), linear(3, 1)
    losses = {"actor": -critic(actor(X)).mean(), "critic": critic(X).square().mean()}
    modules = {"actor": actor, "critic": critic}
    optimizers = {"actor": Adam(actor.parameters()), "critic": Adam(critic.parameters())}
    report = audit.check(losses, modules, optimizers=optimizers)
    found(report, "stray-gradient")
    assert report.clean
    assert report.findings[0].path == "actor <- critic"
    joint = {"both": (Adam([*actor.parameters(), *critic.parameters()]), ["actor", "critic"])}
    found(audit.check(losses, modules, optimizers=joint))
    single = {"any name": joint["both"][0]}
    found(audit.check(losses, modules, optimizers=single))


def test_what_optimisers_leave_out_and_hold_in_vain():
    used, idle = linear(), linear()
    loss = {"loss": used(X).sum()}
    optimizer = SGD([used.weight, *idle.parameters()], 0.1)
    report = audit.check(loss, {"net": [used, idle]}, optimizers={"sgd": optimizer})
    found(report, "unowned-parameters", "idle-parameters")
    assert "the gradient of `loss` reaches 1 of 4 parameters (0.bias) of `net`" in str(report)
    assert "holds 2 of 4 parameters (1.weight, 1.bias) of `net`, which no loss" in str(report)


def test_frozen_parameters_beside_others_are_nobodys_mistake():
    head, backbone = linear(), linear().requires_grad_(False)
    optimizer = SGD([*head.parameters(), *backbone.parameters()], 0.1)
    loss = {"loss": head(backbone(X)).sum()}
    found(audit.check(loss, {"net": [head, backbone]}, optimizers={"sgd": optimizer}))


def test_tied_weights_are_a_note_and_a_shared_teacher_is_an_error():
    encoder, decoder = linear(), linear()
    decoder.weight = encoder.weight
    loss, modules = {"loss": decoder(encoder(X)).sum()}, {"encoder": encoder, "decoder": decoder}
    report = audit.check(loss, modules)
    found(report, "aliased-module")
    assert report.clean
    assert "in part: they share 1 of 2" in str(report)
    report = audit.check(loss, modules, targets={"decoder": "encoder"})
    assert [f.rule for f in report.errors] == ["aliased-module"]
    assert [f.rule for f in report.warnings] == ["target-live"]


# Watch ---------------------------------------------------------------------------------------


def trainer(module: nn.Module, lr: float = 0.1):
    """A step that trains a module, and its optimiser."""
    optimizer = SGD(module.parameters(), lr)

    def step():
        loss = (module(X) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def test_watch_counts_what_moved_and_leaves_no_hook():
    module = nn.Sequential(linear(), nn.BatchNorm1d(3))
    report = audit.watch(trainer(module), {"m": module}, steps=3)
    found(report)
    assert report.moved == {"m": 3}
    assert str(report).startswith("m  moved in 3 of 3 steps\n")
    assert report.routes["loss"].modules == {"m"}
    assert not any(p._backward_hooks for p in module.parameters())


def test_running_statistics_do_not_hide_weights_that_stay():
    module = nn.Sequential(linear(), nn.BatchNorm1d(3))
    report = audit.watch(trainer(module, lr=0.0), {"m": module})
    found(report, "never-moved")
    assert "m  moved in 5 of 5 steps (its buffers alone)" in str(report)


@pytest.mark.parametrize("returned", [None, 1.5, {"loss": 1.5}, {"loss": torch.ones(())}])
def test_without_graphs_a_warning_says_that_no_route_is_known(returned):
    module, other = linear(), linear()
    step = trainer(module)

    def numbers():
        step()
        return returned

    modules = {"m": module, "other": other}
    for optimizers in (None, {"a": SGD(module.parameters()), "b": SGD(other.parameters())}):
        if optimizers and isinstance(returned, dict):
            optimizers = {"loss": SGD([*module.parameters(), *other.parameters()])}
        report = audit.watch(numbers, modules, optimizers=optimizers)
        found(report, "routes-unknown")
        said = "the step returned no loss" if returned is None else "`loss` was a number"
        assert report.warnings[0].message.startswith(said)
        assert not report.clean
        assert report.moved == {"m": 5, "other": 0}
        assert not len(report.routes)
    table = audit.routes({"loss": module(X).sum()}, modules)
    for routes in (table, lambda: table):
        report = audit.watch(numbers, modules, routes=routes)
        found(report, "starved-module")
        assert report.routes["loss"].path("m") == ("loss", "m")


@pytest.mark.parametrize("leak", [False, True])
@pytest.mark.parametrize("graphs", [False, True])
def test_with_given_routes_a_step_of_numbers_is_judged_like_one_of_tensors(graphs, leak):
    actor, critic, target = linear(), linear(3, 1), linear(3, 1)
    modules = {"actor": actor, "critic": critic, "target": target}
    optimizers = {
        "actor": SGD([*actor.parameters(), *(target.parameters() if leak else [])], 0.1),
        "critic": SGD(critic.parameters(), 0.1),
    }

    def losses():
        value = critic(actor(X)) + target(actor(X) if leak else X).detach()
        value = value + target(X) if leak else value
        return {"actor": -value.mean(), "critic": (critic(X) - 1).square().mean()}

    def step():
        actor.zero_grad()
        if not leak:
            critic.zero_grad()
        found = losses()
        found["actor"].backward()
        optimizers["actor"].step()
        if not leak:
            critic.zero_grad()
        found = {**found, "critic": losses()["critic"]}
        found["critic"].backward()
        optimizers["critic"].step()
        with torch.no_grad():
            target.weight.lerp_(critic.weight, 0.1)
        return found if graphs else {name: loss.item() for name, loss in found.items()}

    report = audit.watch(
        step,
        modules,
        optimizers=optimizers,
        targets={"target": "critic"},
        routes=None if graphs else audit.routes(losses(), modules),
    )
    found(report, *(["stray-gradient", "target-live"] if leak else []))


def test_the_graph_of_a_step_counts_before_the_table_that_was_given():
    module, other = linear(), linear()
    modules = {"m": module, "other": other}
    stale = audit.routes({"loss": other(X).sum()}, modules)
    report = audit.watch(trainer(module), modules, routes=stale)
    assert report.routes["loss"].modules == {"m"}


def test_a_module_that_is_in_no_table_is_none_that_the_step_differentiates():
    module, other = linear(), linear()
    step, table = trainer(module), audit.routes({"loss": module(X).sum()}, {"m": module})
    modules = {"m": module, "other": other}
    found(audit.watch(lambda: step().item(), modules, routes=table))

    def moves():
        with torch.no_grad():
            other.weight.add_(1.0)
        return step().item()

    found(audit.watch(moves, modules, routes=table), "moved-without-route")


def test_an_optimiser_of_parameters_that_nobody_named():
    module, other = linear(), linear()
    optimizers = {"sgd": SGD([*module.parameters(), *other.parameters()])}
    report = audit.check({"loss": module(X).sum()}, {"m": module}, optimizers=optimizers)
    found(report, "unnamed-parameters")
    assert "optimiser `sgd` holds 2 parameters that are in none of the named" in str(report)
    found(audit.watch(trainer(module), {"m": module}, optimizers=optimizers), "unnamed-parameters")
    other.requires_grad_(False)
    found(audit.check({"loss": module(X).sum()}, {"m": module}, optimizers=optimizers))


def test_a_starved_module_that_does_not_move_either():
    module, other = linear(), linear()
    found(audit.watch(trainer(module), {"m": module, "other": other}), "starved-module")


@pytest.mark.parametrize("cleared", ["before each backward pass", "once", "never"])
def test_a_gradient_of_another_loss_that_is_applied(cleared):
    actor, critic = linear(), linear(3, 1)
    optimizers = {"actor": SGD(actor.parameters()), "critic": SGD(critic.parameters())}

    def step():
        losses = {"actor": -critic(actor(X)).mean(), "critic": critic(X).square().mean()}
        if cleared == "once":
            actor.zero_grad()
            critic.zero_grad(set_to_none=False)
        for loss, module in (("actor", actor), ("critic", critic)):
            if cleared == "before each backward pass":
                module.zero_grad()
            losses[loss].backward()
        for optimizer in optimizers.values():
            optimizer.step()
        return losses

    report = audit.watch(step, {"actor": actor, "critic": critic}, optimizers=optimizers)
    if cleared == "before each backward pass":
        found(report)
    else:
        found(report, "stray-gradient")
        assert "its step applied that gradient in 5 of 5 steps\n  actor <- critic" in str(report)


def test_losses_that_are_differentiated_together():
    body, one, two = linear(), linear(), linear()
    optimizers = {
        "one": (SGD([*body.parameters(), *one.parameters()]), ["first"]),
        "two": SGD(two.parameters()),
    }

    def step():
        h = body(X)
        losses = {"first": one(h).square().mean(), "two": two(h.detach()).square().mean()}
        for optimizer, _ in (optimizers["one"], (optimizers["two"], None)):
            optimizer.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        optimizers["one"][0].step()
        optimizers["two"].step()
        return losses

    found(audit.watch(step, {"body": body, "one": one, "two": two}, optimizers=optimizers))


def test_nan_that_stays_is_no_movement():
    module = nn.Linear(3, 3)
    module.register_buffer("cap", torch.tensor(float("nan")))
    assert audit.watch(lambda: None, {"m": module}).moved == {"m": 0}


def test_a_flat_loss_by_value_and_by_gradient():
    a, b = linear(), linear()

    def step():
        losses = {"value": (a(X) - a(X)).square().sum(), "gradient": (0 * b(X)).sum() + 1}
        (losses["value"] + losses["gradient"]).backward()
        return losses

    report = audit.watch(step, {"a": a, "b": b}, steps=2)
    found(report, "flat-loss", "flat-loss", "never-moved", "never-moved")
    assert "loss `value` was exactly 0 in all 2 draws" in str(report)
    assert "loss `gradient` had a gradient of exactly 0 in all 2 draws" in str(report)


def test_routes_that_come_and_go():
    a, b = linear(), linear()
    count = iter(range(10))

    def step():
        h = a(X)
        loss = (b(h) if next(count) % 2 else h).square().mean()
        loss.backward()
        with torch.no_grad():
            for p in (*a.parameters(), *b.parameters()):
                p.add_(0.1)
        return {"loss": loss}

    report = audit.watch(step, {"a": a, "b": b})
    found(report, "unstable-routes")
    assert "step 0 updates `a`, step 1 updates `a`, `b`" in str(report)


def test_what_a_step_raises_is_passed_on_and_hooks_are_gone():
    module = linear()

    def step():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        audit.watch(step, {"m": module})
    assert not any(p._backward_hooks for p in module.parameters())


# assert_routes -------------------------------------------------------------------------------


def test_assert_routes():
    agent = Agent()
    table = audit.routes(agent.losses, agent.modules, agent.latents)
    assert_routes(table, {"actor": {"actor"}, "critic": ["critic", "encoder"]})
    assert_routes(table, table, latents={"critic": {"z"}})


def test_assert_routes_shows_both_sides_and_the_path():
    agent = Agent(leak=True)
    table = audit.routes(agent.losses, agent.modules, agent.latents)
    with pytest.raises(AssertionError) as caught:
        assert_routes(
            table,
            {"actor": {"actor", "critic"}, "critic": {"encoder", "critic"}},
            latents={"critic": {"z"}},
        )
    assert str(caught.value) == (
        "the routes of 'training step' changed\n"
        "  loss   updates (expected)  updates (found)\n"
        "  actor  actor, critic       actor, encoder\n"
        "  not expected: actor <- actor <- z <- encoder\n"
        "  expected, and not there: actor <- critic\n"
        "  loss   gradient flows into (expected)  gradient flows into (found)\n"
        "  actor  nothing                         z\n"
        "  not expected: actor <- actor <- z"
    )


def test_assert_routes_against_a_table_with_another_loss():
    agent = Agent()
    table = audit.routes(agent.losses, agent.modules)
    smaller = audit.routes({"actor": agent.losses["actor"]}, agent.modules)
    with pytest.raises(AssertionError, match=r"critic +critic, encoder +there is no such loss"):
        assert_routes(smaller, table)
    with pytest.raises(AssertionError, match="not expected: critic <- critic"):
        assert_routes(table, smaller)


M = linear()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (({"actor": {"actor"}},), "loss 'actor' that 'training step' does not have. Known: loss"),
        (({"loss": {"encodr"}},), "a module 'encodr'.*Did you mean 'encoder'"),
        (({"loss": "encoder"},), "a set of names such as {'encoder'}, received 'encoder'"),
        ((["encoder"],), "a RouteTable, the path of one, or a dict such as .*received list"),
        (({"loss": {"encoder"}}, {"loss": {"q"}}), "a latent 'q' that"),
        (({"loss": M},), "of loss 'loss' are a set of names such as {'module'}, received Linear"),
        (({"loss": [M]},), "name a module Linear that"),
    ],
)
def test_assert_routes_refuses(arguments, says):
    encoder = linear()
    table = audit.routes({"loss": encoder(X).sum()}, {"encoder": encoder})
    with pytest.raises(AuditError, match=says):
        assert_routes(table, arguments[0], latents=arguments[1] if arguments[1:] else None)


# Bad input -----------------------------------------------------------------------------------


def inference(module: nn.Module) -> Tensor:
    with torch.inference_mode():
        return module(X).sum()


GOOD = {"losses": {"loss": M(X).sum()}, "modules": {"m": M}}
BAD = {
    "a number": ({"losses": {"loss": 0.5}}, r"loss 'loss' must be a tensor.*float.*item"),
    "no gradient": ({"losses": {"loss": X.sum()}}, r"loss 'loss' needs no gradient: it was det"),
    "no scalar": ({"losses": {"loss": M(X)}}, r"must be a scalar, received the shape \(4, 3\)"),
    "inference": ({"losses": {"loss": inference(M)}}, r"inference mode.*inference_mode\(\)"),
    "no dict": ({"losses": M(X).sum()}, r"losses= must be a dict of names, received Tensor"),
    "empty dict": ({"losses": {}}, r"losses= is empty: there is nothing to audit"),
    "a model as key": ({"modules": {M: M}}, r"keys of modules= must be names, received Linear\."),
    "empty module": ({"modules": nn.ReLU()}, r"modules= is a ReLU without parameters"),
    "a model listed": (
        {"optimizers": {"o": (SGD([M.weight]), M)}},
        r"lists its losses as Linear. Fix: \{'o': \(optimizer, \['loss'\]\)\}",
    ),
    "a key": ({"losses": {0: M(X).sum()}}, r"keys of losses= must be names, received 0"),
    "modules": ({"modules": [M]}, r"modules= must be a dict of names, received list"),
    "no module": ({"modules": {"m": 3}}, r"module 'm' must be an nn.Module, or parameters.*int"),
    "in a list": ({"modules": {"m": [M, "x"]}}, r"module 'm' must be an nn.Module.*received str"),
    "no parameters": ({"modules": {"m": nn.ReLU()}}, r"module 'm' has no parameters.*leave it"),
    "no leaf": ({"modules": {"m": [2 * M.weight]}}, r"'0' in modules= was computed from other"),
    "lazy": ({"modules": {"m": nn.LazyLinear(3)}}, r"'weight' has no shape yet.*run its module"),
    "latent": ({"latents": {"z": np.zeros(3)}}, r"latent 'z' must be the very tensor.*ndarray"),
    "twice": ({"latents": {"m": X}}, r"'m' is a name in modules= and in latents="),
    "optimizers": (
        {"optimizers": {"o": M}},
        r"optimizers\['o'\] must be a torch.optim.Opt.*Linear",
    ),
    "no such loss": (
        {"optimizers": {"o": (SGD([M.weight]), ["los"])}},
        r"lists a loss 'los' that is not in losses. Did you mean 'loss'",
    ),
    "a listed name": (
        {"optimizers": {"o": (SGD([M.weight]), "loss")}},
        r"lists its losses as 'loss'. Fix: \{'o': \(optimizer, \['loss'\]\)\}",
    ),
    "whose": (
        {"optimizers": {"loss": SGD([M.weight]), "other": SGD([M.bias])}},
        r"optimizers\['other'\] is named like no loss, and there are 2 optimisers",
    ),
    "orphan": (
        {
            "losses": {"loss": M(X).sum(), "more": M(X).sum()},
            "optimizers": {"loss": SGD([M.weight])},
        },
        r"no optimiser applies the gradient of loss 'more'",
    ),
    "target": ({"targets": {"teacher": "m"}}, r"targets= names 'teacher', which is none of"),
    "itself": ({"targets": {"m": "m"}}, r"makes 'm' a copy of itself"),
    "expected": ({"expected": {"lss": {"m"}}}, r"a loss 'lss' that.*Did you mean 'loss'"),
    "reentrant": (
        {"losses": {"loss": checkpoint(M, X.clone().requires_grad_(), use_reentrant=True).sum()}},
        r"reentrant checkpoint.*use_reentrant=False",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_what_to_do(case):
    changed, says = BAD[case]
    with pytest.raises(AuditError, match=says) as caught:
        audit.check(**{**GOOD, **changed})
    assert re.match(r"test_audit_torch\.py:\d+: ", str(caught.value))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((M(X).sum(), {"m": M}), "takes a function that runs one training step, received Tensor"),
        ((lambda: (1.0, 2.0), {"m": M}), "must return {name: loss}.*received tuple"),
        ((lambda: {"a": X}, {"m": M}), r"received a tensor of shape \(4, 3\)"),
        ((lambda: M(X), {"m": M}), r"must be a scalar, received the shape \(4, 3\)"),
        ((lambda: None, {"m": nn.ReLU()}), "module 'm' has no parameters and no buffers"),
        ((lambda: None, {}), "modules= is empty"),
        ((lambda x: x, {"m": M}), r"calls `step\(\)`.*`<lambda>\(x\)`: missing a required arg"),
    ],
)
def test_a_step_that_cannot_be_watched(arguments, says):
    with pytest.raises(AuditError, match=says):
        audit.watch(*arguments)


def test_no_steps():
    with pytest.raises(LatentrolesError, match=r"steps .* must be an integer of at least 1"):
        audit.watch(lambda: None, {"m": M}, steps=0)
