"""Names of keypoints and the links drawn between them, by family of thing; `objects.py` makes skeletons of them."""

from data.synth.things import FINGERS


def sided(*names: str) -> tuple[str, ...]:
    return tuple(f"{side} {name}" for name in names for side in ("left", "right"))


LEGS = sided("shoulder", "elbow", "front paw", "hip", "knee", "back paw")
QUADRUPED = (*sided("eye"), "nose", "neck", "root of tail", *LEGS)
QUADRUPED_LINKS = (
    ("left eye", "nose"),
    ("right eye", "nose"),
    ("nose", "neck"),
    ("neck", "root of tail"),
    *(
        (a.format(s), b.format(s))
        for s in ("left", "right")
        for a, b in (
            ("{} shoulder", "{} elbow"),
            ("{} elbow", "{} front paw"),
            ("{} hip", "{} knee"),
            ("{} knee", "{} back paw"),
        )
    ),
    *(
        (end, f"{s} {joint}")
        for s in ("left", "right")
        for end, joint in (("neck", "shoulder"), ("root of tail", "hip"))
    ),
)
BIRD = (
    "tip of beak",
    "crown",
    "nape",
    "throat",
    "breast",
    "belly",
    "back",
    "tip of tail",
    *sided("eye", "wing root", "wing tip", "knee", "foot"),
)
BIRD_LINKS = (
    ("tip of beak", "crown"),
    ("crown", "nape"),
    ("nape", "back"),
    ("back", "tip of tail"),
    ("throat", "breast"),
    ("breast", "belly"),
    *((f"{s} {a}", f"{s} {b}") for s in ("left", "right") for a, b in (("wing root", "wing tip"), ("knee", "foot"))),
)
FISH = (
    "mouth",
    "front of dorsal fin",
    "tip of dorsal fin",
    "tip of anal fin",
    "root of tail",
    "upper tail tip",
    "lower tail tip",
    *sided("eye", "gill", "pectoral fin tip"),
)
FISH_LINKS = (
    ("mouth", "front of dorsal fin"),
    ("front of dorsal fin", "tip of dorsal fin"),
    ("tip of dorsal fin", "root of tail"),
    ("root of tail", "upper tail tip"),
    ("root of tail", "lower tail tip"),
    ("root of tail", "tip of anal fin"),
    ("left gill", "left pectoral fin tip"),
    ("right gill", "right pectoral fin tip"),
)
INSECT = ("head", "thorax", "end of abdomen", *sided("eye", "feeler tip"))
INSECT_LEGS = sided(*(f"{row} {part}" for row in ("front", "middle", "back") for part in ("knee", "foot")))
INSECT_LINKS = (
    ("head", "thorax"),
    ("thorax", "end of abdomen"),
    ("head", "left feeler tip"),
    ("head", "right feeler tip"),
)
LEG_LINKS = tuple(
    (f"{s} {row} knee", f"{s} {row} foot") for s in ("left", "right") for row in ("front", "middle", "back")
)
VEHICLE = (
    *sided("front wheel", "back wheel", "headlight", "back light", "front roof corner", "back roof corner"),
    "number plate",
)
VEHICLE_LINKS = tuple(
    (f"{s} {a}", f"{s} {b}")
    for s in ("left", "right")
    for a, b in (
        ("front wheel", "back wheel"),
        ("headlight", "front wheel"),
        ("back light", "back wheel"),
        ("front roof corner", "back roof corner"),
    )
)
CORNERS = sided("front leg end", "back leg end")
ROBOT = ("chest plate", "neck", "mouth", *sided("eye", "aerial tip", "shoulder", "elbow", "hand", "knee", "foot"))
HAND = (
    "wrist",
    *(f"{part} of the {finger}" for finger in FINGERS for part in ("root", "lower joint", "upper joint", "tip")),
)
