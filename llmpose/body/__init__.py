"""Poses, body models, skeletons, and pictures of them. Imports nothing of ours but `llmpose.errors`.

pose.py       Pose: 22 rotations, their formats and frames        pose_files.py, mesh.py  poses and meshes on disk
model.py      BodyModel: joints and meshes from poses             skinning.py             the arithmetic under it
files.py      SMPL-family files, found and checked                unpickle.py             pickles read as data
skeleton.py   keypoint names, links, flips (skeletons/*.yaml)     render.py, draw.py      pictures
"""
