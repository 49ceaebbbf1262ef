"""The judgement on foreign training code, from what a backend's audit saw of it."""

from .expected import Expected as Expected
from .judge import judge as judge
from .judge import judge_steps as judge_steps
from .movement import StepRecord as StepRecord
from .movement import WatchReport as WatchReport
from .observed import Observed as Observed
from .observed import Optimiser as Optimiser
from .observed import own_losses as own_losses
