"""The evaluation files of HMR 2.0 (4D-Humans), which TokenHMR and the built-in world use too: a row per person."""

from pathlib import Path

from data.rejects import Rejects
from data.sources.base import Items, Source
from data.sources.npz import FILE_OPTIONS, files_of_split
from data.sources.people import people_records


def _read(
    root: Path, split: str | None, rejects: Rejects, *, file: str = "", images: str = "", called: str = ""
) -> Items:
    title = "HMR 2.0 evaluation"
    for path, name in files_of_split(root, split, file=file, called=called, folder="hmr", title=title):
        yield from people_records(path, root, source="hmr", split=name, images=images)


HMR = Source(
    name="hmr",
    title="HMR 2.0 evaluation files (3DPW, Human3.6M, LSPET, the built-in world)",
    gives="images, boxes, poses in the viewer's frame, keypoints, 3D joints",
    layout=("*.npz or hmr/*.npz (imgname, center, scale in pixels, body_pose, betas, …)", "the images that they name"),
    where="https://github.com/shubham-goel/4D-Humans (files); images from each dataset",
    licence="that of each dataset: research only, no redistribution",
    reader=_read,
    options=FILE_OPTIONS,
)
