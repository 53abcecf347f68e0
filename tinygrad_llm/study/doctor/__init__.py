"""doctor: what this machine has, how fast it is, what slows it down, and what to do about it.

report = examine()
for finding in report.findings: print(finding.severity, finding.text, finding.command)
"""

from .finding import SEVERITIES, Finding
from .report import Report, examine

__all__ = ["SEVERITIES", "Finding", "Report", "examine"]
