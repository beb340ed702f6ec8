from __future__ import annotations

import os
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from runner.engine.states import State
from runner.tasks import python_packages
from tests.runner.worker.test_scripts import task
from tests.runner.worker.world import Bench


class Spools:
    """Folders of attempts beside the cache; each install leaves a line in ``installs``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "packages"
        self.installs = root / "installs"

    def attempt(self, name: str) -> Path:
        home = self.root / "local" / name
        home.mkdir(parents=True)
        return home / "packages"

    def run(self, target: Path, key: str, code: int = 0) -> int:
        install = (
            "import os, sys; os.mkdir(sys.argv[1]); open(sys.argv[1] + '/m.py', 'w').write(sys.argv[2]);"
            "open(sys.argv[3], 'a').write(sys.argv[2] + '\\n'); sys.exit(int(sys.argv[4]))"
        )
        command = [sys.executable, "-c", install, str(target), key, str(self.installs), str(code)]
        return python_packages.main(str(self.cache), str(target), key, command)

    def installed(self) -> list[str]:
        return self.installs.read_text().split()


@pytest.fixture
def spools(tmp_path: Path) -> Spools:
    return Spools(tmp_path)


def test_the_same_requirements_are_installed_once(spools: Spools) -> None:
    for name, key in (("a", "x"), ("b", "x"), ("c", "y")):
        target = spools.attempt(name)
        assert spools.run(target, key) == 0
        assert (target / "m.py").read_text() == key
    assert spools.installed() == ["x", "y"]


def test_an_install_that_fails_is_not_kept(spools: Spools) -> None:
    assert spools.run(spools.attempt("a"), "x", code=3) == 3
    assert spools.run(spools.attempt("b"), "x") == 0
    assert spools.installed() == ["x", "x"]


def test_attempts_that_install_at_once_all_find_their_packages(spools: Spools) -> None:
    targets = [spools.attempt(str(number)) for number in range(4)]
    threads = [threading.Thread(target=spools.run, args=(target, "x")) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(target / "m.py").read_text() for target in targets] == ["x"] * 4
    assert len({os.path.realpath(target) for target in targets}) == 1


def test_the_longest_unused_go_first_and_none_that_is_in_use(spools: Spools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_packages, "KEPT", 2)
    places = {}
    for age, key in enumerate(("held", "free", "newer", "newest")):
        target = spools.attempt(key)
        spools.run(target, key)
        places[key] = Path(os.path.realpath(target))
        os.utime(places[key], (age, age))
        if key != "held":
            target.unlink()
    spools.run(spools.attempt("last"), "last")

    assert {key for key, place in places.items() if place.is_dir()} == {"held", "newest"}
    assert not list(spools.cache.glob(".gone-*"))


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (["requests", "a.b_c>=1,<2", "x[extra] == 1.0 ; python_version > '3'"], True),
        (["requests", "-r requirements.txt"], False),
        (["./folder"], False),
        (["folder/thing"], False),
        (["thing-1.0-py3-none-any.whl"], False),
        (["thing @ https://example.com/thing.zip"], False),
    ],
)
def test_only_what_its_text_names_wholly_is_kept(wanted: list[str], kept: bool) -> None:
    assert python_packages.may_be_kept(wanted) is kept


def test_the_order_does_not_matter_but_the_index_does() -> None:
    one = python_packages.key_of("pip", ["a", "b"], {"PATH": "/bin"})
    assert one == python_packages.key_of("pip", ["b", "a"], {"PATH": "/usr/bin"})
    assert one != python_packages.key_of("pip", ["a", "b"], {"PIP_INDEX_URL": "https://packages.example.com"})
    assert one != python_packages.key_of("uv", ["a", "b"], {})


def wheel(folder: Path, name: str) -> None:
    info = f"{name}-1.0.dist-info"
    folder.mkdir()
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", "word = 'installed'\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.mark.slow
def test_a_script_finds_its_packages_and_the_next_run_does_not_install_them(bench: Bench, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheel(wheels, "lanner_probe")
    more = {
        "dependencies": ["lanner_probe==1.0"],
        "packageManager": "PIP",
        "env": {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    }
    script = "import lanner_probe\nprint(lanner_probe.word)"
    assert bench.run(task("python.Script", script=script, dependencyCacheEnabled=False, **more)).state is State.SUCCESS
    assert not (bench.spawner.root.parent / "packages").exists()
    assert bench.run(task("python.Script", script=script, **more), number=2).state is State.SUCCESS

    (wheels / "lanner_probe-1.0-py3-none-any.whl").unlink()

    assert bench.run(task("python.Script", script=script, **more), number=3).state is State.SUCCESS
    lines = ["python -c 'import lanner_probe; print(lanner_probe.word)'"]
    assert bench.run(task("python.Commands", commands=lines, **more), number=4).state is State.SUCCESS
    assert bench.reporter.messages().count("installed") == 4
    off = bench.run(task("python.Script", script=script, dependencyCacheEnabled=False, **more), number=5)
    assert off.state is State.FAILED
