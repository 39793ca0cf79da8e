"""From conversation to tokens and back: vocabulary, processing, grammar, generation, chat."""
