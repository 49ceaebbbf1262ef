"""The dependence graph of a spec and the queries on it."""

from .declared import routes as routes
from .drawing import Drawing as Drawing
from .drawing import draw as draw
from .reach import Reach as Reach
from .table import Cell as Cell
from .table import RouteTable as RouteTable
from .table import Row as Row
