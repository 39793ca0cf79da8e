"""The model: vision, prompts, the attention rule, loss, weights. Imports `llmpose.body` and `tokenizer_vq`."""
