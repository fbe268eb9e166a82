"""Two controls of the study: text that carries no meaning. If they calibrate as well as prose, content does not matter."""

import random
import string

from prune.data.dataset import ControlSet

_CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " "


def _random_text(seed: int, num_chars: int) -> str:
    return "".join(random.Random(seed).choices(_CHARACTERS, k=num_chars))


def _ellipses_text(_seed: int, num_chars: int) -> str:
    return "." * num_chars


DATASETS = (ControlSet(name="random", text=_random_text), ControlSet(name="ellipses", text=_ellipses_text))
