import gc
from pathlib import Path

import pytest

from prune.lazy import LazyModule, importing


@pytest.mark.parametrize("collects", [True, False])
def test_while_something_is_imported_no_garbage_is_looked_for(collects: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        with importing():
            assert not gc.isenabled()
        assert gc.isenabled() is collects
        with pytest.raises(ImportError), importing():
            raise ImportError
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()


def test_a_module_loads_at_the_first_attribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seen_by_lazy.py").write_text("import gc\nCOLLECTS = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = LazyModule("seen_by_lazy")
    assert module.COLLECTS is False and gc.isenabled()
    assert vars(module)["COLLECTS"] is False
