"""The public names: `__all__`, `dir()`, the reference and the lazy imports agree."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mttsg_core

ROOT = Path(mttsg_core.__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference.md"
FUNCTIONS = ("train", "train_seeds", "ablate", "evaluate", "compare", "extract", "check")


def test_dir_shows_the_public_names_and_no_others() -> None:
    assert dir(mttsg_core) == sorted(mttsg_core.__all__)
    assert len(set(mttsg_core.__all__)) == len(mttsg_core.__all__)


def test_the_reference_documents_the_public_names_and_no_others() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    documented = re.findall(r"^::: mttsg_core\.(\w+)$", text, re.MULTILINE)
    assert sorted(documented) == sorted(set(mttsg_core.__all__) - {"__version__"})
    assert re.findall(r"^:::", text, re.MULTILINE) == [":::"] * len(documented)
    assert "mttsg_core.__version__" in text


def test_checkers_see_the_names_that_are_imported_on_first_use() -> None:
    tree = ast.parse(Path(mttsg_core.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen.keys() == set(mttsg_core.__all__) - {"__version__"}
    for name, module in seen.items():
        value = getattr(mttsg_core, str(name))
        assert value is getattr(sys.modules[str(module)], str(name))


@pytest.mark.parametrize("name", sorted(set(mttsg_core.__all__) - {"__version__"}))
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(mttsg_core, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_few_parameters_and_take_events(name: str) -> None:
    signature = inspect.signature(getattr(mttsg_core, name))
    assert len(signature.parameters) <= 8
    assert signature.parameters["on_event"].default is None
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) <= 2
    iterator = getattr(sys.modules[f"mttsg_core.workflows.{name}"], f"iter_{name}")
    expected = [parameter for parameter in signature.parameters.values() if parameter.name != "on_event"]
    assert list(inspect.signature(iterator).parameters.values()) == expected


def test_a_wrong_name_is_an_attribute_error() -> None:
    for module in (mttsg_core, mttsg_core.events):
        with pytest.raises(AttributeError, match="Grouner"):
            module.Grouner  # noqa: B018


def test_events_are_in_one_module() -> None:
    events = mttsg_core.events
    assert all(inspect.isclass(getattr(events, name)) for name in events.__all__)


def test_answers_from_cached_features_load_nothing_that_only_training_or_reading_videos_needs() -> None:
    program = """
import sys
import mttsg_core.workflows.ground, mttsg_core.workflows.loading
print(*sorted({"scipy", "pebble", "transformers", "h5py", "jinja2"} & sys.modules.keys()))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.split() == []


def test_importing_the_package_is_light() -> None:
    program = """
import sys
import mttsg_core
mttsg_core.MttsgError, dir(mttsg_core)
print(*sorted({name.split(".")[0] for name in sys.modules} & {"torch", "transformers", "numpy", "av", "rich", "typer"}))
mttsg_core.extract, mttsg_core.ExtractOptions, mttsg_core.events
print(*sorted({"torch", "transformers", "h5py", "rich", "typer"} & sys.modules.keys()))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.split() == []
