"""Registers the plugin and its fixtures, once."""

pytest_plugins = ["prolepsis.report.plugin", "fixtures.session"]
