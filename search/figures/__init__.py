"""Records and evidence -> figures, each with the sentence that explains it."""
