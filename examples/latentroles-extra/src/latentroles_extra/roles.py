"""What a latent of ours is for."""

import latentroles as lr

LANDMARK = lr.Role(
    "LANDMARK",
    "what stands at a place: the same by day and by night, and apart from what stands elsewhere",
    forbids=frozenset({"temporal-adjacency", "action-identity", "open-loop-rollout"}),
    cautions=frozenset({"history-admitting"}),
    requires=frozenset({"anti-collapse"}),
)
