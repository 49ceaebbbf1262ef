"""The language: expressions, layers, losses, and the Spec that holds them."""

from . import losses as losses
from . import measures as measures
from . import nn as nn
from .declarations import Box as Box
from .declarations import Discrete as Discrete
from .declarations import Gate as Gate
from .declarations import Latent as Latent
from .declarations import Loss as Loss
from .declarations import Measure as Measure
from .declarations import Module as Module
from .declarations import Phase as Phase
from .declarations import Picture as Picture
from .declarations import Target as Target
from .expr import Constant as Constant
from .expr import Expr as Expr
from .spec import Spec as Spec
from .spec import require_spec as require_spec
from .types import Type as Type
