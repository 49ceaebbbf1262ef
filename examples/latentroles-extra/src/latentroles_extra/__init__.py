"""A role, a loss, an environment and a model of one's own, registered with latentroles."""

from .landmarks import landmarks as landmarks
from .losses import uniformity as uniformity
from .promenade import Promenade as Promenade
from .promenade import promenade as promenade
from .roles import LANDMARK as LANDMARK
