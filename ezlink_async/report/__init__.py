"""
A page that shows what became of a batch: one file, to be opened from the disk.

The page knows neither journal nor batch: it is told of photos and shows them.
Needs Pillow, which the ``cli`` extra brings; HEIC also needs pillow-heif.
"""

from ezlink_async.report.from_journal import report_on
from ezlink_async.report.models import Facts, Photo, Status
from ezlink_async.report.writer import write_report

__all__ = ["Facts", "Photo", "Status", "report_on", "write_report"]
