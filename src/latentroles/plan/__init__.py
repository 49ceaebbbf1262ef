"""From a Spec to source text: normal forms, sharing, the Plan, the writer."""

from .build import Plan as Plan
from .build import plan_latent as plan_latent
from .build import plan_phase as plan_phase
from .build import plan_values as plan_values
from .source import generate as generate
