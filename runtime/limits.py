"""How large a picture from outside may be; docs/security.md lists the other limits."""

from __future__ import annotations

MIN_SIDE_PX = 8
MAX_PIXELS = 7680 * 4320  # 8K UHD; more is a mistake on a board, and 150 MB a copy
MAX_IMAGE_BYTES = 256 << 20  # of an image file
