"""The paper, executable: one module per family of claims."""
