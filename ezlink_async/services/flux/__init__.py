"""Native Flux: pictures behind ``/flux/v1``, which are charged when they are there."""

from ezlink_async.services.flux.calls import FluxCalls
from ezlink_async.services.flux.requests import Flux
from ezlink_async.services.flux.tasks import FLUX

__all__ = ["FLUX", "Flux", "FluxCalls"]
