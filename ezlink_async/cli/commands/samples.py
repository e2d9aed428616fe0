"""``ezlink samples``: pictures to try the command with."""

from __future__ import annotations

import shlex
from pathlib import Path

from ezlink_async.cli.connect import has_engine
from ezlink_async.cli.display import Display
from ezlink_async.errors import ConfigurationError

_SOURCE = "astronaut.jpg"
_PACKAGE = Path(__file__).parents[2]


def samples(folder: Path, /) -> int:
    """
    Write the sample pictures into FOLDER, and print the command that swaps them.

    Their origins and licences are written beside them, in README.md. A file that is
    there with other content is kept, and is an error. The printed command needs no key
    and no network.

    Parameters
    ----------
    folder
        Where to write them; it is made if it is not there.

    """
    try:
        _copy(_sample_files(), folder)
    except OSError as error:
        raise ConfigurationError(
            f"the samples cannot be written to {folder}: {error.strerror or error}"
        ) from error
    words = ["ezlink", "swap", str(folder / _SOURCE), str(folder)]
    with Display() as display:
        display.inform(f"origins and licences: {folder / 'README.md'}")
        if not has_engine():
            display.note(
                "the command needs the built-in engine: "
                "pip install 'ezlink-async[local]'"
            )
        display.result(shlex.join([*words, "--local", "--output", "swapped"]))
    return 0


def _sample_files() -> list[Path]:
    """Return the samples of the wheel, or those of the source tree."""
    # The wheel has them in the package; a source tree among the docs, which show them.
    for place in (_PACKAGE / "samples", _PACKAGE.parent / "docs" / "samples"):
        if (place / _SOURCE).is_file():
            return sorted(path for path in place.iterdir() if path.is_file())
    raise ConfigurationError("this installation has no sample pictures")


def _copy(files: list[Path], folder: Path) -> None:
    """Write *files* into *folder*, all or none; equal ones stay as they are."""
    contents = {folder / path.name: path.read_bytes() for path in files}
    for path, content in contents.items():
        if path.exists() and (not path.is_file() or path.read_bytes() != content):
            raise ConfigurationError(
                f"{path} is there with other content: give another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        path.write_bytes(content)
