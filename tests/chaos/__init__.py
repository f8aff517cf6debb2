"""The fault matrix: docs/reliability.md."""
