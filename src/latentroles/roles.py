"""What a latent is for. Roles are plain data: a downstream package declares its own.

A role forbids (error), cautions against (warning) and requires some of the pressures that losses
put on a latent. A contract binds the role, not every latent: planners may need inverse dynamics
into their state, which is then DYNAMICS and not PLACE.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """The duty of a latent.

    Args:
        name: the name that tables and JSON show, upper case by custom.
        purpose: one line, what a latent of this role describes.
        forbids: slugs of the pressures that break the role.
        cautions: slugs of the pressures that weaken it.
        requires: slugs of what must be present, such as something that prevents collapse.
    """

    name: str
    purpose: str
    forbids: frozenset[str] = frozenset()
    cautions: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return self.name


_PLACE_FORBIDS = frozenset(
    {
        "action-identity",
        "action-additivity",
        "temporal-adjacency",
        "open-loop-rollout",
        "rendered-prediction",
        "off-manifold-encoder",
        "action-leak",
    }
)
_PLACE_CAUTIONS = frozenset(
    {"conditioned-prediction", "target-live", "observation-sufficiency", "history-admitting"}
)

PLACE = Role(
    "PLACE",
    "a descriptor of place: the same after a loop of actions that returns",
    forbids=_PLACE_FORBIDS,
    cautions=_PLACE_CAUTIONS,
    requires=frozenset({"anti-collapse"}),
)
DYNAMICS = Role(
    "DYNAMICS",
    "memory and action effects: carries the history of actions",
    cautions=frozenset({"action-leak"}),
)
POSE = Role(
    "POSE",
    "coordinates that compose under actions",
    cautions=frozenset({"action-leak"}),
    requires=frozenset({"composition-measure"}),
)
DESCRIPTOR = Role(
    "DESCRIPTOR",
    "a long-range place id, a quotient of PLACE",
    forbids=_PLACE_FORBIDS,
    cautions=_PLACE_CAUTIONS,
    requires=frozenset({"anti-collapse"}),
)
EQUIVARIANT = Role("EQUIVARIANT", "a code of one frame that should change with the action")
AGGREGATE = Role(
    "AGGREGATE",
    "an invariant summary of a sequence, which may read actions",
    cautions=frozenset({"history-admitting"}),
)
