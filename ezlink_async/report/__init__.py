"""
A page that shows what became of a batch: one file, to be opened from the disk.

Knows neither the journal nor the batch: it is told of photos and shows them.
Needs Pillow, which the ``cli`` extra brings; HEIC also needs pillow-heif.
"""

from ezlink_async.report.values import Facts, Photo, Status
from ezlink_async.report.writing import write_report

__all__ = ["Facts", "Photo", "Status", "write_report"]
