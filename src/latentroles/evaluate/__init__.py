"""What is measured and drawn after training."""

from .ladder import Ladder as Ladder
from .ladder import ladder as ladder
