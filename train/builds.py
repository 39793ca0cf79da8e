"""Compilations that were killed. DeepSpeed compiles some of its parts when they are first needed, with a file as lock.
A run killed meanwhile leaves the file, and every later run would wait for it for ever without a word.
"""

import os
import sys
from pathlib import Path

from torch.utils.cpp_extension import get_default_build_root


def abandoned_locks() -> list[Path]:
    """Locks of builds that no process of this machine holds; none where that cannot be found out (without /proc)."""
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    locks = {path.resolve() for path in root.glob("**/lock")} if sys.platform == "linux" else set()
    return sorted(locks - _open_files()) if locks else []


def _open_files() -> set[Path]:
    """Of all processes that this user may look at."""
    found: set[Path] = set()
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found.add(Path(os.readlink(entry)))
        except OSError:  # it has ended, or is another user's
            continue
    return found
