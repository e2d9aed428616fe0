"""``ezlink run``: the jobs that a file lists, of any kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ezlink_async.batch.pairs.order_manifest import read_manifest
from ezlink_async.cli.job_options import JobOptions
from ezlink_async.cli.job_run import JobPlan, run_plan
from ezlink_async.cli.plugins import Plugins, import_plugins
from ezlink_async.errors import ConfigurationError


def run(
    path: Annotated[Path | None, Parameter(name="MANIFEST")] = None,
    /,
    *,
    plugin: Plugins = (),
    options: JobOptions,
) -> int:
    """
    Do the jobs that a file lists: MANIFEST.

    Each row has a kind (imagine, blend, describe, shorten, action, modal, change,
    image, flux, video, swap), the fields of such a job, and if wanted output, count and
    then. All rows are checked before anything is sent. The same command goes on where
    one has ended, and pays for nothing twice. Exit code 0: all done; 1: some are not;
    2: nothing could be done; 130: interrupted.

    Parameters
    ----------
    path
        JSON Lines, or CSV with a heading; its pictures are paths that begin at its
        own folder.
    plugin
        A Python module to import first, which registers a family of jobs; may be
        repeated.
    options
        See there.

    """
    import_plugins(plugin)
    given = [each for each in (path, options.manifest) if each is not None]
    if len(given) != 1:
        raise ConfigurationError("give one MANIFEST")
    options.check()
    (manifest,) = given
    plan = JobPlan(orders=read_manifest(manifest), none=f"{manifest} lists no job")
    return run_plan(options, plan)
