"""What the engine is made of: plans of edits, hooks, batches, what comes before an edit, and generation."""
