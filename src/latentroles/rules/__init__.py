"""What the rules say of a Spec, and the Report that an audit gives too."""

from .check import check as check
from .diff import Diff as Diff
from .diff import diff as diff
from .enforce import Enforced as Enforced
from .enforce import enforce as enforce
from .finding import Finding as Finding
from .finding import Report as Report
