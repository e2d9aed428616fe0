"""
A page that shows the outcome of a batch: one file, to be opened from the disk.

:func:`report_on` makes it from a journal, :func:`write_report` from any photos.
Both need Pillow, which the ``cli`` extra brings; HEIC also needs pillow-heif.
"""

from ezlink_async.report.from_journal import report_on
from ezlink_async.report.models import Facts, LastRun, Photo, Status
from ezlink_async.report.writer import write_report

__all__ = ["Facts", "LastRun", "Photo", "Status", "report_on", "write_report"]
