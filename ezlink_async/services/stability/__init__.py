"""Stability: the calls behind ``/v2beta``, which older servers still have."""

from ezlink_async.services.stability.calls import Stability, StabilityImage
from ezlink_async.services.stability.endpoints import ENDPOINTS, endpoint_of
from ezlink_async.services.stability.submits import StabilityRequest
from ezlink_async.services.stability.tasks import STABILITY, STABILITY_UPSCALE

__all__ = [
    "ENDPOINTS",
    "STABILITY",
    "STABILITY_UPSCALE",
    "Stability",
    "StabilityImage",
    "StabilityRequest",
    "endpoint_of",
]
