"""What the rules say of a Spec, and the Report that an audit gives too."""

from .finding import Finding as Finding
from .finding import Report as Report
