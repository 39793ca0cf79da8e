"""MPII and LSP: pixels counted from 1, and flags that mean the opposite in two files of one name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_kit import Read, WriteJson

from data.prepare import prepare

# ---- MPII -----------------------------------------------------------------------------------------------------------


def test_mpii_json_counts_from_one_and_its_box_is_hrnets(tmp_path: Path, read: Read, write_json: WriteJson) -> None:
    from scipy.io import savemat

    joints = [[100.0 + k, 200.0 + k] for k in range(16)]
    entry = {"image": "a.jpg", "center": [300.0, 400.0], "scale": 2.0, "joints": joints, "joints_vis": [0] + [1] * 15}
    write_json(tmp_path / "annot/valid.json", [entry, {**entry, "joints_vis": [1] * 15}])
    savemat(tmp_path / "annot/gt_valid.mat", {"headboxes_src": np.array([[[10.0, 0], [20, 0]], [[40, 1], [60, 1]]])})
    (record,) = read("mpii", tmp_path, "val")
    assert record.image == "images/a.jpg"
    assert record.keypoints[0].tolist() == [0, 0, 0]
    assert record.keypoints[9].tolist() == [108, 208, 2]  # one less than written
    # centre minus one, 15 px per scale down, 1.25 x 200 px per scale wide
    assert record.box_xyxy_px.tolist() == [49, 179, 549, 679]
    assert record.attributes["head_size_px"] == pytest.approx(0.6 * 50)  # 30 by 40


def test_mpii_release_file_tells_hidden_from_visible(tmp_path: Path, read: Read) -> None:
    from scipy.io import savemat

    def point(x: float, y: float, number: int, seen: Any) -> dict[str, Any]:
        return {"x": x, "y": y, "id": number, "is_visible": seen}

    annotated = {
        "x1": 10.0,
        "y1": 10.0,
        "x2": 40.0,
        "y2": 50.0,
        "annopoints": {"point": [point(5, 6, 0, "1"), point(7, 8, 10, "0"), point(9, 10, 9, np.array([]))]},
        "scale": 1.0,
        "objpos": {"x": 100.0, "y": 100.0},
    }
    bare = {"scale": 1.0, "objpos": {"x": 10.0, "y": 10.0}, "x1": 0, "y1": 0, "x2": 0, "y2": 0, "annopoints": []}
    annolist = [{"image": {"name": "a.jpg"}, "annorect": annotated}, {"image": {"name": "b.jpg"}, "annorect": bare}]
    savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": {"annolist": annolist, "img_train": [1, 0]}})
    (record,) = read("mpii", tmp_path)
    assert record.image == "images/a.jpg"
    assert record.keypoints[0].tolist() == [4, 5, 2]
    assert record.keypoints[10].tolist() == [6, 7, 1]
    assert record.keypoints[9].tolist() == [8, 9, 2]  # the head's points carry no flag
    assert record.attributes["head_size_px"] == pytest.approx(30)


# ---- LSP ------------------------------------------------------------------------------------------------------------


def test_the_flags_of_lsp_and_lspet_mean_the_opposite(tmp_path: Path, read: Read) -> None:
    from scipy.io import savemat

    people_by_joint = np.random.default_rng(7).uniform(10, 90, (2, 14, 3))
    people_by_joint[..., 2] = 0
    people_by_joint[0, 3, 2] = 1
    people_by_joint[1, [3, 4], 2] = 1
    (tmp_path / "lsp").mkdir()
    (tmp_path / "lspet").mkdir()
    savemat(tmp_path / "lsp/joints.mat", {"joints": people_by_joint.transpose(2, 1, 0)})
    savemat(tmp_path / "lspet/joints.mat", {"joints": people_by_joint.transpose(1, 2, 0)})
    plain, extended = read("lsp", tmp_path / "lsp"), read("lsp", tmp_path / "lspet")
    assert plain[0].keypoints[3, 2] == 1  # hidden, but where it is was marked
    assert plain[0].keypoints[2, 2] == 2
    assert extended[1].keypoints[3, 2] == 2
    assert extended[1].keypoints[2].tolist() == [0, 0, 0]
    assert plain[0].image == "images/im0001.jpg"
    assert extended[0].image == "images/im00001.jpg"
    assert [record.split for record in extended] == ["train", "train"]


def test_lsp_halves(tmp_path: Path, read: Read) -> None:
    from scipy.io import savemat

    joints = np.random.default_rng(8).uniform(10, 90, (3, 14, 2000))
    joints[2] = 0
    savemat(tmp_path / "joints.mat", {"joints": joints})
    assert len(read("lsp", tmp_path, "train")) == len(read("lsp", tmp_path, "test")) == 1000
    assert read("lsp", tmp_path, "test")[0].image == "images/im1001.jpg"


def test_real_sample_of_mpii(samples_dir: Path, tmp_path: Path) -> None:
    options = {"annotations": "test_mpii.json", "images": "."}
    records = prepare("mpii", samples_dir / "mpii", tmp_path / "out", images="decode", options=options)
    assert len(records) == 5
    for record in records:
        labelled = record.keypoints[record.keypoints[:, 2] > 0]
        box = record.box_xyxy_px
        assert ((labelled[:, :2] > box[:2]) & (labelled[:, :2] < box[2:])).mean() > 0.95
