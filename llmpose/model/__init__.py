"""The model: vision, prompts, the attention rule, loss, adapters, weights. Imports `llmpose.body` and `tokenizer_vq`.

Read in this order: layout (who sees whom), batch (what goes in), config, vision, modeling, loss, adapters, weights.
"""
