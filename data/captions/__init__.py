"""Words for poses: posecodes, selection and aggregation, captions, comparisons, refinement by a language model."""
