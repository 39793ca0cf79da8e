"""One file per dataset family: reads files in their published layout, yields records in our frames and units.

    from data.sources import SOURCES
    records = SOURCES["amass"].read(root, split="train", rejects=Rejects())

`base.py` says what a source is; every reader is held to its dataset's true layout by a test in tests/data/sources.
"""

import difflib

from data.sources.amass import AMASS
from data.sources.animal_kingdom import ANIMAL_KINGDOM
from data.sources.animalpose import ANIMALPOSE
from data.sources.animalweb import ANIMALWEB
from data.sources.ap10k import AP10K, APT36K
from data.sources.base import Source
from data.sources.carfusion import CARFUSION
from data.sources.coco import COCO
from data.sources.crowds import AIC, CROWDPOSE
from data.sources.h36m import H36M
from data.sources.hmr import HMR
from data.sources.humanart import HUMANART
from data.sources.humandata import HUMANDATA
from data.sources.lsp import LSP
from data.sources.macaque import MACAQUE
from data.sources.moyo import MOYO
from data.sources.mp100 import MP100
from data.sources.mpi_inf_3dhp import MPI_INF_3DHP
from data.sources.mpii import MPII
from data.sources.posescript import POSEFIX, POSESCRIPT
from data.sources.pw3d import PW3D
from llmpose.errors import BadUsage

_ALL = (
    *(AMASS, MOYO, POSESCRIPT, POSEFIX),
    *(HMR, HUMANDATA, H36M, MPI_INF_3DHP, PW3D),
    *(COCO, MPII, LSP, HUMANART, AIC, CROWDPOSE),
    *(MP100, AP10K, APT36K, ANIMALPOSE, MACAQUE, ANIMALWEB, ANIMAL_KINGDOM, CARFUSION),
)
SOURCES: dict[str, Source] = {source.name: source for source in _ALL}
"""Every source by its name, in the order of `llmpose data sources`."""


def find_source(name: str) -> Source:
    """A source by its name; an unknown one gets the nearest suggested."""
    if name not in SOURCES:
        close = difflib.get_close_matches(name, SOURCES, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise BadUsage(f"no source {name!r}{hint} The sources are {', '.join(SOURCES)}")
    return SOURCES[name]


__all__ = ["SOURCES", "Source", "find_source"]
