"""What the rules say of a Spec, and the Report that an audit gives too."""

from .check import check as check
from .finding import Finding as Finding
from .finding import Report as Report
