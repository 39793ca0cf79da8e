"""The built-in world: a body, poses, clothes, scenes, objects, written in the formats of the real datasets."""
