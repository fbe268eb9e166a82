"""`from prune.lazy import torch` in place of `import torch`: PyTorch loads when the first attribute of it is asked for.

So a method's knobs and its tensor code live in one file, and what reads knobs alone (composing a line, finding all of it
finished) starts in a second. Meanwhile `torch` is not in `sys.modules`: libraries that look there see what is loaded.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["torch"]


class LazyModule(ModuleType):
    """Stands for a module until an attribute of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        """Load the module, and keep what is asked for."""
        value = getattr(import_module(self.__name__), name)
        if not name.startswith("__"):
            setattr(self, name, value)
        return value


if TYPE_CHECKING:
    import torch
else:
    torch = LazyModule("torch")
