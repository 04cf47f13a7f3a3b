"""Our architectures made known to the Auto classes of `transformers`, whoever imports these, and whenever.

`import compress` must cost nothing, so it cannot import `transformers` only to register a class there. It leaves
a note instead: the module that holds the list of architectures is imported as ever, and ours is added to the list.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

AUTO_CONFIG = "transformers.models.auto.configuration_auto"
"""Where `transformers` keeps the list of its architectures."""
PLACEHOLDER = "compress.models.placeholder"
"""Imported, it adds ours."""


def register_with_transformers() -> None:
    """Add our architectures to those of `transformers`: now if that is imported, else as soon as it is."""
    if AUTO_CONFIG in sys.modules:
        importlib.import_module(PLACEHOLDER)
    elif not any(isinstance(finder, _Waiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Waiting())


class _Waiting(MetaPathFinder):
    """Finds nothing itself; has the one module that it waits for loaded as ever, then registers."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != AUTO_CONFIG:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader, self)
        return spec


class _Registering(Loader):
    """A module's own loader, and what is to follow it."""

    def __init__(self, loader: Loader, finder: MetaPathFinder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        sys.meta_path.remove(self._finder)
        importlib.import_module(PLACEHOLDER)
