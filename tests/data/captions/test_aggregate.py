from data.captions.aggregate import Clause, Fact, aggregate, fact_table, merge, mirror_fact, prune, reverse_sides
from data.captions.codes import Part
from data.captions.realise import plain_caption


def test_what_follows_from_two_others_along_an_axis_is_dropped() -> None:
    low, high = Fact("left", "hand", "below", "left", "elbow"), Fact("left", "elbow", "below", "", "neck")
    follows = Fact("left", "hand", "below", "", "neck")
    assert prune([low, high, follows]) == [low, high]
    other_way = Fact("", "neck", "above", "left", "hand")
    assert prune([low, high, other_way]) == [low, high]


def test_a_hand_above_the_neck_need_not_be_told_to_be_above_the_shoulder() -> None:
    neck, shoulder = Fact("left", "hand", "above", "", "neck"), Fact("left", "hand", "above", "left", "shoulder")
    assert prune([neck, shoulder]) == [neck]
    assert prune([shoulder]) == [shoulder]


def test_forearm_and_upper_arm_make_an_arm_and_two_arms_make_both() -> None:
    facts = [Fact(side, part, "horizontal") for side in ("left", "right") for part in ("forearm", "upper arm")]
    assert merge(facts, None) == [Fact("both", "arm", "horizontal")]


def test_each_hand_at_its_own_knee_merges_into_both_hands_at_the_knees() -> None:
    facts = [Fact("left", "hand", "close", "left", "knee"), Fact("right", "hand", "close", "right", "knee")]
    assert merge(facts, None) == [Fact("both", "hand", "close", "own", "knee")]
    crossed = [Fact("left", "hand", "close", "right", "knee"), Fact("right", "hand", "close", "left", "knee")]
    assert merge(crossed, None) == [Fact("both", "hand", "close", "opposite", "knee")]


def test_one_hand_at_both_knees_stays_one_hand() -> None:
    facts = [Fact("left", "hand", "close", "left", "knee"), Fact("left", "hand", "close", "right", "knee")]
    assert merge(facts, None) == [Fact("left", "hand", "close", "both", "knee")]


def test_hands_close_together_are_not_swallowed_by_a_hand_close_to_an_elbow() -> None:
    facts = [Fact("left", "hand", "close", "right", "hand"), Fact("left", "hand", "close", "right", "elbow")]
    assert sorted(merge(facts, None)) == sorted(facts)


def test_changes_of_different_size_merge_only_within_one_limb() -> None:
    within = [Fact("left", "hand", "move_up"), Fact("left", "elbow", "slightly_move_up")]
    assert merge(within, None) == [Fact("left", "arm", "move_up")]
    across = [Fact("left", "hand", "move_up"), Fact("right", "hand", "slightly_move_up")]
    assert merge(across, None) == across


def test_plain_style_names_the_higher_side_first() -> None:
    fact = Fact("left", "hand", "below", "right", "hand")
    assert reverse_sides([fact], None) == [Fact("right", "hand", "above", "left", "hand")]


def test_facts_that_share_a_subject_make_one_clause() -> None:
    clauses = aggregate([Fact("left", "hand", "on_ground"), Fact("left", "hand", "above", "", "neck")], rng=None)
    assert clauses == [Clause((Part("left", "hand"),), (("on_ground", "", ""), ("above", "", "neck")))]
    assert plain_caption(clauses) == "The left hand is on the ground and above the neck."


def test_mirroring_a_fact_twice_gives_it_back() -> None:
    facts = {fact for row in fact_table() for fact in row if fact}
    assert len(facts) > 300
    assert all(mirror_fact(mirror_fact(fact)) == fact for fact in facts)
