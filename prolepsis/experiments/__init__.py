"""One file per experiment, each a pure function from a subject to a measurement."""
