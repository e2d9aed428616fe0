"""Pictures by Flux, Kling and Wan behind ``/v1/async/images``."""

from ezlink_async.services.image_generation.calls import Images
from ezlink_async.services.image_generation.requests import AsyncImage
from ezlink_async.services.image_generation.tasks import IMAGES

__all__ = ["IMAGES", "AsyncImage", "Images"]
