"""The harness: reference semantics, strategies for specs, laws; and `assert_routes`."""

from .routes import assert_routes as assert_routes
