"""The pure-Python, in-process engine for OpenAI's vector store file batches.

Names are imported when one of them is first used, so that importing the package, as the pytest plugin does in
every test run of every project that has it installed, costs nothing.  Each module says in ``__all__`` what the
package exports of it.
"""

import typing as _typing
from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec

__version__ = "0.1.0"

_EXPORTING = ("clock", "errors", "model", "claims", "registry", "view", "aio", "engine")
_PUBLIC_MODULES = ("errors", "events", "profiles", "wire")

if _typing.TYPE_CHECKING:
    from vsbatch_core import errors as errors
    from vsbatch_core import events as events
    from vsbatch_core import profiles as profiles
    from vsbatch_core import wire as wire
    from vsbatch_core.aio import *
    from vsbatch_core.claims import *
    from vsbatch_core.clock import *
    from vsbatch_core.engine import *
    from vsbatch_core.errors import *
    from vsbatch_core.model import *
    from vsbatch_core.registry import *
    from vsbatch_core.view import *
else:  # To a type checker, a name that is not imported above is a mistake.

    def __getattr__(name: str) -> _typing.Any:
        if name.islower() and _find_spec(f"{__name__}.{name}") is not None:
            return _import_module(f"{__name__}.{name}")
        if name.startswith("_") and name != "__all__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        exported: dict[str, _typing.Any] = {}
        for module in [_import_module(f"{__name__}.{each}") for each in _EXPORTING]:
            exported |= {each: getattr(module, each) for each in module.__all__}
        exported |= {each: _import_module(f"{__name__}.{each}") for each in _PUBLIC_MODULES}
        globals().update(exported, __all__=sorted(exported))
        if name not in globals():
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals()[name]

    def __dir__() -> list[str]:
        return [*__getattr__("__all__"), "__version__"]
