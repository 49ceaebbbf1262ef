"""The dependence graph of a spec and the queries on it."""

from .reach import Reach as Reach
from .table import Cell as Cell
from .table import RouteTable as RouteTable
from .table import Row as Row
from .table import routes as routes
