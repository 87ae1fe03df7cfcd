"""Turns verdicts into what people read: the pytest plugin and the stored reports."""
