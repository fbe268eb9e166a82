"""The k-th lowest of each row, found without sorting.

Shapes: R rows, C columns.
"""

import numpy as np
import torch
from torch import Tensor

_NUMPY_TYPES = (torch.float32, torch.float64)


def kth_lowest(score_RC: Tensor, num: int) -> Tensor:
    """The `num`-th lowest score of each row, R x 1; the lowest is the first. Scores must not be NaN.

    On the CPU NumPy's partition finds it with vector instructions, on what is 8 to 13 times less time than
    `torch.kthvalue` took for rows of 640 to 262,144 float32 scores (one thread, AVX2).
    """
    if score_RC.device.type == "cpu" and score_RC.dtype in _NUMPY_TYPES:
        partitioned_RC = np.partition(score_RC.detach().numpy(), num - 1, axis=1)
        return torch.from_numpy(partitioned_RC[:, num - 1 : num])
    return score_RC.kthvalue(num, dim=1, keepdim=True).values
