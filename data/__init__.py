"""Everything that becomes training rows: sources, records, tasks, examples, packed rows.

May import llmpose and tokenizer_vq.
"""
