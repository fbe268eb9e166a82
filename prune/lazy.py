"""`from prune.lazy import torch` in place of `import torch`: PyTorch loads when the first attribute of it is asked for.

So a method's knobs and its tensor code live in one file, and what reads knobs alone (composing a line, finding all of it
finished) starts in a second. Meanwhile `torch` is not in `sys.modules`: libraries that look there see what is loaded.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["importing", "torch"]


@contextmanager
def importing() -> Iterator[None]:
    """Inside, nobody looks for garbage: PyTorch and transformers make a million objects that stay, and to walk through them
    again and again is a fifth of the time that their import takes."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class LazyModule(ModuleType):
    """Stands for a module until an attribute of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        """Load the module, and keep what is asked for."""
        with importing():
            value = getattr(import_module(self.__name__), name)
        if not name.startswith("__"):
            setattr(self, name, value)
        return value


if TYPE_CHECKING:
    import torch
else:
    torch = LazyModule("torch")
