"""The common model tests of the installed transformers, imported under a name of their own.

Only these two files of its source distribution are read (``tools/fetch_test_data.py`` gets them).
What they import from the rest of that test suite is not part of the distribution: mixins for text
generation and exporters, which no model of ours is tested by, and a set of common options.
"""

import importlib
import sys
import types
from pathlib import Path
from unittest import mock

import transformers

PACKAGE = "transformers_common_tests"
_COMMON_OPTIONS = {"return_dict": False, "output_hidden_states": True, "output_attentions": True}


def load(folder: Path) -> tuple[type, type]:
    """``ModelTesterMixin`` and ``ConfigTester`` of the files in ``folder``."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    sys.modules[PACKAGE] = package
    for name, values in {
        "exporters": {},
        "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
        "generation": {},
        "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
        "utils": {},
        "utils.test_configuration_utils": {"config_common_kwargs": _COMMON_OPTIONS},
    }.items():
        module = types.ModuleType(f"{PACKAGE}.{name}")
        vars(module).update(values)
        sys.modules[module.__name__] = module
    # It would import the folder's own __init__.py as transformers.
    with mock.patch("transformers.utils.direct_transformers_import", return_value=transformers):
        modeling, configuration = (
            importlib.import_module(f"{PACKAGE}.{name}")
            for name in ("test_modeling_common", "test_configuration_common")
        )
    return modeling.ModelTesterMixin, configuration.ConfigTester
