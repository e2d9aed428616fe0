"""
The vendored weights, checked against their SHA-256, and the networks.

`weights/NOTICE` names their origin and licence. Threads must not share a network:
each loads its own, in about 10 ms. Short for a module: the only one that reads files.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ezlink_async.emulator.engine.arrays import Floats

DETECTOR = "face_detection_short_range.tflite"
LANDMARKS = "face_landmark.tflite"
TRIANGLES = "mesh_triangles.npy"

SHA256 = {
    DETECTOR: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    LANDMARKS: "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    TRIANGLES: "8217d2140fb03e45905b50e2cf30187ba2fefb91de811e0338ebfc9f940deb0d",
}
"""The SHA-256 of each vendored file."""


@contextlib.contextmanager
def weights_file(name: str) -> Iterator[Path]:
    """Give the path of a vendored file; RuntimeError when its SHA-256 is wrong."""
    folder = resources.files("ezlink_async.emulator.engine") / "weights"
    with resources.as_file(folder / name) as path:
        check(name, path.read_bytes())
        yield path


def check(name: str, content: bytes) -> None:
    """Raise RuntimeError unless *content* is the vendored file *name*."""
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise RuntimeError(f"{name} is damaged; install ezlink-async again")


def load_triangles() -> npt.NDArray[np.int64]:
    """Return the (898, 3) table of the three points of each triangle."""
    with weights_file(TRIANGLES) as path:
        return np.asarray(np.load(path, allow_pickle=False), np.int64)


class Network:
    """One network with the names of its outputs, for one thread."""

    def __init__(self, name: str, outputs: Sequence[str]) -> None:
        # OpenCV 5's new graph engine gives one output only; 4.x has no choice.
        # Read from a path: the overload for a buffer ignores the choice.
        engine = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
        options = () if engine is None else (engine,)
        with weights_file(name) as path:
            self._net = cv2.dnn.readNetFromTFLite(str(path), *options)
        self._outputs = tuple(outputs)

    def run(self, pixels: Floats) -> tuple[Floats, ...]:
        """Return the outputs for a square RGB picture, (1, 3, side, side)."""
        self._net.setInput(pixels)
        return tuple(
            np.array(output, np.float32) for output in self._net.forward(self._outputs)
        )


def sigmoid(values: Floats) -> Floats:
    """Return the logistic function, without overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))), np.float32)
