"""The harness's own tests: properties first, then options, then malformed input."""
