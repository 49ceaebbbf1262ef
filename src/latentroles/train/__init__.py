"""Training: the loop, the run folder, and what both need."""

from .load import load as load
from .recipe import Recipe as Recipe
from .recipe import recipe as recipe
from .run import Run as Run
from .run import RunResult as RunResult
from .settings import EarlyStopping as EarlyStopping
from .settings import PhaseSettings as PhaseSettings
from .start import Interrupted as Interrupted
from .start import train as train
