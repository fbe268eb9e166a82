"""Find the calibration data that hurts a pruned language model least."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prune.library import Model

__version__ = "0.1.0"
__all__ = ["Model"]


def __getattr__(name: str) -> object:
    """What `from prune import ...` offers, imported when it is asked for: it takes a second."""
    if name != "Model":
        raise AttributeError(f"module 'prune' has no attribute {name!r}; it offers {', '.join(__all__)}")
    from prune.library import Model

    return Model
