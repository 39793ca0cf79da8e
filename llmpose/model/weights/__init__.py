"""Other people's weights into ours: each file reads one family of layouts, and is tested against that family's code.

llava      LLaVA-1.5 and 1.6, as transformers loads them: language model, CLIP and projector
pose_vit   ViT-H of HMR2, 4D-Humans and TokenHMR; ViTPose, as mmpose and as transformers have it
unipose    UniPose's released adapter on LLaVA-1.6-Mistral
checkpoint tensors out of .safetensors, .pt, .pth, .ckpt and .bin files, without running anything that is in them
"""
