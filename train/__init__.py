"""One engine, one recipe per stage, one small file per kind of model.

May import data, llmpose and tokenizer_vq; nothing imports it but the command line.
"""
