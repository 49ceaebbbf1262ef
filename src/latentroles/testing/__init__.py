"""The harness: reference semantics, strategies for specs, laws."""
