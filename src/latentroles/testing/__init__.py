"""The harness: assertions for a test suite, reference semantics, strategies, laws.

Everything here loads without a framework and without hypothesis; `laws`, `strategies` and `words`
are for property tests, and load it.
"""

from .closure import assert_loop_invariant as assert_loop_invariant
from .closure import loop_report as loop_report
from .composition import assert_composes as assert_composes
from .composition import composition_report as composition_report
from .gradients import assert_backends_agree as assert_backends_agree
from .gradients import assert_stop_gradients as assert_stop_gradients
from .gradients import stop_gradient_report as stop_gradient_report
from .routes import assert_routes as assert_routes
from .still import assert_unreached_still as assert_unreached_still
