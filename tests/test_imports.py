"""Which module may know which: a lower layer never imports a higher one, and heavy packages wait until needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mttsg_core

ROOT = Path(mttsg_core.__file__).parents[1]
PAPER = ("cross_sentence_memory", "contrastive", "false_negatives", "object_phrase", "activity_sentence")
# The rooms of the library, the lowest first: a room imports itself and those before it. One that is not named fails.
ROOMS = (
    *("_version", "errors", "config", "moments", "utils", "video", "encoders", "features", "data", "modeling"),
    *("checkpoints", "inference", "search", "evaluation", "training", "report", "workflows", "server"),
)
HEAVY = (
    *("torch", "transformers", "h5py", "matplotlib", "lancedb", "pyarrow", "opentimelineio", "prompt_toolkit"),
    *("fastapi", "starlette", "uvicorn", "ray"),
)


def _modules(package: str) -> dict[str, Path]:
    """Files by dotted name."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


CORE, CLI = _modules("mttsg_core"), _modules("mttsg_cli")


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield inside if inside in CORE or inside in CLI else node.module


def _own_imports(module: str) -> set[str]:
    return {name for name in _imports(CORE[module]) if name in CORE}


def _room(module: str) -> int:
    return ROOMS.index(module.split(".")[1])


def test_the_tests_below_see_the_modules() -> None:
    assert {"mttsg_core.modeling.mktn", "mttsg_core.encoders.word_vectors", "mttsg_core.video.probe"} <= CORE.keys()
    assert "mttsg_core.modeling.proposals" in _own_imports("mttsg_core.modeling.grounding_head")
    assert "mttsg_cli.app" in CLI


@pytest.mark.parametrize("module", [name for name in CORE if "." in name])
def test_a_module_imports_its_own_room_and_those_below(module: str) -> None:
    above = {name for name in _own_imports(module) if "." in name and _room(name) > _room(module)}
    assert not above


def test_only_the_server_knows_what_serves_it() -> None:
    frameworks = {"fastapi", "starlette", "uvicorn", "pydantic"}
    users = {module for module, path in CORE.items() if frameworks & {name.split(".")[0] for name in _imports(path)}}
    assert users and all(module.startswith("mttsg_core.server.") for module in users)


def test_no_module_needs_itself() -> None:
    # Importing a package first imports its __init__, which may import its own modules: those do not import it.
    graph = {module: _own_imports(module) - {"mttsg_core"} for module in CORE if module != "mttsg_core"}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", PAPER)
def test_the_papers_modules_do_not_know_each_other(module: str) -> None:
    others = {f"mttsg_core.modeling.{other}" for other in PAPER}
    assert not others & _own_imports(f"mttsg_core.modeling.{module}")


@pytest.mark.parametrize("module", list(CORE))
def test_the_core_is_no_program(module: str) -> None:
    """It prints nothing, asks nobody, does not end the process, and loads nothing that can run code."""
    tree = ast.parse(CORE[module].read_text(encoding="utf-8"))
    roots = {name.split(".")[0] for name in _imports(CORE[module])}
    assert not roots & {"typer", "click", "rich", "mttsg_cli", "argparse", "tqdm"}
    assert not roots & {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "input", "exit", "quit", "sys.exit", "eval", "exec"}
            assert called not in {"torch.load", "torch.save"}, "weights are safetensors"
            assert not called.endswith(".cuda"), "a device is chosen in one place: mttsg_core.utils.devices"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle":
                    assert ast.unparse(keyword.value) == "False"


def test_help_is_light() -> None:
    """`mttsg --help` and the help of every command load no heavy package."""
    program = """
import sys
from typer.testing import CliRunner
from mttsg_cli.app import app
commands = "extract train ablate evaluate compare ground search serve index models config setup doctor cache"
for command in ([], *([name] for name in commands.split())):
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, result.output
    assert not command or "mttsg " + command[0] in result.output, result.output  # an example
print(*[name for name in sys.argv[1:] if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", program, *HEAVY], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []


@pytest.mark.parametrize("module", ["extraction", "node_worker", "cluster", "ray_cluster"])
def test_extraction_workers_need_no_torch_and_ray_waits_for_a_cluster(module: str) -> None:
    program = f"import sys, mttsg_core.features.{module}; print(*sorted({{'torch', 'ray'}} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_only_one_module_knows_ray() -> None:
    """A cluster of another kind is another module beside it, and extraction without one loads nothing of it."""
    users = {module for module, path in CORE.items() if "ray" in {name.split(".")[0] for name in _imports(path)}}
    assert users == {"mttsg_core.features.ray_cluster"}


def test_the_public_names_are_there() -> None:
    for name in mttsg_core.__all__:
        assert getattr(mttsg_core, name) is not None
    with pytest.raises(AttributeError, match="Grouner"):
        mttsg_core.Grouner  # noqa: B018
