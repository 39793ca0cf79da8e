"""What each keypoint of the built-in things is, in a sentence: the long descriptions of textual prompts (KptLLM++)."""

_SENTENCES: dict[str, str] = {
    # heads
    "eye": "the {side}eye of the {thing}, a small dark spot on the {side}of its head",
    "nose": "the nose of the {thing}, the dark tip at the front of its face",
    "mouth": "the mouth of the {thing}, at the front of its head",
    "ear tip": "the tip of the {thing}'s {side}ear, the outermost point of the ear on top of the head",
    "horn tip": "the tip of the {thing}'s {side}horn, the highest point above the head on that side",
    "tusk tip": "the tip of the {thing}'s {side}tusk, the pale tooth beside the trunk",
    "trunk middle": "the middle of the {thing}'s trunk, halfway down its long nose",
    "trunk tip": "the tip of the {thing}'s trunk, the lowest end of its long nose",
    "neck": "the base of the {thing}'s neck, where the neck meets the body",
    "head": "the front of the {thing}'s head",
    "crown": "the crown of the {thing}, the highest point of its head",
    "nape": "the nape of the {thing}, the back of its head",
    "throat": "the throat of the {thing}, just under the beak",
    "tip of beak": "the tip of the {thing}'s beak, its foremost point",
    "feeler tip": "the tip of the {thing}'s {side}feeler, the thin antenna in front of the head",
    # trunks
    "breast": "the breast of the {thing}, the front of its body",
    "belly": "the belly of the {thing}, the lowest part of its body",
    "back": "the back of the {thing}, the highest part of its body",
    "hump": "the top of the {thing}'s hump, the highest point of its back",
    "thorax": "the thorax of the {thing}, the top of the body part that carries the legs",
    "end of abdomen": "the end of the {thing}'s abdomen, the rear tip of its body",
    "middle of the shell": "the middle of the {thing}'s shell, the highest point of its back",
    "root of tail": "the root of the {thing}'s tail, where the tail leaves the body",
    "tip of tail": "the tip of the {thing}'s tail, its far end",
    # limbs of animals
    "shoulder": "the {side}shoulder of the {thing}, where the {side}front limb meets the body",
    "elbow": "the {side}elbow of the {thing}, the bend in the middle of the {side}front limb",
    "front paw": "the {side}front foot of the {thing}, the lower end of the front leg on that side",
    "hip": "the {side}hip of the {thing}, where the {side}back leg meets the body",
    "knee": "the {side}knee of the {thing}, the bend in the middle of the {side}back leg",
    "back paw": "the {side}back foot of the {thing}, the lower end of the back leg on that side",
    "foot": "the {side}foot of the {thing}, the end of the leg on that side",
    "wing root": "the root of the {thing}'s {side}wing, where the wing meets the body",
    "wing tip": "the tip of the {thing}'s {side}wing, its far end",
    "front wing tip": "the tip of the {thing}'s {side}front wing, its outermost point",
    "back wing tip": "the tip of the {thing}'s {side}back wing, its rear point",
    "gill": "the {side}gill of the {thing}, just behind the head on that side",
    "pectoral fin tip": "the tip of the {thing}'s {side}pectoral fin, the fin on its flank",
    "front of dorsal fin": "the front of the {thing}'s dorsal fin, where the fin on its back begins",
    "tip of dorsal fin": "the tip of the {thing}'s dorsal fin, the highest point above its back",
    "tip of anal fin": "the tip of the {thing}'s anal fin, the lowest point of the fin under its body",
    "upper tail tip": "the upper tip of the {thing}'s tail fin",
    "lower tail tip": "the lower tip of the {thing}'s tail fin",
    # vehicles
    "front wheel": "the middle of the {thing}'s {side}front wheel",
    "back wheel": "the middle of the {thing}'s {side}back wheel",
    "headlight": "the {side}headlight of the {thing}, the pale lamp at its front",
    "back light": "the {side}back light of the {thing}, the red lamp at its rear",
    "front roof corner": "the {side}front corner of the {thing}'s roof, above the windscreen",
    "back roof corner": "the {side}back corner of the {thing}'s roof, above the rear window",
    "number plate": "the number plate of the {thing}, the pale plate low at its front",
    "mirror": "the {side}mirror of the {thing}, beside the front window",
    # furniture
    "front leg end": "the lower end of the {thing}'s {side}front leg, where it touches the floor",
    "back leg end": "the lower end of the {thing}'s {side}back leg, where it touches the floor",
    "front seat corner": "the {side}front corner of the {thing}'s seat",
    "back seat corner": "the {side}back corner of the {thing}'s seat, below the backrest",
    "top of the back": "the {side}upper corner of the {thing}'s backrest",
    "front table corner": "the {side}front corner of the {thing} top",
    "back table corner": "the {side}back corner of the {thing} top",
    "middle of the base": "the middle of the {thing}'s base, where it stands",
    "edge of the base": "the {side}edge of the {thing}'s base",
    "middle of the lower arm": "the middle of the {thing}'s lower arm, between the base and the joint",
    "middle of the upper arm": "the middle of the {thing}'s upper arm, between the joint and the shade",
    "top of the arm": "the top of the {thing}'s arm, where the shade hangs",
    "bulb": "the bulb of the {thing}, inside its shade",
    "rim of the shade": "the {side}rim of the {thing}'s shade",
    "front rim of the shade": "the front rim of the {thing}'s shade",
    # toys and hands
    "chest plate": "the plate on the {thing}'s chest",
    "aerial tip": "the tip of the {thing}'s {side}aerial, the small ball above its head",
    "hand": "the {side}hand of the {thing}, the end of its {side}arm",
    "wrist": "the wrist, where the hand meets the forearm",
    "root": "the root of the {rest}, where the finger leaves the palm",
    "lower joint": "the lower joint of the {rest}, the first bend above the palm",
    "upper joint": "the upper joint of the {rest}, the last bend before its tip",
    "tip": "the tip of the {rest}, its far end",
}


def describe_keypoint(thing: str, super_category: str, name: str) -> str:
    """One sentence that tells where on the thing this keypoint is."""
    side = next((word for word in ("left", "right") if name.startswith(word + " ")), "")
    bare = name.removeprefix(side).strip()
    row = ""
    if (
        super_category == "insect"
        and bare.split(" ", 1)[0] in ("front", "middle", "back")
        and bare.split()[-1] in ("knee", "foot")
    ):
        row, bare = bare.split(" ", 1)
        part = "bend" if bare == "knee" else "end"
        return f"The {bare} of the {thing}'s {side} {row} leg, the {part} of that leg."
    if bare not in _SENTENCES and " of the " in bare:  # "tip of the ring finger"
        part, finger = bare.split(" of the ", 1)
        sentence = _SENTENCES[part].format(rest=finger)
    else:
        sentence = _SENTENCES[bare].format(side=f"{side} " if side else "", thing=thing)
    sentence = sentence.replace("on the left of its", "on the left side of its").replace(
        "on the right of its", "on the right side of its"
    )
    return sentence[0].upper() + sentence[1:] + "."
