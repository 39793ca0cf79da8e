"""Builders of text datasets: selection at scale, pair mining, ImageScript, ImageDiff, PoseScript, PoseFix."""
