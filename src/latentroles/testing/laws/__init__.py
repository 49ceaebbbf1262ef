"""The laws of specs (S1-S20) and of backends (B1-B25), each an importable function.

    from latentroles.testing import laws

    laws.S3(spec, seed=1)            # raises AssertionError where the law does not hold
    laws.B5(spec, "torch", seed=1)
    laws.LAWS["B5"].run("torch")     # on random specs

`docs/laws.md` lists them; `law.py` says what a law reads and what a backend provides.
"""

from .along import ALONG as ALONG
from .along import along as along
from .along import directions as directions
from .batches import B12 as B12
from .batches import B13 as B13
from .batches import B14 as B14
from .batches import B16 as B16
from .case import Case as Case
from .case import compiled as compiled
from .case import inputs as inputs
from .case import reference as reference
from .case import results as results
from .case import step_of as step_of
from .checker import S13 as S13
from .checker import S15 as S15
from .checker import S18 as S18
from .checker import S19 as S19
from .checker import S20 as S20
from .declarations import S10 as S10
from .declarations import S11 as S11
from .declarations import S12 as S12
from .law import CAPABILITIES as CAPABILITIES
from .law import LAWS as LAWS
from .law import Inapplicable as Inapplicable
from .law import Law as Law
from .routes import S1 as S1
from .routes import S2 as S2
from .routes import S3 as S3
from .routes import S4 as S4
from .routes import S5 as S5
from .routes import S6 as S6
from .routes import S7 as S7
from .routes import S8 as S8
from .routes import S9 as S9
from .routes import S14 as S14
from .routes import S16 as S16
from .routes import S17 as S17
from .sources import B22 as B22
from .training import B6 as B6
from .training import B7 as B7
from .training import B8 as B8
from .training import B9 as B9
from .training import B10 as B10
from .training import B21 as B21
from .transforms import B11 as B11
from .transforms import B17 as B17
from .transforms import B20 as B20
from .values import B1 as B1
from .values import B2 as B2
from .values import B3 as B3
from .values import B4 as B4
from .values import B5 as B5
from .values import B18 as B18
from .values import B19 as B19
from .values import B25 as B25

# In the order of their numbers, whichever file they are from.
for _id in sorted(LAWS, key=lambda name: ("SB".index(name[0]), int(name[1:]))):
    LAWS[_id] = LAWS.pop(_id)
