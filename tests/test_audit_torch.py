"""The torch audit: routes read off an autograd graph, findings, watched steps, bad input."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import latentroles as lr
from latentroles.errors import AuditError
from latentroles.routes.table import RouteTable
from latentroles_specs.hzp import hzp
from latentroles_torch import audit

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
    assert table["critic"].path("encoder") == ("critic", "z", "encoder")
    assert table["actor"].path("z") == ("actor", "z")
    assert table["actor"].path("critic") == ()


def test_a_module_on_the_way_is_named():
    a, b, c = linear(), linear(), linear()
    loss = c(b(a(X)).relu()).relu().sum()
    table = audit.routes({"loss": loss}, {"a": a, "b": b, "c": c})
    assert table["loss"].path("a") == ("loss", "c", "b", "a")
