from .collect import collect as collect
from .collect import collect_or_reuse as collect_or_reuse
from .trajectories import Trajectories as Trajectories
from .windows import Windows as Windows
from .windows import relative_pose as relative_pose
