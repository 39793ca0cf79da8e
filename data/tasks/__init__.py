"""Tasks: from records to a question and an answer."""
