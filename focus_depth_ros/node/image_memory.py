"""An Image message whose pixels are computed in the message's own memory, and not copied there.

A picture of a megabyte that is made elsewhere costs as much to copy into its message as to compute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from focus_depth_ros.node.image_codec import image_from_array


class ImageMemory:
    """`pixels` (H, W) or (H, W, C) are those of `message`, which is sent again for each picture."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, encoding: str) -> None:
        self.message = image_from_array(np.zeros(shape, dtype), encoding)
        self.pixels: NDArray[Any] = np.frombuffer(self.message.data, dtype).reshape(shape)
