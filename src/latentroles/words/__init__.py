"""Environments with a declared place, and the words that return to it."""

from .environment import Environment as Environment
from .environment import WordError as WordError
from .loops import Loops as Loops
from .loops import close as close
from .transitions import Transitions as Transitions
from .transitions import explore as explore
from .word import Word as Word
from .word import run as run
from .word import spell as spell
from .word import word as word
