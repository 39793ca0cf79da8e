"""What goes to the hub is all that somebody needs to talk to the model; the hub is a folder here."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.utils import hub
from transformers.utils.hub import PushToHubMixin

from llmpose import LlmPose
from llmpose.model.modeling import LlmPoseForConditionalGeneration
from llmpose.talk.processing import LlmPoseProcessor
from tests.eval.little import write_model


def test_a_model_and_its_processor_come_back_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "hub"

    def upload(_self: Any, folder: str, repo_id: str, *_: Any, **__: Any) -> None:
        assert repo_id == "somebody/poser"
        shutil.copytree(folder, there, dirs_exist_ok=True)

    made = SimpleNamespace(repo_id="somebody/poser")
    card = SimpleNamespace(save=lambda path: Path(path).write_text("a card"))
    monkeypatch.setattr(PushToHubMixin, "_upload_modified_files", upload)
    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *_, **__: card)
    monkeypatch.setattr(hub, "create_repo", lambda *_, **__: made, raising=False)
    monkeypatch.setattr(hub, "hf_api", lambda: SimpleNamespace(create_repo=lambda *_, **__: made), raising=False)
    folder = write_model(tmp_path / "model")
    LlmPoseForConditionalGeneration.from_pretrained(folder).push_to_hub("somebody/poser")
    LlmPoseProcessor.from_pretrained(folder).push_to_hub("somebody/poser")
    assert {"config.json", "model.safetensors", "README.md"} <= {path.name for path in there.iterdir()}
    here, back = (LlmPose.from_pretrained(str(one), device="cpu") for one in (folder, there))
    said = [model.chat("Generate the pose: The left arm is raised.", grammar="pose") for model in (here, back)]
    assert said[0].codes == said[1].codes
    assert len(said[0].poses) == len(said[1].poses) == 1
