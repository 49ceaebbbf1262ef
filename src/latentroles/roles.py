"""What a latent is for. Roles are plain data: a downstream package declares its own.

A role forbids (error), cautions against (warning) and requires some of the pressures that losses
put on a latent. A contract binds the role, not every latent: planners may need inverse dynamics
into their state, which is then DYNAMICS and not PLACE.
"""

from dataclasses import dataclass

from .errors import SpecError, nearest, user_line
from .rulebook import REQUIREMENTS, RULES


@dataclass(frozen=True)
class Role:
    """The duty of a latent.

    Args:
        name: the name that tables and JSON show, upper case by custom.
        purpose: one line, what a latent of this role describes.
        forbids: slugs of the pressures that break the role.
        cautions: slugs of the pressures that weaken it.
        requires: what must be present: "anti-collapse" or "composition-measure".

    Raises:
        SpecError: a slug is no rule's, or a requirement is unknown.
    """

    name: str
    purpose: str
    forbids: frozenset[str] = frozenset()
    cautions: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for field, known in (
            ("forbids", RULES),
            ("cautions", RULES),
            ("requires", REQUIREMENTS),
        ):
            # Any collection of slugs will do; equal roles are equal data.
            slugs = frozenset(getattr(self, field))
            object.__setattr__(self, field, slugs)
            for slug in sorted(slugs - set(known)):
                raise SpecError(
                    f"{user_line()}role {self.name!r} {field} {slug!r}, which is no rule."
                    f"{nearest(slug, known)}"
                )

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
    forbids=frozenset({"ungated-edge"}),
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
