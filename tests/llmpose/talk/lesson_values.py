"""What the taught model of these tests knows: two pictures and two poses."""

import numpy as np

from llmpose.talk.conversation import PosePart

RED = np.full((20, 30, 3), (200, 30, 30), np.uint8)
BLUE = np.full((30, 20, 3), (30, 30, 200), np.uint8)
STANDING = PosePart(codes=(3, 1, 4, 1, 5, 9, 2))
BENT = PosePart(codes=(6, 5, 3, 5, 8, 9, 7))
