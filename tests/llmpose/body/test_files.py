"""Licensed files are found under their published names and checked; what is not a body model is named in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.synth.body import smpl_file, write_smpl_files
from llmpose import UserError, load_body_model
from llmpose.body.files import ENVIRONMENT, Kind, find_body_file, read_body, read_stand_in


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a user's, filled with the stand-in in SMPL's own formats."""
    folder = tmp_path_factory.mktemp("models")
    write_smpl_files(folder)
    return folder


def test_pkl_and_npz_give_the_body_they_hold(models: Path) -> None:
    names: dict[Kind, str] = {"smpl": "smpl/SMPL_NEUTRAL.pkl", "smplh": "smplh/SMPLH_NEUTRAL.npz"}
    for kind, name in names.items():
        found, expected = read_body(models / name), read_stand_in(kind)
        assert found.kind == kind
        for field in ("vertices_m", "faces", "shape_directions", "joint_regressor", "weights"):
            np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
        assert found.parents == expected.parents
        assert found.pose_directions is None  # all zero: not carried along
    assert read_body(models / "smplh/SMPLH_NEUTRAL.npz").hands_mean is not None


def test_the_environments_folder_is_used_and_stand_in_still_means_the_stand_in(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(models))
    licensed = load_body_model()
    assert licensed.source == str(models / "smpl" / "SMPL_NEUTRAL.pkl")
    assert not licensed.is_stand_in
    assert load_body_model("stand-in").is_stand_in
    with pytest.raises(
        UserError, match=r"no SMPL file for gender 'female'; expected for instance smpl/SMPL_FEMALE\.pkl"
    ):
        load_body_model(gender="female")
    with pytest.raises(UserError, match="no SMPL-X file"):
        load_body_model(kind="smplx")
    monkeypatch.setenv(ENVIRONMENT, str(models / "nowhere"))
    with pytest.raises(UserError, match="nowhere: no such folder"):
        load_body_model()


def test_a_file_or_a_folder_can_be_given(models: Path) -> None:
    assert load_body_model(models, kind="smplh").num_joints == 52
    assert load_body_model(models / "smpl" / "SMPL_NEUTRAL.pkl").num_joints == 24


@pytest.mark.parametrize(
    ("kind", "gender", "name"),
    [
        ("smpl", "neutral", "SMPL_NEUTRAL.pkl"),
        ("smpl", "male", "smpl/SMPL_MALE.npz"),
        ("smpl", "female", "smpl/basicModel_f_lbs_10_207_0_v1.0.0.pkl"),
        ("smpl", "neutral", "smpl/basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl"),
        ("smplh", "male", "smplh/male/model.npz"),
        ("smplh", "female", "smplh/SMPLH_female.pkl"),
        ("smplx", "neutral", "smplx/SMPLX_NEUTRAL.npz"),
    ],
)
def test_published_names_are_found(tmp_path: Path, kind: Any, gender: Any, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    assert find_body_file(tmp_path, kind, gender) == tmp_path / name


def write(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def test_files_that_are_no_body_model_are_named_with_what_is_wrong(tmp_path: Path) -> None:
    good = smpl_file(read_stand_in("smpl"))
    nan = good["v_template"].copy()
    nan[3, 1] = np.nan
    tree = good["kintree_table"].astype(np.int64)
    tree[0, 4] = 20
    cases: list[tuple[dict[str, Any], str]] = [
        ({"images": np.zeros(3)}, "misses v_template, f, shapedirs.*it holds images"),
        ({key: value for key, value in good.items() if key != "posedirs"}, "misses posedirs"),
        ({**good, "v_template": nan}, "v_template holds NaN"),
        ({**good, "v_template": good["v_template"][:-1]}, r"v_template has shape \(6889, 3\), expected 6890 x 3"),
        ({**good, "weights": good["weights"][:, :20]}, "a file with 20 joints, expected SMPL"),
        ({**good, "weights": good["weights"].astype(str)}, "weights"),
        (
            {**good, "posedirs": good["posedirs"][..., :93]},
            r"posedirs has shape \(6890, 3, 93\), expected 6890 x 3 x 207",
        ),
        ({**good, "shapedirs": good["shapedirs"][..., :4]}, "4 directions, expected at least 10"),
        ({**good, "f": good["f"] + 1}, "vertices outside"),
        ({**good, "kintree_table": tree}, "not a tree"),
        ({**good, "weights": np.array([{}], dtype=object)}, "not a readable .npz"),
    ]
    for arrays, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            load_body_model(write(tmp_path / "model.npz", arrays))
        assert str(tmp_path / "model.npz") in str(caught.value)


def test_the_wrong_kind_says_which_kind_it_is(models: Path) -> None:
    with pytest.raises(UserError, match=r"SMPL-H file \(52 joints\), expected SMPL \(24 joints\); pass kind='smplh'"):
        load_body_model(models / "smplh" / "SMPLH_NEUTRAL.npz")


def test_cut_files_and_wrong_paths_are_said(models: Path, tmp_path: Path) -> None:
    for name in ("smpl/SMPL_NEUTRAL.pkl", "smplh/SMPLH_NEUTRAL.npz"):
        cut = tmp_path / Path(name).name
        cut.write_bytes((models / name).read_bytes()[:100_000])
        with pytest.raises(UserError, match=f"{cut.name}: not a readable"):
            load_body_model(cut, kind="smplh" if "SMPLH" in name else "smpl")
    (tmp_path / "model.txt").touch()
    for path, message in (
        (tmp_path / "absent.pkl", "no such file"),
        (tmp_path / "model.txt", r"ends in \.pkl or \.npz"),
        (tmp_path / "folder", "no such folder"),
    ):
        with pytest.raises(UserError, match=message):
            load_body_model(path)


def test_unknown_choices_list_the_valid_ones() -> None:
    choices: Any = {"kind": "star", "gender": "none", "backend": "gl"}
    for name, value in choices.items():
        with pytest.raises(UserError, match=f"{value}.*choose"):
            load_body_model("stand-in", **{name: value})
    with pytest.raises(UserError, match="no built-in SMPL-X body"):
        load_body_model("stand-in", kind="smplx")
