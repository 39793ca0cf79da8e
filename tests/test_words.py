"""No committed file names a machine's folders, a package registry's host, or carries notes to oneself."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = Path("tests/test_words.py")

FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.~-])/(?:work|home/\w+|root|Users/\w+)/",
    # Split, so that this file does not find itself.
    "a package registry's host": r"(?:pypi\.or"
    + r"g|pythonhosted\.or"
    + r"g|download\.pytorch\.or"
    + r"g|anaconda\.or"
    + r"g|npmjs\.or"
    + r"g)",
    "notes to oneself": r"(?i)\b(?:this session|(?:last|previous) session|sub-?agent|work" + r"tree|fixme|xxx)\b",
}


def files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("needs a git checkout")
    return [Path(name) for name in done.stdout.split("\0") if name]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    pattern, found = re.compile(FORBIDDEN[what]), []
    for name in files():
        if name == OURS or name.suffix in (".jpg", ".png", ".npz") or not (ROOT / name).is_file():
            continue
        for number, line in enumerate((ROOT / name).read_text("utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{name}:{number}: {line.strip()[:120]}")
    assert not found, f"{what}:\n" + "\n".join(found)
