"""The shape of the repository: what loads when, what the README promises, what a Space can hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SOURCES = sorted([*(ROOT / "pinlab").rglob("*.py"), ROOT / "app.py"])
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE = {"torch.load", "eval", "exec", "np.load"}
FILE_LIMIT, TOTAL_LIMIT = 9 * 2**20, 120 * 2**20  # bytes; a Space wants LFS for files beyond 10 MB


def loaded_by(code: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after `code`."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def file_map() -> list[str]:
    """Paths in the README's annotated tree: one a line, two spaces deeper than the folder it is in."""
    block = re.search(r"^## File map\n.*?^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert block, "README.md has no file map"
    paths, folders = [], []
    for line in block[1].splitlines():
        name = line.split()[0]
        folders = folders[: (len(line) - len(line.lstrip())) // 2]
        paths.append("".join(folders) + name)
        if name.endswith("/"):
            folders.append(name)
    return paths


def front_matter() -> dict[str, str]:
    pairs = [line.split(":", 1) for line in README.split("---\n")[1].splitlines()]
    return {key.strip(): value.strip().strip('"') for key, value in pairs}


@pytest.mark.parametrize("module", ["pinlab.records", "pinlab.metrics", "pinlab.cost", "pinlab.cores", "pinlab.files"])
def test_a_leaf_loads_no_large_library(module):
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert not loaded & {"torch", "transformers", "gradio", "pandas", "scipy", "PIL"}


def test_what_only_building_a_lab_needs_stays_out_of_the_app():
    loaded = loaded_by("import pinlab.lab, pinlab.ui.app")
    assert "gradio" in loaded
    assert not loaded & {"umap", "numba", "datasets", "peft", "scipy.stats", "sklearn", "torchvision", "plotly.express"}


def test_the_command_line_loads_no_interface():
    assert not loaded_by("import pinlab.__main__") & {"gradio", "torch", "transformers"}


def test_nothing_that_is_read_can_run_code():
    """No pickle, no torch.load, no code from a model repository."""
    found = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            trusted = [k for k in node.keywords if k.arg == "trust_remote_code"] if isinstance(node, ast.Call) else []
            found += [f"{source.name}: {name}" for name in imported if name.split(".")[0] in PICKLES]
            found += [f"{source.name}: {called}" for name in UNSAFE if called == name]
            found += [f"{source.name}: allow_pickle" for k in getattr(node, "keywords", ()) if k.arg == "allow_pickle"]
            found += [f"{source.name}: trust_remote_code" for k in trusted if ast.unparse(k.value) != "False"]
    assert found == []


def test_text_is_read_and_written_in_utf_8_whatever_the_locale():
    found = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            told = any(keyword.arg == "encoding" for keyword in node.keywords)
            in_place = name == "read_text" and node.args or name == "write_text" and len(node.args) > 1
            modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            binary = name == "open" and any("b" in mode for mode in modes)
            if name in ("read_text", "write_text", "open") and not (told or in_place or binary):
                found.append(f"{source.name}:{node.lineno} {ast.unparse(node.func)}")
    assert [place for place in found if not place.endswith(("Image.open", "os.open"))] == []


def test_only_one_module_replaces_or_deletes_anything():
    verbs = {"unlink", "rmtree", "rmdir", "remove", "removedirs", "rename", "renames"}
    found = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            of = ast.unparse(node.func.value)
            moves = node.func.attr == "replace" and (of == "os" or len(node.args) == 1 and not node.keywords)
            if node.func.attr in verbs or moves:
                found.add(f"{source.relative_to(ROOT)}: {of}.{node.func.attr}")
    assert {place for place in found if not place.startswith("pinlab/files.py")} <= {
        "pinlab/ui/limits.py: draft.replace",  # in a temporary folder of the app's own
    }


def test_the_repository_fits_a_space():
    sizes = {path: path.stat().st_size for path in tracked_files()}
    assert [path.name for path, size in sizes.items() if size > FILE_LIMIT] == []
    assert sum(sizes.values()) < TOTAL_LIMIT


def test_the_file_map_names_files_that_exist_and_every_room():
    named = file_map()
    assert [path for path in named if not (ROOT / path).exists()] == []
    rooms = [f"pinlab/{path.name}/" for path in (ROOT / "pinlab").iterdir() if (path / "__init__.py").exists()]
    modules = [f"pinlab/{path.name}" for path in (ROOT / "pinlab").glob("*.py") if path.name != "__init__.py"]
    assert [path for path in rooms + modules if path not in named] == []


def test_the_readme_links_to_files_that_exist():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in targets if "://" not in link and not (ROOT / link).exists()] == []


def test_the_front_matter_is_what_a_space_takes():
    front = front_matter()
    assert front["sdk"] == "gradio"
    assert front["license"] == "apache-2.0"
    assert f"gradio=={front['sdk_version']}" in (ROOT / "requirements.txt").read_text().splitlines()
    assert (ROOT / front["app_file"]).exists()
    assert len(front["short_description"]) <= 60


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned(name):
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith(("#", "-r "))]
    assert [line for line in lines if not re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line)] == []


def test_every_imported_library_is_required():
    """What the code imports by name is pinned by name, not left to what another package happens to bring."""
    required = {re.split(r"[\[=]", line)[0] for line in (ROOT / "requirements.txt").read_text().splitlines()}
    packages = {"PIL": "pillow", "umap": "umap-learn", "sklearn": "scikit-learn"}
    imported = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    outside = imported - set(sys.stdlib_module_names) - {"pinlab"}
    assert {packages.get(name, name) for name in outside} <= required


def test_the_readme_names_every_verb_of_the_command_line_and_no_other():
    from pinlab.__main__ import cli

    verbs = {command.name or command.callback.__name__ for command in cli.registered_commands}
    assert set(re.findall(r"^\| `python -m pinlab (\w+) ", README, re.MULTILINE)) == verbs
