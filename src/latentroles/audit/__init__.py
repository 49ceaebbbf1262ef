"""The judgement on foreign training code, from what a backend's audit saw of it."""

from .expected import Expected as Expected
from .judge import judge as judge
from .movement import StepRecord as StepRecord
from .movement import WatchReport as WatchReport
from .movement import movement as movement
from .observed import Observed as Observed
from .observed import Optimiser as Optimiser
from .observed import own_losses as own_losses
